//! Sends the demo's records through `POST /commit` and remembers where each one was stored.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ktests::Produced;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::stage::Stage;

/// Connections to kproxy.
const CLIENTS: usize = 16;
/// Records per second: slow enough to watch.
const RATE: f64 = 4_000.0;

/// A record's body: a msgpack map, as modules with `methods` expect it.
#[derive(Serialize)]
struct Body<'a> {
    method: &'a str,
    number: usize,
    text: &'a str,
}

/// kproxy's answer.
#[derive(Deserialize)]
struct Stored {
    partition: i32,
    offset: i64,
}

/// What is to be sent, and what was.
pub(super) struct Load {
    topics: Vec<(String, String)>,
    records: usize,
    keys: usize,
    next: AtomicUsize,
    failed: AtomicBool,
    produced: Mutex<BTreeMap<String, Vec<Produced>>>,
    stored: AtomicUsize,
}

impl Load {
    /// `records` records in turn over the topics, each with the method its module listens to.
    pub(super) fn new(topics: BTreeMap<String, String>, records: usize, keys: usize) -> Self {
        Self {
            topics: topics.into_iter().collect(),
            records,
            keys,
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            produced: Mutex::default(),
            stored: AtomicUsize::new(0),
        }
    }

    pub(super) fn stored(&self) -> usize {
        self.stored.load(Ordering::Relaxed)
    }

    pub(super) fn is_done(&self) -> bool {
        self.stored() == self.records
    }

    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many pushes all modules together owe.
    pub(super) fn expected(&self, stage: &Stage) -> usize {
        let of = |topic: &str| {
            let place = self.topics.iter().position(|(name, _)| name == topic);
            place.map_or(0, |place| {
                (place..self.records).step_by(self.topics.len()).count()
            })
        };
        stage.modules.iter().map(|module| of(&module.topic)).sum()
    }

    /// What was stored, by topic.
    pub(super) fn produced(&self) -> BTreeMap<String, Vec<Produced>> {
        self.produced.lock().expect("no panic inside").clone()
    }

    fn take(&self) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.records).then_some(number)
    }

    fn remember(&self, topic: &str, record: Produced) {
        self.produced
            .lock()
            .expect("no panic inside")
            .entry(topic.to_owned())
            .or_default()
            .push(record);
        self.stored.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends everything to the kproxy at `address`.
///
/// # Errors
/// kproxy answers anything but 200.
pub(super) async fn send(load: std::sync::Arc<Load>, address: String) -> Result<()> {
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (load, address) = (load.clone(), address.clone());
        clients.spawn(async move {
            let sent = client(&load, &address, start).await;
            if sent.is_err() {
                load.failed.store(true, Ordering::Relaxed);
            }
            sent
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

async fn client(load: &Load, address: &str, start: Instant) -> Result<()> {
    let stream = TcpStream::connect(address).await.context("connect to kproxy")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends when the sender is dropped.
    tokio::spawn(connection);
    while let Some(number) = load.take() {
        #[expect(clippy::cast_precision_loss, reason = "twenty thousand fits")]
        tokio::time::sleep_until(start + Duration::from_secs_f64(number as f64 / RATE)).await;
        let (topic, method) = &load.topics[number % load.topics.len()];
        let key = format!("key-{}", number % load.keys);
        let text = "some text, as a real record has";
        let body: Bytes = rmp_serde::to_vec_named(&Body { method, number, text })?.into();
        let uri = format!("/commit?topic={topic}&key={key}");
        let Stored { partition, offset } = commit(&mut sender, address, &uri, body.clone()).await?;
        load.remember(
            topic,
            Produced {
                key: Some(key.into()),
                body,
                partition,
                offset,
            },
        );
    }
    Ok(())
}

async fn commit(
    sender: &mut SendRequest<Full<Bytes>>,
    address: &str,
    uri: &str,
    body: Bytes,
) -> Result<Stored> {
    let request = Request::post(uri).header("host", address).body(Full::new(body))?;
    let response = sender
        .send_request(request)
        .await
        .context("kproxy does not answer")?;
    let status = response.status();
    let answer = response.into_body().collect().await?.to_bytes();
    if status != 200 {
        bail!("kproxy answers {status}: {}", String::from_utf8_lossy(&answer));
    }
    serde_json::from_slice(&answer).context("kproxy's answer")
}

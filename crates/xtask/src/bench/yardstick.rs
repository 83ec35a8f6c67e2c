//! The yardsticks: the same work without Kafka, as hidden commands of this program, and the backend that ktransfer and
//! its yardstick push to.

use std::cell::Cell;
use std::process::{ExitCode, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Subcommand;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ktests::{eventually, ports};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::{JoinSet, LocalSet};

use super::{far, sink};

/// An answer as long as kproxy's.
const ANSWER: &str = r#"{"topic":"bench-1234567","partition":3,"offset":123456,"timestamp":1700000000000}"#;
/// How long a child may take to listen.
const START: Duration = Duration::from_secs(20);

#[derive(Subcommand)]
pub(crate) enum Yardstick {
    /// Reads each request's body and answers 200.
    Server { port: u16 },
    /// Passes everything on to `target`, `micros` later in each direction.
    Far { port: u16, target: u16, micros: u64 },
    /// Counts requests and answers 200, after `usual` milliseconds, or `slow` ones for one request of `one_in`.
    Sink {
        port: u16,
        usual: u64,
        one_in: u64,
        slow: u64,
    },
    /// Pushes records from memory, one connection per worker, on one thread; then waits to be ended.
    Client {
        port: u16,
        workers: usize,
        records: usize,
    },
    /// Consumers of the topics `<prefix>-0` and so on, each of all partitions of its topic.
    Consumers {
        brokers: String,
        prefix: String,
        topics: usize,
        partitions: i32,
    },
}

pub(crate) fn run(yardstick: &Yardstick) -> Result<ExitCode> {
    match *yardstick {
        Yardstick::Server { port } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve(port))?;
        }
        Yardstick::Far { port, target, micros } => far::serve(port, target, Duration::from_micros(micros))?,
        Yardstick::Sink {
            port,
            usual,
            one_in,
            slow,
        } => {
            let service = sink::Service {
                usual: Duration::from_millis(usual),
                one_in,
                slow: Duration::from_millis(slow),
            };
            on_one_thread(sink::serve(port, service))?;
        }
        Yardstick::Client {
            port,
            workers,
            records,
        } => on_one_thread(async {
            push(port, workers, records).await?;
            // Whoever started it reads what it has used, then ends it.
            std::future::pending().await
        })?,
        Yardstick::Consumers {
            ref brokers,
            ref prefix,
            topics,
            partitions,
        } => consume(brokers, prefix, topics, partitions)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn on_one_thread(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work)
}

/// One of these commands as a child that ends with its handle.
pub(super) struct Running {
    /// Its process.
    pub(super) pid: u32,
    /// Where it listens; 0 for one that does not.
    pub(super) port: u16,
    _child: Child,
}

impl Running {
    /// Starts the server of kproxy's benchmark.
    pub(super) async fn server() -> Result<Self> {
        Self::listening(ports::free_port(), "server", &[]).await
    }

    /// Starts a proxy at `port` that makes `target` this far away, there and back.
    pub(super) async fn far(port: u16, target: u16, round_trip: Duration) -> Result<Self> {
        let micros = (round_trip / 2).as_micros().to_string();
        Self::listening(port, "far", &[&target.to_string(), &micros]).await
    }

    /// Starts a backend that has counted nothing yet.
    pub(super) async fn sink(service: sink::Service) -> Result<Self> {
        Self::sink_at(ports::free_port(), service).await
    }

    /// The same at this port.
    pub(super) async fn sink_at(port: u16, service: sink::Service) -> Result<Self> {
        let sink::Service { usual, one_in, slow } = service;
        let [usual, slow] = [usual, slow].map(|time| time.as_millis().to_string());
        Self::listening(port, "sink", &[&usual, &one_in.to_string(), &slow]).await
    }

    /// Starts a client that pushes to the sink at `port`.
    pub(super) fn client(port: u16, workers: usize, records: usize) -> Result<Self> {
        Self::start(
            port,
            &[
                "client",
                &port.to_string(),
                &workers.to_string(),
                &records.to_string(),
            ],
        )
    }

    /// Starts a process with bare consumers.
    pub(super) fn consumers(brokers: &str, prefix: &str, topics: usize, partitions: i32) -> Result<Self> {
        let [topics, partitions] = [topics.to_string(), partitions.to_string()];
        Self::start(0, &["consumers", brokers, prefix, &topics, &partitions])
    }

    async fn listening(port: u16, what: &str, more: &[&str]) -> Result<Self> {
        let port_text = port.to_string();
        let arguments = [what, &port_text].into_iter().chain(more.iter().copied());
        let running = Self::start(port, &arguments.collect::<Vec<_>>())?;
        eventually("the yardstick listens", START, async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Ok(running)
    }

    fn start(port: u16, arguments: &[&str]) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg("yardstick")
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start the yardstick")?;
        let pid = child.id().context("the yardstick ended at once")?;
        Ok(Self {
            pid,
            port,
            _child: child,
        })
    }
}

/// Polls the consumers by turns for ever; none of them is told to do anything but to wait for records.
fn consume(brokers: &str, prefix: &str, topics: usize, partitions: i32) -> Result<()> {
    let mut consumers = Vec::new();
    for topic in (0..topics).map(|nth| format!("{prefix}-{nth}")) {
        let mut config = rdkafka::ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("group.id", &topic)
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(&topic, partition, Offset::End)?;
        }
        consumer.assign(&list)?;
        consumers.push(consumer);
    }
    loop {
        for consumer in &consumers {
            // An error concerns brokers and passes.
            drop(consumer.poll(Duration::ZERO));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

async fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // A client that goes away ends only its own connection.
        tokio::spawn(async { connection.await.ok() });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn push(port: u16, workers: usize, records: usize) -> Result<()> {
    let next = Rc::new(Cell::new(0));
    let mut running = JoinSet::new();
    for _ in 0..workers {
        running.spawn_local(work(port, Rc::clone(&next), records));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// A worker on a connection of its own, as ktransfer's; it polls the connection itself, as they do.
async fn work(port: u16, next: Rc<Cell<usize>>, records: usize) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let host = HeaderValue::from_str(&format!("127.0.0.1:{port}"))?;
    let body = Bytes::from(super::ktransfer::body());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let pushes = async {
        loop {
            let number = next.get();
            next.set(number + 1);
            if number >= records {
                break anyhow::Ok(());
            }
            let uri = super::ktransfer::uri(number);
            let request = Request::post(uri)
                .header("host", host.clone())
                .body(Full::new(body.clone()))?;
            sender.ready().await?;
            sender.send_request(request).await?.into_body().collect().await?;
        }
    };
    tokio::select! {
        biased;
        done = pushes => done,
        ended = connection => Ok(ended?),
    }
}

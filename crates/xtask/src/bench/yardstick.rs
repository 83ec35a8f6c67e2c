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
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::{JoinSet, LocalSet};

use super::sink;

/// An answer as long as kproxy's.
const ANSWER: &str = r#"{"topic":"bench-1234567","partition":3,"offset":123456,"timestamp":1700000000000}"#;
/// How long a child may take to listen.
const START: Duration = Duration::from_secs(20);

#[derive(Subcommand)]
pub(crate) enum Yardstick {
    /// Reads each request's body and answers 200.
    Server { port: u16 },
    /// Counts requests and answers 200.
    Sink { port: u16 },
    /// Pushes records from memory, one connection per worker, on one thread; then waits to be ended.
    Client {
        port: u16,
        workers: usize,
        records: usize,
    },
}

pub(crate) fn run(yardstick: &Yardstick) -> Result<ExitCode> {
    match *yardstick {
        Yardstick::Server { port } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve(port))?;
        }
        Yardstick::Sink { port } => on_one_thread(sink::serve(port))?,
        Yardstick::Client {
            port,
            workers,
            records,
        } => on_one_thread(async {
            push(port, workers, records).await?;
            // Whoever started it reads what it has used, then ends it.
            std::future::pending().await
        })?,
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
    /// Where it listens.
    pub(super) port: u16,
    _child: Child,
}

impl Running {
    /// Starts the server of kproxy's benchmark.
    pub(super) async fn server() -> Result<Self> {
        Self::listening("server").await
    }

    /// Starts a backend that has counted nothing yet.
    pub(super) async fn sink() -> Result<Self> {
        Self::listening("sink").await
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

    /// The same at this port.
    pub(super) async fn sink_at(port: u16) -> Result<Self> {
        Self::listening_at("sink", port).await
    }

    async fn listening(what: &str) -> Result<Self> {
        Self::listening_at(what, ports::free_port()).await
    }

    async fn listening_at(what: &str, port: u16) -> Result<Self> {
        let running = Self::start(port, &[what, &port.to_string()])?;
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

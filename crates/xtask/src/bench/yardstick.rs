//! The yardsticks: the same work without Kafka, as processes of their own, so that their CPU time can be told.

use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Subcommand;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// An answer as long as kproxy's.
const ANSWER: &str = r#"{"topic":"bench","partition":3,"offset":1234567,"timestamp":1700000000000}"#;

#[derive(Subcommand)]
pub(crate) enum Yardstick {
    /// Reads each request's body and answers 200.
    Server { port: u16 },
    /// Pushes records from memory, one connection per worker, on one thread.
    Client {
        address: String,
        workers: usize,
        records: usize,
        body: usize,
    },
}

pub(crate) fn run(yardstick: &Yardstick) -> Result<ExitCode> {
    match yardstick {
        Yardstick::Server { port } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve(*port))?;
        }
        Yardstick::Client {
            address,
            workers,
            records,
            body,
        } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                push(address, *workers, *records, *body).await?;
                // The parent reads what it used, then kills it.
                std::future::pending::<Result<()>>().await
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a yardstick as a child that ends with the handle.
pub(super) fn spawn(arguments: &[String]) -> Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("yardstick")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("start the yardstick")
}

async fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(answer);
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    Ok(Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes()))))
}

async fn push(address: &str, workers: usize, records: usize, body: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let body = Bytes::from(vec![b'x'; body]);
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..workers {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let (next, body, address) = (next.clone(), body.clone(), address.to_owned());
        running.spawn(async move {
            let work = async {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= records {
                        break anyhow::Ok(());
                    }
                    let uri = format!("/push/bench?key=k{}&transid={number}", number % 10_000);
                    let request = Request::post(uri)
                        .header("host", &address)
                        .body(Full::new(body.clone()))?;
                    sender.send_request(request).await?.into_body().collect().await?;
                }
            };
            // The worker polls its connection itself, as ktransfer's workers do.
            tokio::select! {
                done = work => done,
                ended = connection => Ok(ended?),
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

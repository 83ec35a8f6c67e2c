//! The life of kproxy: start, serve, drain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{OptionFuture, join_all};
use kcommon::daemon::{Context, Failure};
use tokio::time::MissedTickBehavior;

use crate::access::{Credentials, Gate};
use crate::client::Signals;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::listener::Listeners;
use crate::meters::Meters;
use crate::pressure::{Pressure, Seen};
use crate::producer::Producers;
use crate::server;
use crate::service::Service;
use crate::tls::Tls;

/// How often gauges are set, and how often a stop looks whether it is done.
const GAUGES: Duration = Duration::from_secs(1);
/// How long to wait for a broker before requests are taken anyway.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// Ticks of the gauges between two lines about requests that failed for Kafka's sake.
const TELL_EVERY: u32 = 10;
const DRAIN_STEP: Duration = Duration::from_millis(5);

/// Serves until a stop is requested, then drains.
///
/// # Errors
/// The port cannot be listened on, librdkafka refuses a setting, or records were left without confirmation at the end
/// of `drain_timeout_ms`.
pub async fn run(mut config: Config, context: Context) -> Result<(), Failure> {
    // First of all: what systemd handed over is taken from the environment while no thread of librdkafka reads that.
    let listeners = Listeners::open(&config.http).await.map_err(Failure::new)?;
    let latch = context.readiness.latch("kafka");
    let stopping = context.readiness.latch("kproxy");
    let meters = Meters::register();
    let signals = Arc::new(Signals::default());
    let refused =
        |error: rdkafka::error::KafkaError| Failure::config(format!("librdkafka refuses a setting: {error}"));
    let producers = Arc::new(Producers::start(&config.kafka, &signals, &meters.late).map_err(refused)?);
    let cluster = Arc::new(Cluster::start(&config.kafka, &signals, meters.clone()).map_err(refused)?);
    server::raise_descriptor_limit();
    let gate = gate(&mut config)?;
    let tls = config.http.tls.clone().map(Tls::new).transpose();
    let tls = tls.map_err(Failure::config)?.map(Arc::new);
    let credentials = gate.credentials.clone();
    let service = Arc::new(Service::new(
        &config,
        gate,
        Arc::clone(&cluster),
        Arc::clone(&producers),
        meters,
    ));
    let watch = Arc::clone(&cluster).watch(Arc::clone(&producers), latch, context.stop.clone());
    let watch = tokio::spawn(watch);
    cluster.first_probe(FIRST_PROBE).await;
    tracing::info!(port = config.http.port, "taking records at /commit");
    let places = server::places(&service);
    let Listeners { all, file } = listeners;
    let accept = all
        .into_iter()
        .map(|listener| server::accept(listener, Arc::clone(&places), tls.clone(), Arc::clone(&service)));
    let accept = tokio::spawn(join_all(accept).map(drop));
    let gauges = tokio::spawn(gauges(Arc::clone(&service)));
    let pressure = Pressure::new(config.kafka.linger.unwrap_or_default());
    let relief = tokio::spawn(relief(Arc::clone(&service), signals, pressure));
    let reloads = tokio::spawn(reloads(credentials, tls.clone()));
    stopping.ready();
    context.supervisor.started();
    context.stop.requested().await;

    stopping.not_ready("stopping");
    service.stop();
    let outcome = drain(&service, config.http.drain).await;
    for task in [watch, accept, gauges, relief, reloads] {
        task.abort();
    }
    drop(file);
    outcome
}

/// Whom requests have to pass.
fn gate(config: &mut Config) -> Result<Gate, Failure> {
    let credentials = config.credentials.take().map(Credentials::new);
    Ok(Gate {
        rules: std::mem::take(&mut config.topics),
        credentials: credentials.transpose().map_err(Failure::new)?.map(Arc::new),
    })
}

/// Follows the files that may change while the process runs.
async fn reloads(credentials: Option<Arc<Credentials>>, tls: Option<Arc<Tls>>) {
    let credentials = credentials.map(Credentials::watch);
    let tls = tls.map(Tls::watch);
    tokio::join!(OptionFuture::from(credentials), OptionFuture::from(tls));
}

/// Waits for what is in flight, then for the producers, until the deadline.
async fn drain(service: &Arc<Service>, patience: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    tracing::info!(
        open = service.open.count(),
        in_flight = service.admission.requests(),
        "draining"
    );
    while service.open.count() + service.admission.requests() > 0 && Instant::now() < deadline {
        tokio::time::sleep(DRAIN_STEP).await;
    }
    if service.open.count() > 0 {
        tracing::warn!(
            open = service.open.count(),
            "requests that did not end in time are cut"
        );
    }
    let producers = Arc::clone(&service.producers);
    let flush = tokio::task::spawn_blocking(move || producers.flush(deadline));
    match flush.await {
        Ok(0) => Ok(()),
        Ok(left) => Err(Failure::new(format!(
            "{left} records had no confirmation within drain_timeout_ms ({} ms); each may or may not be stored",
            patience.as_millis()
        ))),
        Err(error) => Err(Failure::from_error(&error)),
    }
}

/// Sets the gauges, and tells of records without confirmation: a line for each would flood the log when it matters most.
async fn gauges(service: Arc<Service>) {
    let mut tick = tokio::time::interval(GAUGES);
    let mut ticks = 0_u32;
    loop {
        tick.tick().await;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; counts stay far below 2^53"
        )]
        let gauge = |count: usize| count as f64;
        service.meters.in_flight.set(gauge(service.admission.requests()));
        service
            .meters
            .in_flight_bytes
            .set(gauge(service.admission.bytes()));
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(TELL_EVERY) {
            let requests = service.take_unconfirmed();
            if requests > 0 {
                tracing::warn!(
                    requests,
                    seconds = TELL_EVERY,
                    "requests ended without Kafka's confirmation; kproxy_requests_total has them by result"
                );
            }
            let refused = service.admission.take_refused();
            if refused > 0 {
                tracing::warn!(
                    requests = refused,
                    seconds = TELL_EVERY,
                    "requests were refused because Kafka confirms records more slowly than they come; add partitions or brokers, \
                     raise the quota of client.id kproxy, or send less"
                );
            }
        }
    }
}

/// Lets no more records wait for Kafka than it confirms soon.
async fn relief(service: Arc<Service>, signals: Arc<Signals>, mut pressure: Pressure) {
    let mut tick = tokio::time::interval(Pressure::LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        tick.tick().await;
        let now = Instant::now();
        let (confirmed, longest) = signals.take_confirmed();
        let seen = Seen {
            waiting: service.admission.waiting(),
            confirmed,
            longest,
        };
        let records = pressure.look(seen, now - last, service.admission.most_requests());
        service.admission.let_wait(records);
        last = now;
    }
}

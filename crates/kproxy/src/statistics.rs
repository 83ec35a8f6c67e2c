//! What librdkafka says of a client, as metrics.
//!
//! The text is a document of everything it knows, of each topic and broker; only a few numbers of it are taken, summed over the
//! brokers, so that their count does not depend on the cluster.

use metrics::{Counter, Gauge, counter, gauge};
use serde::Deserialize;
use std::collections::HashMap;

/// How often librdkafka tells, in milliseconds: it has to look at every topic for it.
pub(crate) const EVERY_MS: &str = "10000";

/// Records in a client's queue and on their way, by `client`.
const QUEUED: &str = "kproxy_client_queued_records";
/// Bytes of the same.
const QUEUED_BYTES: &str = "kproxy_client_queued_bytes";
/// Requests that brokers have not answered.
const IN_FLIGHT: &str = "kproxy_client_requests_in_flight";
/// Brokers that a client is connected to.
const CONNECTED: &str = "kproxy_client_brokers_connected";
/// Requests sent to brokers.
const REQUESTS: &str = "kproxy_client_requests_total";
/// Requests repeated by librdkafka.
const RETRIES: &str = "kproxy_client_retries_total";
/// Requests that failed, or timed out.
const ERRORS: &str = "kproxy_client_errors_total";
/// How long records wait in a client before they are sent, by `percentile`, seconds, of the last interval and the slowest broker.
const WAIT: &str = "kproxy_client_wait_seconds";
/// How long brokers take to answer, likewise.
const BROKER: &str = "kproxy_client_broker_seconds";

/// The metrics of one client.
pub(crate) struct ClientMeters {
    queued: Gauge,
    queued_bytes: Gauge,
    in_flight: Gauge,
    connected: Gauge,
    requests: Counter,
    retries: Counter,
    errors: Counter,
    wait: [Gauge; 2],
    broker: [Gauge; 2],
}

#[derive(Debug, Default, Deserialize)]
struct Statistics {
    msg_cnt: u64,
    msg_size: u64,
    #[serde(default)]
    brokers: HashMap<String, Broker>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Broker {
    state: String,
    nodeid: i64,
    waitresp_cnt: u64,
    tx: u64,
    txretries: u64,
    txerrs: u64,
    rxerrs: u64,
    req_timeouts: u64,
    int_latency: Window,
    rtt: Window,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Window {
    p50: u64,
    p99: u64,
}

impl ClientMeters {
    /// Registers the metrics of the client `name`, which is one of few.
    #[must_use]
    pub(crate) fn register(name: &str) -> Self {
        let client = || name.to_owned();
        let percentiles = |metric: &'static str| {
            ["50", "99"].map(|percentile| gauge!(metric, "client" => client(), "percentile" => percentile))
        };
        Self {
            queued: gauge!(QUEUED, "client" => client()),
            queued_bytes: gauge!(QUEUED_BYTES, "client" => client()),
            in_flight: gauge!(IN_FLIGHT, "client" => client()),
            connected: gauge!(CONNECTED, "client" => client()),
            requests: counter!(REQUESTS, "client" => client()),
            retries: counter!(RETRIES, "client" => client()),
            errors: counter!(ERRORS, "client" => client()),
            wait: percentiles(WAIT),
            broker: percentiles(BROKER),
        }
    }

    /// Takes what librdkafka told.
    pub(crate) fn take(&self, told: &[u8]) {
        match serde_json::from_slice::<Statistics>(told) {
            Ok(statistics) => self.set(&statistics),
            Err(error) => tracing::debug!(%error, "the statistics of a Kafka client cannot be read"),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "gauges are floats; what they count stays far below 2^53"
    )]
    fn set(&self, statistics: &Statistics) {
        let sum = |of: fn(&Broker) -> u64| statistics.brokers.values().map(of).sum::<u64>();
        self.queued.set(statistics.msg_cnt as f64);
        self.queued_bytes.set(statistics.msg_size as f64);
        self.in_flight.set(sum(|broker| broker.waitresp_cnt) as f64);
        // The addresses of the file have negative ids: they are brokers that are there under their own ids too.
        self.connected
            .set(sum(|broker| u64::from(broker.state == "UP" && broker.nodeid >= 0)) as f64);
        self.requests.absolute(sum(|broker| broker.tx));
        self.retries.absolute(sum(|broker| broker.txretries));
        self.errors
            .absolute(sum(|broker| broker.txerrs + broker.rxerrs + broker.req_timeouts));
        for (gauges, window) in [
            (&self.wait, statistics.slowest(|broker| broker.int_latency)),
            (&self.broker, statistics.slowest(|broker| broker.rtt)),
        ] {
            gauges[0].set(window.p50 as f64 / 1e6);
            gauges[1].set(window.p99 as f64 / 1e6);
        }
    }
}

impl Statistics {
    /// The window of the broker whose 99th percentile is highest.
    fn slowest(&self, of: fn(&Broker) -> Window) -> Window {
        let windows = self.brokers.values().map(of);
        windows.max_by_key(|window| window.p99).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut from what librdkafka 2.12 says.
    const TOLD: &str = r#"{"name":"kproxy#producer-1","msg_cnt":7,"msg_size":700,"msg_max":10000,"brokers":{
        "a:1/bootstrap":{"nodeid":-1,"state":"UP","waitresp_cnt":0,"tx":3,"txerrs":1},
        "a:1/1":{"nodeid":1,"state":"UP","waitresp_cnt":2,"tx":40,"txretries":5,"int_latency":{"p50":100,"p99":2500,"cnt":9},
                 "rtt":{"p50":1000,"p99":2000}},
        "b:1/2":{"nodeid":2,"state":"DOWN","waitresp_cnt":1,"tx":10,"req_timeouts":4,"int_latency":{"p50":200,"p99":300},
                 "rtt":{"p50":5000,"p99":90000}}},"topics":{"t":{"partitions":{}}},"txmsgs":1}"#;

    #[test]
    fn what_librdkafka_tells_is_summed_over_the_brokers() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let meters = ClientMeters::register("acks1-2ms");
            meters.take(TOLD.as_bytes());
            meters.take(b"nonsense");
        });
        let page = recorder.handle().render();
        for line in [
            "kproxy_client_queued_records{client=\"acks1-2ms\"} 7",
            "kproxy_client_queued_bytes{client=\"acks1-2ms\"} 700",
            "kproxy_client_requests_in_flight{client=\"acks1-2ms\"} 3",
            "kproxy_client_brokers_connected{client=\"acks1-2ms\"} 1",
            "kproxy_client_requests_total{client=\"acks1-2ms\"} 53",
            "kproxy_client_retries_total{client=\"acks1-2ms\"} 5",
            "kproxy_client_errors_total{client=\"acks1-2ms\"} 5",
            "kproxy_client_wait_seconds{client=\"acks1-2ms\",percentile=\"99\"} 0.0025",
            "kproxy_client_broker_seconds{client=\"acks1-2ms\",percentile=\"50\"} 0.005",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
    }
}

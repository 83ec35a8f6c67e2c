//! A key that has half of the traffic and fails all the time: what the others get meanwhile, and what it costs in memory.
//! `cargo xtask soak stuck --minutes N` runs it for longer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ktests::audit::{Audit, Bound, PUSHER, padded};
use ktests::{Backend, Behaviour, Daemon, Observer, Seen, When, Writer, eventually};
use serde_json::{Value, json};

use super::world::{SOON, Scene, rss_mib};

/// How long records are written; `cargo xtask soak stuck --minutes N` says it by this variable.
const SECONDS: &str = "KTESTS_STUCK_SECONDS";
/// What is written each 20 ms: 1,000 records a second.
const BEAT: Duration = Duration::from_millis(20);
const PORTION: u64 = 20;
/// The keys that do not fail.
const OTHERS: u64 = 500;
const BODY: usize = 4096;
/// The default of `body_budget_bytes`.
const BUDGET: f64 = 134_217_728.0;

/// Judges, and counts the deliveries of the other keys.
#[derive(Clone, Debug)]
struct Watcher {
    audit: Audit,
    attempts_of_the_stuck_key: Arc<AtomicU64>,
}

impl Observer for Watcher {
    fn begin(&mut self, seen: &Seen) -> u64 {
        if seen.key.as_deref() == Some(b"stuck") {
            self.attempts_of_the_stuck_key.fetch_add(1, Relaxed);
        }
        self.audit.begin(seen)
    }

    fn end(&mut self, number: u64, status: Option<u16>, now: Instant) {
        self.audit.end(number, status, now);
    }
}

/// The writer: every second record is of the key `stuck`.
struct Load {
    writer: Writer,
    topic: String,
    stored: HashMap<Bytes, u64>,
    /// Of keys that do not fail.
    others: u64,
}

impl Load {
    async fn portion(&mut self) {
        let mut records = Vec::new();
        for _ in 0..PORTION / 2 {
            let other = format!("k{}", self.others % OTHERS);
            self.others += 1;
            for key in ["stuck", &other] {
                let step = self.stored.entry(Bytes::from(key.to_owned())).or_default();
                records.push(padded(key, *step, BODY));
                *step += 1;
            }
        }
        let failed = self.writer.try_produce(&self.topic, records).await;
        assert!(failed.is_empty(), "{:?}", failed[0].1);
    }
}

struct Run {
    audit: Audit,
    daemon: Daemon,
    load: Load,
    /// Resident memory in MiB.
    peak: u64,
}

impl Run {
    /// Writes for so long. Gives how many records of the other keys were stored and not delivered at the worst moment.
    async fn write(&mut self, time: Duration) -> u64 {
        let (start, mut told, mut most_behind) = (Instant::now(), 0, 0);
        let mut beat = tokio::time::interval(BEAT);
        while start.elapsed() < time {
            beat.tick().await;
            self.load.portion().await;
            most_behind = most_behind.max(self.load.others - self.audit.delivered());
            if start.elapsed().as_secs() > told {
                told = start.elapsed().as_secs();
                self.look().await;
                if told.is_multiple_of(30) {
                    let (others, peak) = (self.load.others, self.peak);
                    eprintln!(
                        "{told} s: {} of {others} delivered, {peak} MiB",
                        self.audit.delivered()
                    );
                }
            }
        }
        most_behind
    }

    async fn look(&mut self) {
        self.peak = self.peak.max(rss_mib(self.daemon.pid()));
        let held = self.daemon.metric("ktransfer_body_budget_held_bytes", &[]).await;
        assert!(held.unwrap_or_default() <= BUDGET, "{held:?} bytes are held");
        assert!(self.peak < 300, "{} MiB were resident", self.peak);
    }

    async fn delivers(&mut self, count: u64, patience: Duration) {
        eventually(&format!("{count} are delivered"), patience, async || {
            self.look().await;
            self.audit.delivered() == count
        })
        .await;
    }
}

fn module(scene: &Scene, backend: &Backend) -> Value {
    let mut module = scene.module(&backend.addresses());
    module["protocol"]["headers"] = json!([{ PUSHER: "a.0" }]);
    module["worker_num"] = json!(100);
    module["max_uncommitted"] = json!(1_000_000);
    module["fail_retry_interval_ms"] = json!(100);
    module
}

#[tokio::test]
async fn a_key_that_fails_for_long_takes_neither_rate_nor_memory_from_the_others() {
    let time = Duration::from_secs(std::env::var(SECONDS).map_or(8, |seconds| seconds.parse().unwrap()));
    let watcher = Watcher {
        audit: Audit::new(Bound {
            in_flight: 100,
            spacing: SOON,
        }),
        attempts_of_the_stuck_key: Arc::default(),
    };
    let (audit, attempts) = (
        watcher.audit.clone(),
        Arc::clone(&watcher.attempts_of_the_stuck_key),
    );
    let backend = Backend::observed(1, watcher).await;
    backend.on(When::key("stuck"), Behaviour::status(503));
    let scene = Scene::new("stuck", 1).await;
    let mut run = Run {
        audit,
        daemon: scene.start(&module(&scene, &backend)).await,
        load: Load {
            writer: scene.cluster.writer().unwrap(),
            topic: scene.name.clone(),
            stored: HashMap::new(),
            others: 0,
        },
        peak: 0,
    };
    let most_behind = run.write(time).await;
    let (others, delivered) = (run.load.others, run.audit.delivered());
    eprintln!(
        "{time:.1?}: the other keys had {others} records, {delivered} delivered by then, at most {most_behind} behind; the stuck \
         key had as many and {} attempts; at most {} MiB",
        attempts.load(Relaxed),
        run.peak
    );
    run.delivers(others, SOON).await;

    let start = Instant::now();
    backend.off(When::key("stuck"));
    run.delivers(2 * others, SOON + time).await;
    let report = run.audit.report(&run.load.stored);
    eprintln!(
        "{others} records of the stuck key delivered in {:.1?}, at most {} MiB; {report}",
        start.elapsed(),
        run.peak
    );
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.repeated, 0);
}

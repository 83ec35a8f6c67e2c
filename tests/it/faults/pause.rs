//! A process that is stopped (SIGSTOP) for longer than its session, with 100 workers at work: after waking it pushes
//! nothing and commits nothing until it has claimed again. One push may come all the same: that of a worker that was stopped
//! in the microseconds between its look at the lease and its write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ktests::audit::{Audit, Bound, PAUSED, PUSHER};
use ktests::{Backend, Behaviour, Load, Observer, Seen, When, cluster, eventually};
use tokio_util::sync::CancellationToken;

use crate::fleet::{PATIENCE, SESSION, World};

/// How many times the process is stopped; `cargo xtask soak pause --runs N` says it by this variable.
const ROUNDS: &str = "KTESTS_PAUSES";

const PARTITIONS: usize = 4;

/// A push of the stopped instance that the backend saw beginning.
#[derive(Clone, Copy, Debug)]
struct Begun {
    partition: i32,
    at: SystemTime,
}

/// Judges, and remembers what one pusher begins.
#[derive(Clone, Debug)]
struct Watcher {
    audit: Audit,
    begun: Arc<Mutex<Vec<Begun>>>,
}

impl Observer for Watcher {
    fn begin(&mut self, seen: &Seen) -> u64 {
        if seen.header(PUSHER) == Some("a.0") {
            let uri = String::from_utf8_lossy(&seen.uri);
            // /push/<topic>/<partition>/<offset>?key=...
            let partition = uri.split('/').nth(3).unwrap().parse().unwrap();
            let at = SystemTime::now();
            self.begun.lock().unwrap().push(Begun { partition, at });
        }
        self.audit.begin(seen)
    }

    fn end(&mut self, number: u64, status: Option<u16>, now: Instant) {
        self.audit.end(number, status, now);
    }
}

/// What one round showed.
struct Round {
    /// From SIGSTOP until the other owned everything.
    taken_over: Duration,
    /// Pushes of the woken instance before it had claimed their partition again.
    stale: usize,
    /// From SIGCONT until it owned partitions again.
    back: Duration,
}

struct Scene {
    world: World,
    watcher: Watcher,
    stopped: String,
    daemon: ktests::Daemon,
}

#[tokio::test]
async fn a_stopped_instance_pushes_nothing_after_waking_until_it_has_claimed_again() {
    let rounds = std::env::var(ROUNDS).map_or(3, |rounds| rounds.parse().unwrap());
    let audit = Audit::new(Bound {
        in_flight: 100,
        spacing: Duration::from_secs(10) + SESSION,
    });
    let watcher = Watcher {
        audit: audit.clone(),
        begun: Arc::default(),
    };
    let backend = Backend::observed(1, watcher.clone()).await;
    // Slow enough that all workers are on the wire all the time.
    backend.on(
        When::always(),
        Behaviour::status(200).after(Duration::from_millis(50)),
    );
    let world = World::with_backend(cluster(), "pause", backend).await;
    world.cluster.create_topic(&world.topic, 4).await.unwrap();
    let daemon = world.named("a.0", SESSION, None).await;
    let stopped = world.only_member().await;
    let _other = world.named("b.0", SESSION, None).await;
    let stop = CancellationToken::new();
    let load = Load {
        rate: 2_000,
        keys: 800,
    };
    let load = tokio::spawn(load.send(world.cluster.clone(), world.topic.clone(), stop.clone()));
    let scene = Scene {
        world,
        watcher,
        stopped,
        daemon,
    };
    let (mut stale, mut most) = (0, 0);
    for round in 1..=rounds {
        let seen = scene.round().await;
        let Round {
            taken_over,
            stale: of_round,
            back,
        } = seen;
        eprintln!(
            "round {round}: taken over after {taken_over:.1?}, pushing again {back:.1?} after waking, {of_round} pushes before it had claimed"
        );
        stale += of_round;
        most = most.max(of_round);
    }
    stop.cancel();
    let produced = load.await.unwrap().unwrap();
    let total = usize::try_from(produced.values().sum::<u64>()).unwrap();
    scene.world.wait_committed(total).await;
    let report = audit.report(&produced);
    eprintln!("{rounds} rounds, {stale} pushes after waking with old claims; {report}");
    // A module has one thread: at most one of its workers can be stopped between the look at the lease and the write.
    assert!(most <= 1, "{most} pushes in one round");
    assert!(report.is_clean(), "{report}");
}

impl Scene {
    async fn round(&self) -> Round {
        let Self { world, daemon, .. } = self;
        world.wait_owned(PARTITIONS, 2).await;
        self.begun().clear();
        eventually("it pushes", PATIENCE, async || self.begun().len() > 100).await;
        self.watcher.audit.note("a", PAUSED);
        daemon.freeze();
        let start = Instant::now();
        eventually("the other owns everything", PATIENCE, async || {
            let owned = world.owners().await;
            owned == (PARTITIONS, 1) && world.owned_by(&self.stopped).await.is_empty()
        })
        .await;
        let taken_over = start.elapsed();
        let before = world.znodes.offsets(&world.module, &world.topic).await.unwrap();
        self.begun().clear();
        let start = Instant::now();
        daemon.thaw();
        let owned = eventually("it has claimed again, and pushes", PATIENCE, async || {
            self.nothing_goes_back(&before).await;
            let owned = world.owned_by(&self.stopped).await;
            let pushed = owned
                .iter()
                .all(|partition| self.first_push(*partition).is_some());
            (owned.len() == PARTITIONS / 2 && pushed).then_some(owned)
        })
        .await;
        let back = start.elapsed();
        let mut claimed = BTreeMap::new();
        for partition in owned {
            let path = format!("/consumers/{}/owners/{}/{partition}", world.module, world.topic);
            claimed.insert(partition, world.znodes.created(&path).await.unwrap().unwrap());
        }
        let begun = self.begun().clone();
        let stale = begun.iter().filter(|push| {
            let claimed = claimed.get(&push.partition);
            claimed.is_none_or(|claimed| push.at < *claimed)
        });
        self.watcher.audit.forget("a", PAUSED);
        Round {
            taken_over,
            stale: stale.count(),
            back,
        }
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, Vec<Begun>> {
        self.watcher.begun.lock().unwrap()
    }

    fn first_push(&self, partition: i32) -> Option<SystemTime> {
        let begun = self.begun();
        begun
            .iter()
            .find(|push| push.partition == partition)
            .map(|push| push.at)
    }

    /// A commit with an old claim would be one of an older position.
    async fn nothing_goes_back(&self, before: &BTreeMap<i32, i64>) {
        let World { module, topic, .. } = &self.world;
        let stored = self.world.znodes.offsets(module, topic).await.unwrap();
        for (partition, offset) in before {
            let now = stored.get(partition);
            assert!(
                now >= Some(offset),
                "partition {partition} went from {offset} back to {now:?}"
            );
        }
    }
}

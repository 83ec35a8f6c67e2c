//! Files as they are changed, and what becomes of the modules. There is no ZooKeeper: modules wait for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kcommon::readiness::Readiness;
use tempfile::TempDir;

use super::*;
use crate::budget::Budget;
use crate::committer::Stored;
use crate::supervisor::{self, states::States};

/// Ten times what the end of a module that has not begun may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    directory: TempDir,
    readiness: Readiness,
    fleet: Fleet,
}

fn module(topic: &str) -> String {
    format!(
        "topic: {topic}\nprotocol: {{name: http, uri: /, read_timeout_ms: 0, write_timeout_ms: 0, conn_timeout_ms: 0}}\n\
         worker_num: 1\nwindow_size: 1\nmax_retry_times: -1\nfail_retry_interval_ms: 10\n\
         backend_servers: [127.0.0.1:1]\n"
    )
}

fn main_path(directory: &Path) -> PathBuf {
    directory.join("ktransfer.yaml")
}

fn write_main(directory: &Path, enabled: &str, more: &str) {
    let modules = directory.join("modules");
    let text = format!(
        "log_dir: ./log\nlog_level: 4\nzk_hosts: [127.0.0.1:1]\nmodule_conf_dir: {}\nmodule_enabled: {enabled}\n{more}",
        modules.display()
    );
    fs::write(main_path(directory), text).unwrap();
}

impl World {
    fn new(enabled: &str, modules: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("modules")).unwrap();
        write_main(directory.path(), enabled, "");
        for name in modules {
            fs::write(
                directory.path().join(format!("modules/{name}.yaml")),
                module(name),
            )
            .unwrap();
        }
        let readiness = Readiness::new();
        let main = config::read(&main_path(directory.path())).unwrap();
        let clusters = main.clusters.iter().map(|(name, settings)| {
            let (cluster, _keeper) = supervisor::cluster(settings, readiness.latch("zookeeper"), "host:1");
            (name.clone(), cluster)
        });
        let shared = Shared {
            clusters: Arc::new(clusters.collect()),
            budget: Budget::new(1 << 20, 1),
            stored: Stored::default(),
            readiness: readiness.clone(),
            states: States::default(),
        };
        Self {
            directory,
            readiness,
            fleet: Fleet::new(main, shared),
        }
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(format!("modules/{name}.yaml")), text).unwrap();
    }

    fn remove_file(&self, name: &str) {
        fs::remove_file(self.directory.path().join(format!("modules/{name}.yaml"))).unwrap();
    }

    fn main(&self, enabled: &str, more: &str) {
        write_main(self.directory.path(), enabled, more);
    }

    fn reload(&mut self) -> Reloaded {
        let read = Read::files(self.fleet.main());
        self.fleet.take(read)
    }

    fn names(&self) -> Vec<&str> {
        self.fleet.members.keys().map(String::as_str).collect()
    }

    /// Waits until a module that was removed has ended.
    async fn one_ends(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.fleet.ended()).await;
        ended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn modules_follow_the_list_and_their_files() {
    let mut world = World::new("[a, b]", &["a", "b", "c"]);
    assert!(world.reload().is_nothing());
    world.main("[b, c]", "");
    world.file("b", &module("other"));
    let reloaded = world.reload();
    assert_eq!(reloaded.added, ["c"]);
    assert_eq!(reloaded.removed, ["a"]);
    assert_eq!(reloaded.changed, ["b"]);
    assert_eq!(reloaded.unchanged, 0);
    assert_eq!(world.names(), ["b", "c"]);
    // The same in other words.
    world.file("b", &format!("# a comment\n{}", module("other")));
    assert!(world.reload().is_nothing());
    world.one_ends().await;
    world.main("[c, b, a]", "");
    let reloaded = world.reload();
    assert_eq!((reloaded.added, reloaded.unchanged), (vec!["a".to_owned()], 2));
}

#[tokio::test]
async fn a_module_that_returns_before_it_has_ended_waits_for_its_end() {
    let mut world = World::new("[a, b]", &["a", "b"]);
    world.main("[b]", "");
    world.reload();
    world.main("[a, b]", "");
    world.reload();
    assert_eq!(world.names(), ["a", "b"]);
    // The former one: its successor goes on.
    world.one_ends().await;
    assert_eq!(world.names(), ["a", "b"]);
    tokio::time::timeout(PATIENCE, world.fleet.stop()).await.unwrap();
}

#[tokio::test]
async fn all_runs_what_the_directory_holds() {
    let mut world = World::new("all", &["a", ".hidden"]);
    fs::write(world.directory.path().join("modules/b.yaml~"), "no module").unwrap();
    assert_eq!(world.names(), ["a"]);
    world.file("b", &module("b"));
    assert_eq!(world.reload().added, ["b"]);
    world.remove_file("a");
    assert_eq!(world.reload().removed, ["a"]);
    assert_eq!(world.names(), ["b"]);
    // Its list cannot be had: what runs goes on.
    fs::rename(
        world.directory.path().join("modules"),
        world.directory.path().join("away"),
    )
    .unwrap();
    let reloaded = world.reload();
    assert!(
        reloaded.main_refused[0].contains("module_conf_dir"),
        "{reloaded:?}"
    );
    assert_eq!(world.names(), ["b"]);
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_what_ran_goes_on() {
    let mut world = World::new("[a]", &["a", "b"]);
    world.main("[a, b", "");
    let reloaded = world.reload();
    assert!(reloaded.main_refused[0].contains("is not YAML"), "{reloaded:?}");
    let reasons = world.readiness.reasons();
    assert!(reasons.iter().any(|(name, _)| name == "main file"), "{reasons:?}");
    // Module files are followed all the same.
    world.file("a", "topic: [");
    let reloaded = world.reload();
    assert_eq!(reloaded.refused[0].module, "a");
    assert!(
        reloaded.refused[0].problems[0].contains("a.yaml:"),
        "{reloaded:?}"
    );
    assert!(reloaded.changed.is_empty());
    assert_eq!(world.names(), ["a"]);
    // A file that is gone while it is listed.
    world.main("[a, b]", "");
    world.file("a", &module("a"));
    world.remove_file("b");
    let reloaded = world.reload();
    assert_eq!(
        (reloaded.changed, reloaded.added),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(reloaded.refused[0].module, "b");
    let reasons = world.readiness.reasons();
    assert!(
        !reasons.iter().any(|(name, _)| name == "main file"),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn entries_that_are_wrong_themselves_are_reported_until_they_go() {
    let mut world = World::new("[a, a, b.yaml]", &["a"]);
    let said = |world: &World, word: &str| {
        let reasons = world.readiness.reasons();
        reasons.iter().any(|(_name, reason)| reason.contains(word))
    };
    assert!(said(&world, "listed twice") && said(&world, "no module name"));
    assert_eq!(world.names(), ["a"]);
    world.main("[a]", "");
    world.reload();
    assert!(!said(&world, "listed twice") && !said(&world, "no module name"));
}

#[tokio::test]
async fn keys_that_are_read_at_the_start_only_are_named_until_they_are_as_they_were() {
    let mut world = World::new("[a]", &["a"]);
    world.main("[a]", "zk_chroot: /other\nbody_budget_bytes: 2097152\n");
    assert_eq!(world.reload().needs_restart, ["zk_chroot", "body_budget_bytes"]);
    assert_eq!(world.reload().needs_restart, ["zk_chroot", "body_budget_bytes"]);
    world.main("[a]", "");
    assert!(world.reload().is_nothing());
}

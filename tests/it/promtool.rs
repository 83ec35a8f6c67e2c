//! What Prometheus's own judge says about the metrics of all daemons and about the alert rules in `docs/monitoring`.

use std::process::Stdio;

use ktests::daemon::PATIENCE;
use ktests::{Cluster, Daemon, Setup, cluster, eventually, http, paths, ports};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::fleet::World;

/// What promtool says about `input`, given to `arguments`, when it finds anything wrong.
async fn objection(arguments: &[&str], input: &str) -> Option<String> {
    let program =
        std::env::var_os("KTESTS_PROMTOOL").expect("promtool is there: run `cargo xtask test promtool`");
    let mut promtool = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let said = promtool.wait_with_output().await.unwrap();
    let text = [said.stdout, said.stderr].concat();
    (!said.status.success()).then(|| String::from_utf8_lossy(&text).into_owned())
}

async fn kproxy(cluster: &Cluster) -> Daemon {
    let port = ports::free_port();
    let text = format!(
        "log_dir: ./log\nlog_level: 4\nport: {port}\nread_timeout_ms: 30000\nwrite_timeout_ms: 30000\n\
         max_request_size_bytes: 1000\nbroker_hosts: [{}]\n",
        cluster.brokers
    );
    let daemon = Setup::new("kproxy", text).start().await;
    let answer = http::get(&format!("http://127.0.0.1:{port}/nothing")).await;
    assert_eq!(answer.unwrap().status, 404);
    daemon
}

async fn kmonitor(world: &World) -> Daemon {
    let Cluster {
        zookeeper, brokers, ..
    } = &world.cluster;
    let (port, chroot) = (ports::free_port(), &world.cluster.chroot);
    let text = format!(
        "base: {{log_dir: ./log, log_level: 4, clusters: [c], offset_interval_ms: 100, tree_interval_ms: 200}}\n\
         http_server: {{port: {port}, read_timeout_ms: 1000, write_timeout_ms: 1000}}\n\
         c: {{chroot: {chroot}, zk_hosts: [{zookeeper}], zk_connect_timeout_ms: 5000, zk_session_timeout_ms: 4000, \
         broker_hosts: [{brokers}]}}\n"
    );
    let daemon = Setup::new("kmonitor", text).start().await;
    let module = format!("module=\"{}\"", world.module);
    eventually("kmonitor shows the module", PATIENCE, async || {
        let lag = daemon.metric("kmonitor_partition_lag_records", &[&module]).await;
        lag == Some(0.0)
    })
    .await;
    daemon
}

#[tokio::test]
async fn promtool_takes_the_metrics_of_every_daemon_with_something_to_tell() {
    let wrong = "kmonitor_lag_records{module=\"m\" 1\n";
    assert!(
        objection(&["check", "metrics"], wrong).await.is_some(),
        "it sees what is wrong"
    );
    let world = World::new(cluster(), "promtool", 1).await;
    let ktransfer = world.instance().await;
    world.produce(0..10, 1).await;
    world.wait_committed(10).await;
    let daemons = [ktransfer, kproxy(&world.cluster).await, kmonitor(&world).await];
    for daemon in daemons {
        let page = http::get(&daemon.admin("/metrics")).await.unwrap().text();
        assert_eq!(objection(&["check", "metrics"], &page).await, None, "{page}");
    }
}

#[tokio::test]
async fn promtool_takes_the_alert_rules() {
    for file in ["kmonitor-rules.yml", "ktransfer-rules.yml"] {
        let rules = paths::workspace().join("docs/monitoring").join(file);
        let rules = rules.to_str().unwrap();
        assert_eq!(objection(&["check", "rules", rules], "").await, None, "{file}");
    }
}

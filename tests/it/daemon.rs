//! What all daemons have in common, on real processes: command line, exit statuses, admin port, log files, signals.

use std::time::Duration;

use ktests::daemon::PATIENCE;
use ktests::{Daemon, Setup, cluster, eventually, http, ports};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Those whose common life is shown here.
const DAEMONS: [&str; 2] = ["kproxy", "kmonitor"];

/// A kmonitor whose servers are away: the simplest daemon that runs.
fn kmonitor(more: &str) -> Setup {
    let (port, nobody) = (ports::free_port(), ports::free_port());
    let text = format!(
        "base: {{log_dir: ./log, log_level: 4, clusters: [c]}}\n\
         http_server: {{port: {port}, read_timeout_ms: 0, write_timeout_ms: 0}}\n\
         c: {{chroot: /none, zk_hosts: [127.0.0.1:{nobody}], zk_connect_timeout_ms: 100, zk_session_timeout_ms: 1000}}\n\
         {more}\n"
    );
    Setup::new("kmonitor", text)
}

/// The address that a daemon's log names for its admin server.
async fn admin_address(daemon: &Daemon) -> String {
    let mut found = None;
    eventually("the log names the admin server", PATIENCE, async || {
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("admin server listens"));
        found = line
            .and_then(|line| line.split("address=").nth(1))
            .map(|rest| rest.trim().to_owned());
        found.is_some()
    })
    .await;
    found.expect("just found")
}

#[tokio::test]
async fn every_daemon_answers_version_and_help_and_refuses_a_wrong_command_line() {
    for name in DAEMONS {
        for (argument, status, shown) in [
            ("--version", 0, concat!(" ", env!("CARGO_PKG_VERSION"))),
            ("--help", 0, "[default: ./conf/"),
            ("--chekc", 2, "--check"),
        ] {
            let setup = Setup::new(name, "").without_admin().arguments(&[argument]);
            let (ended, output) = setup.run().await;
            assert_eq!(ended.code(), Some(status), "{name} {argument}: {output}");
            assert!(output.contains(shown), "{name} {argument}: {output}");
        }
    }
}

#[tokio::test]
async fn every_daemon_ends_with_78_and_all_problems_when_its_file_is_wrong() {
    for name in DAEMONS {
        for arguments in [&["-f", "conf/x.yaml"][..], &["--check", "-f", "conf/x.yaml"], &[]] {
            let setup = Setup::new(name, "zzz: 1\n")
                .file("conf/x.yaml", "zzz: 1\n")
                .without_admin();
            let (ended, output) = setup.arguments(arguments).run().await;
            assert_eq!(ended.code(), Some(78), "{name} {arguments:?}: {output}");
            assert!(
                output.contains(":1:1: zzz: is not a key"),
                "{name} {arguments:?}: {output}"
            );
            assert!(output.lines().count() > 1, "{name} {arguments:?}: {output}");
        }
    }
}

#[tokio::test]
async fn a_default_admin_port_that_is_taken_gives_way_to_a_free_one() {
    // Somebody else on this machine may hold it already, which serves as well.
    let _taken = TcpListener::bind("127.0.0.1:5033").await;
    let mut daemon = kmonitor("").without_admin().spawn();
    let address = admin_address(&daemon).await;
    assert_ne!(address, "127.0.0.1:5033");
    let healthy = http::get(&format!("http://{address}/healthz")).await.unwrap();
    assert_eq!(healthy.status, 200);
    assert!(
        daemon.log().contains("default admin port is taken"),
        "{}",
        daemon.log()
    );
    assert_eq!(daemon.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_configured_admin_port_that_is_taken_ends_the_daemon_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let (ended, output) = kmonitor(&format!("admin: {{listen: '{address}'}}")).run().await;
    assert_eq!(ended.code(), Some(1), "{output}");
    assert!(
        output.contains(&format!("cannot listen on {address}")),
        "{output}"
    );
}

#[tokio::test]
async fn an_admin_server_that_is_off_is_not_there() {
    let mut daemon = kmonitor("admin: off").spawn();
    eventually("it runs", PATIENCE, async || daemon.log().contains("starting")).await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert!(!daemon.log().contains("admin server listens"), "{}", daemon.log());
}

#[tokio::test]
async fn a_log_that_is_moved_away_is_opened_again_by_itself_and_on_sigusr1() {
    let mut daemon = kmonitor("").start().await;
    let log = daemon.dir().join("log/kmonitor.log");
    let warnings = daemon.dir().join("log/kmonitor.log.wf");
    std::fs::rename(&log, log.with_extension("1")).unwrap();
    eventually("the moved file is opened again", PATIENCE, async || log.exists()).await;
    std::fs::rename(&warnings, warnings.with_extension("1")).unwrap();
    daemon.signal(Signal::USR1);
    eventually("the signal opens the other one again", PATIENCE, async || {
        warnings.exists()
    })
    .await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert!(std::fs::read_to_string(&log).unwrap().contains("stopped"));
}

#[tokio::test]
async fn a_log_directory_that_cannot_be_made_ends_the_daemon_with_1() {
    let text = "base: {log_dir: conf/kmonitor.yaml/log, log_level: 4, clusters: [c]}\n\
                http_server: {port: 1, read_timeout_ms: 0, write_timeout_ms: 0}\n\
                c: {chroot: /none, zk_hosts: [a:1], zk_connect_timeout_ms: 100, zk_session_timeout_ms: 1000}\n";
    let (ended, output) = Setup::new("kmonitor", text).run().await;
    assert_eq!(ended.code(), Some(1), "{output}");
    assert!(
        output.contains("cannot log to conf/kmonitor.yaml/log; make the directory writable"),
        "{output}"
    );
}

#[tokio::test]
async fn sigint_stops_like_sigterm() {
    let mut daemon = kmonitor("").start().await;
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_at_once_with_1() {
    let cluster = cluster();
    let topic = "daemon-second-signal";
    cluster.create_topic(topic, 1).await.unwrap();
    let port = ports::free_port();
    let text = format!(
        "log_dir: ./log\nlog_level: 4\nport: {port}\nread_timeout_ms: 0\nwrite_timeout_ms: 0\n\
         request_timeout_ms: 0\nmin_body_rate_bytes: 0\ndrain_timeout_ms: 600000\nmax_request_size_bytes: 1000000\n\
         broker_hosts: ['{}']\n",
        cluster.brokers
    );
    let mut daemon = Setup::new("kproxy", text).start().await;
    // A body that never ends keeps the drain open.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!("POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually("the request is in flight", PATIENCE, async || {
        daemon
            .metric("kproxy_in_flight_requests", &[])
            .await
            .is_some_and(|open| open >= 1.0)
    })
    .await;
    daemon.signal(Signal::TERM);
    eventually("the drain has begun", PATIENCE, async || {
        daemon.log().contains("a second signal")
    })
    .await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().await.code(), Some(1));
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection is gone with the process");
}

//! kmonitor as a process: its file, its exit statuses, its metrics.

use ktests::daemon::PATIENCE;
use ktests::{Setup, cluster, eventually, http, ports};

use super::world::{SOON, Znodes, section, topic};

/// The seed's file, as its users have it, with servers that nobody runs.
fn seed(port: u16) -> String {
    let nobody = format!("127.0.0.1:{}", ports::free_port());
    let text = include_str!("../../../crates/kmonitor/tests/seed.yaml");
    let hosts = text.lines().map(|line| match line.split_once("- 10.") {
        Some((indent, _)) => format!("{indent}- {nobody}\n"),
        None => format!("{line}\n"),
    });
    hosts.collect::<String>().replace("55325", &port.to_string())
}

#[tokio::test]
async fn the_seeds_file_starts_and_answers_although_its_servers_are_away() {
    let port = ports::free_port();
    let mut kmonitor = Setup::new("kmonitor", seed(port)).start().await;
    let answer = http::get(&format!("http://127.0.0.1:{port}/delay"))
        .await
        .unwrap();
    assert_eq!(answer.text(), r#"{"common_cluster":{},"test_cluster":{}}"#);
    assert_eq!(answer.headers["x-kmonitor-stale"], "common_cluster,test_cluster");
    assert_eq!(
        kmonitor
            .metric("kmonitor_source_up", &[r#"source="zookeeper""#])
            .await,
        Some(0.0)
    );
    assert_eq!(kmonitor.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn check_tells_every_problem_and_ends_with_78() {
    let arguments = ["--check", "-f", "conf/kmonitor.yaml"];
    let good = Setup::new("kmonitor", seed(1))
        .without_admin()
        .arguments(&arguments);
    let (status, output) = good.run().await;
    assert_eq!(
        (status.code(), output.as_str()),
        (Some(0), "conf/kmonitor.yaml: ok\n")
    );

    let mistyped = seed(1)
        .replace("log_level: 4", "log_level: x")
        .replace("port: 1\n", "prot: 1\n");
    let setup = Setup::new("kmonitor", mistyped.clone()).without_admin();
    let (status, output) = setup.arguments(&arguments).run().await;
    assert_eq!(status.code(), Some(78));
    assert!(
        output.contains("conf/kmonitor.yaml:7:13: base.log_level"),
        "{output}"
    );
    assert!(output.contains("http_server.prot"), "{output}");
    let (status, started) = Setup::new("kmonitor", mistyped).without_admin().run().await;
    assert_eq!((status.code(), started), (Some(78), output));

    let unnamed = seed(1).replace("common_cluster:\n", "comon_cluster:\n");
    let setup = Setup::new("kmonitor", unnamed).without_admin();
    let (status, output) = setup.arguments(&arguments).run().await;
    assert_eq!(status.code(), Some(78));
    assert!(output.contains("has no section common_cluster"), "{output}");
    assert!(output.contains("comon_cluster: is no known section"), "{output}");
}

#[tokio::test]
async fn a_port_that_is_taken_ends_it_with_1() {
    let taken = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let (status, output) = Setup::new("kmonitor", seed(port)).run().await;
    assert_eq!(status.code(), Some(1));
    assert!(output.contains("change http_server.port"), "{output}");
}

#[tokio::test]
async fn it_tells_how_it_is_in_metrics() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "metrics").await;
    let topic = topic(&cluster, "metrics", &[10, 10, 10]).await;
    znodes.commit("m", &topic, 0, 4).await;
    znodes.commit("m", &topic, 1, 8).await;
    znodes
        .make(&format!("/consumers/m/offsets/{topic}/2"), b"garbage")
        .await;
    let text = format!(
        "base:\n log_dir: ./log\n log_level: 4\n offset_interval_ms: 100\n tree_interval_ms: 200\n clusters: [c]\nhttp_server:\n port: {}\n \
         read_timeout_ms: 100\n write_timeout_ms: 100\n{}",
        ports::free_port(),
        section("c", &cluster.zookeeper, &znodes.chroot, Some(&cluster.brokers))
    );
    let mut kmonitor = Setup::new("kmonitor", text).start().await;
    let labels = [r#"cluster="c""#];
    // It is ready before its sources have answered.
    eventually("both sources have answered", PATIENCE, async || {
        let up = kmonitor.metric("kmonitor_source_up", &labels).await == Some(2.0);
        up && kmonitor.metric("kmonitor_lag_records", &labels).await == Some(8.0)
    })
    .await;
    for (name, value) in [
        ("kmonitor_source_up", 2.0),
        ("kmonitor_modules", 1.0),
        ("kmonitor_unknown_partitions", 1.0),
        ("kmonitor_lag_records", 8.0),
        ("kmonitor_lag_max_records", 6.0),
    ] {
        assert_eq!(kmonitor.metric(name, &labels).await, Some(value), "{name}");
    }
    let page = http::get(&kmonitor.admin("/metrics")).await.unwrap().text();
    let series = format!(
        r#"kmonitor_partition_lag_records{{cluster="c",module="m",topic="{topic}",partition="0"}} 6"#
    );
    assert!(page.contains(&series), "{page}");
    let documented = include_str!("../../../docs/operations.md");
    let names = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for name in names.filter(|name| name.starts_with("kmonitor_")) {
        assert!(documented.contains(name), "{name} is not in docs/operations.md");
    }
    assert!(
        page.contains("# TYPE kmonitor_collection_seconds histogram"),
        "{page}"
    );
    for partition in 0..3 {
        znodes
            .delete(&format!("/consumers/m/offsets/{topic}/{partition}"))
            .await;
    }
    znodes.delete(&format!("/consumers/m/offsets/{topic}")).await;
    znodes.delete("/consumers/m/offsets").await;
    znodes.delete("/consumers/m").await;
    eventually("no series of the module is left", SOON, async || {
        let page = http::get(&kmonitor.admin("/metrics")).await.unwrap().text();
        !page.contains(r#"module="m""#)
    })
    .await;
    assert_eq!(kmonitor.terminate().await.code(), Some(0));
}

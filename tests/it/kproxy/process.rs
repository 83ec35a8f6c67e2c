//! kproxy as a process: its files, its ports, its exit statuses.

use ktests::{Setup, cluster, ports::free_port};

use super::world::{Proxy, config, topic, yaml};

#[tokio::test]
async fn the_originals_file_works_unchanged() {
    let cluster = cluster();
    let topic = topic(&cluster, "seed", 1).await;
    let port = free_port();
    let brokers: String = cluster
        .brokers
        .split(',')
        .map(|broker| format!(" - {broker}\n"))
        .collect();
    let file = format!(
        "# kproxy.yaml\nlog_dir: ./log\nlog_level: 4\n\nport: {port}\nread_timeout_ms: 100\nwrite_timeout_ms: 100\n\
         req_pool_size: 10240\nproducer_num: 1\nmax_request_size_bytes: 10485760\n\nbroker_hosts:\n{brokers}"
    );
    let proxy = Proxy {
        daemon: Setup::new("kproxy", file).start().await,
        port,
    };
    proxy
        .post(&format!("topic={topic}&key=k&acks=1"), "x")
        .await
        .stored();
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_wrong_file_ends_with_78_and_every_problem() {
    let mut wrong = config("127.0.0.1:9092", 1);
    wrong.insert("port", "70000".to_owned());
    wrong.insert("lingerms", "1".to_owned());
    wrong.insert("max_inflight_bytes", "1".to_owned());
    wrong.remove("log_dir");
    for arguments in [
        &["-f", "conf/kproxy.yaml"][..],
        &["-f", "conf/kproxy.yaml", "--check"],
    ] {
        let setup = Setup::new("kproxy", yaml(&wrong)).arguments(arguments);
        let (status, output) = setup.run().await;
        assert_eq!(status.code(), Some(78), "{output}");
        for word in ["port", "lingerms", "linger_ms", "max_inflight_bytes", "log_dir"] {
            assert!(output.contains(word), "{word}: {output}");
        }
    }
}

#[tokio::test]
async fn a_good_file_is_checked_without_a_broker() {
    let good = config("127.0.0.1:1", 1);
    let setup = Setup::new("kproxy", yaml(&good)).arguments(&["-f", "conf/kproxy.yaml", "--check"]);
    let (status, output) = setup.run().await;
    assert!(status.success() && output.contains("ok"), "{status}: {output}");
}

#[tokio::test]
async fn a_taken_port_ends_with_1() {
    let held = std::net::TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let port = held.local_addr().unwrap().port();
    let (status, output) = Setup::new("kproxy", yaml(&config("127.0.0.1:1", port)))
        .run()
        .await;
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&port.to_string()), "{output}");
}

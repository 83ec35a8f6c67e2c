//! The public server of kmonitor: what is refused, and how long it waits.

use ktests::cluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{Monitor, Znodes};

#[tokio::test]
async fn other_questions_are_refused_as_the_original_did() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "refused").await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    for question in [
        "/delay?cluster=x",
        "/delay?format=xml",
        "/delay?cluster=c&format=zabbix2",
        "/delay?cluster=%ff",
    ] {
        let answer = monitor.get(question).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, ""), "{question}");
        assert!(answer.header("x-kmonitor-error").is_some(), "{question}");
    }
    for path in ["/index.html", "/delay/", "/Delay", "/metrics"] {
        assert_eq!(monitor.get(path).await.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(monitor.ask(method, "/delay").await.status, 405, "{method}");
    }
    assert_eq!(monitor.ask("HEAD", "/delay").await.body, "");
    monitor.stop().await;
}

#[tokio::test]
async fn a_request_that_stops_coming_is_cut_and_an_idle_connection_is_not() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "slow").await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    let mut idle = monitor.connect().await;
    let mut slow = monitor.connect().await;
    slow.write_all(b"GET /delay HTTP/1.1\r\nHost:").await.unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", rest.escape_ascii());
    // The read time-out has passed for the idle connection too.
    for _ in 0..2 {
        idle.write_all(b"GET /delay HTTP/1.1\r\nHost: k\r\n\r\n")
            .await
            .unwrap();
        let mut start = [0; 15];
        idle.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        let mut rest = [0; 4096];
        assert!(idle.read(&mut rest).await.unwrap() > 0);
    }
    monitor.stop().await;
}

#[tokio::test]
async fn it_stops_with_connections_open() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "stops").await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    let mut idle = monitor.connect().await;
    monitor.stop().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

//! Attempts against real sockets.

use std::cell::RefCell as Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::task::Context;

use kcommon::kafka::{CommitOffset, RecordOffset};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config;
use crate::lease::{BootTime, Lease, Terms};
use crate::ledger::{Admission, Entry, Ledger};
use crate::record::Parts;

struct Free;

impl Control for Free {
    fn may_start(&self) -> bool {
        true
    }

    fn deadline(&self) -> BootTime {
        let lease = Lease::new();
        lease.extend(BootTime::now(), Terms::new(Duration::from_secs(600)));
        lease.deadline()
    }

    fn is_cut(&self, _cx: &mut Context<'_>) -> bool {
        false
    }
}

/// A server that notes `name` for each request.
async fn serve(listener: TcpListener, name: &'static str, asked: Rc<Cell<Vec<&'static str>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = Rc::clone(&asked);
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                asked.borrow_mut().push(name);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        });
    }
}

fn record() -> Record {
    let offset = RecordOffset::try_from(7).unwrap();
    let mut ledger = Ledger::new(CommitOffset::ZERO, 1);
    let Admission::Entered(seq) = ledger.admit(offset, Entry::Pending) else {
        panic!("not entered")
    };
    let parts = Parts {
        value: b"value",
        ..Parts::default()
    };
    Record::new(offset, seq, 1000, &parts)
}

fn target(server: &str, more: &str) -> Rc<Target> {
    let text = format!(
        "topic: t\nprotocol: {{name: http, uri: /, read_timeout_ms: 0, write_timeout_ms: 0, conn_timeout_ms: 30000}}\nworker_num: 1\n\
         window_size: 1\nmax_retry_times: -1\nfail_retry_interval_ms: 10\nbackend_servers: [{server}]\n{more}"
    );
    let module = config::parse_module(Path::new("m.yaml"), "m", &text).unwrap();
    Rc::new(Target::new(module).unwrap())
}

#[tokio::test]
async fn pushes_follow_the_addresses_of_a_name_and_leave_connections_to_former_ones() {
    let asked = Rc::new(Cell::new(Vec::new()));
    let tasks = tokio::task::LocalSet::new();
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = old.local_addr().unwrap().port();
    let new = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    tasks.spawn_local(serve(old, "old", Rc::clone(&asked)));
    tasks.spawn_local(serve(new, "new", Rc::clone(&asked)));
    let target = target(&format!("localhost:{port}"), "");
    let mut pusher = Pusher::new(Rc::clone(&target), Rc::new(Meters::new("m")));
    let (record, uri) = (record(), Uri::from_static("/"));
    let stands_for = |last: &[u8]| {
        let (_, addresses) = target.servers().named().next().unwrap();
        addresses.replace(
            last.iter()
                .map(|last| SocketAddr::from(([127, 0, 0, *last], port)))
                .collect(),
        );
    };
    let pushes = async {
        // Of several addresses, one that refuses is passed.
        for addresses in [&[1][..], &[1], &[2], &[1, 2], &[3, 1]] {
            stands_for(addresses);
            let way = (uri.clone(), PartitionId(0));
            pusher.attempt(&record, way, &Free).await.unwrap();
        }
    };
    tasks.run_until(pushes).await;
    assert_eq!(*asked.borrow(), ["old", "old", "new", "new", "old"]);
}

#[tokio::test]
async fn a_name_is_looked_up_until_it_is_known() {
    let target = target("localhost:1, '127.0.0.1:1'", "");
    let following = crate::names::follow(Rc::clone(&target), Duration::from_millis(10));
    let known = async {
        let named: Vec<_> = target.servers().named().collect();
        assert_eq!(named.len(), 1, "an address has no name");
        while named[0].1.in_turn().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(named[0].1.in_turn().iter().all(|address| address.port() == 1));
    };
    let known = tokio::time::timeout(Duration::from_secs(60), known);
    tokio::select! {
        never = following => match never {},
        known = known => known.unwrap(),
    }
}

#[tokio::test]
async fn a_server_that_refuses_is_set_aside_and_the_other_takes_all() {
    let asked = Rc::new(Cell::new(Vec::new()));
    let tasks = tokio::task::LocalSet::new();
    let up = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let servers = format!("'{}', '{}'", address(&down), address(&up));
    drop(down);
    tasks.spawn_local(serve(up, "up", Rc::clone(&asked)));
    let target = target(
        &servers,
        "balance: {set_aside_after: 2, set_aside_ms: 600000, set_aside_max_ms: 600000}\n",
    );
    let mut pusher = Pusher::new(Rc::clone(&target), Rc::new(Meters::new("m")));
    let record = record();
    let pushes = async {
        let mut failures = 0;
        for _ in 0..20 {
            let way = (Uri::from_static("/"), PartitionId(0));
            failures += usize::from(pusher.attempt(&record, way, &Free).await.is_err());
        }
        failures
    };
    let failures = tasks.run_until(pushes).await;
    assert_eq!((failures, asked.borrow().len()), (2, 18));
}

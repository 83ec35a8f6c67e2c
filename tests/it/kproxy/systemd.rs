//! kproxy below systemd, or whoever follows its protocol: sockets that are handed over, and what the supervisor is told.

use std::process::Stdio;

use ktests::{cluster, daemon, eventually, ports::free_port};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::timeout;

use super::world::{Client, PATIENCE, config, request, topic, yaml};

/// Makes what standard input is the first socket that is handed over.
const HAND_OVER: &str = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3<&0 </dev/null";

#[tokio::test]
async fn a_socket_that_is_handed_over_takes_the_place_of_the_port_and_the_supervisor_is_told() {
    let cluster = cluster();
    let topic = topic(&cluster, "systemd", 1).await;
    let directory = tempfile::tempdir().unwrap();
    let supervisor = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    let told = async |line: &str| {
        let mut space = [0; 1024];
        loop {
            let length = timeout(PATIENCE, supervisor.recv(&mut space)).await;
            let length = length.unwrap_or_else(|_| panic!("{line} is not told")).unwrap();
            if String::from_utf8_lossy(&space[..length]).contains(line) {
                break;
            }
        }
    };
    let (listener, port) = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    };
    let unused = free_port();
    let file = directory.path().join("kproxy.yaml");
    std::fs::write(
        &file,
        yaml(&config(&cluster.brokers, unused)) + "admin:\n  listen: \"off\"\n",
    )
    .unwrap();
    let mut child = Command::new("sh")
        .args(["-c", HAND_OVER])
        .arg(daemon::binary("kproxy"))
        .arg("-f")
        .arg(&file)
        .current_dir(directory.path())
        .env("NOTIFY_SOCKET", directory.path().join("notify"))
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    told("READY=1").await;
    told("STATUS=ready").await;
    let mut client = Client::try_connect(port).await.unwrap();
    client.send(request(&topic, "x")).await;
    client.answer().await.stored();
    assert!(
        Client::try_connect(unused).await.is_none(),
        "the port of the file is not opened"
    );
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    told("STOPPING=1").await;
    assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    eventually("the record is there", PATIENCE, async || {
        cluster.read_values(&topic).await.unwrap() == [b"x"]
    })
    .await;
}

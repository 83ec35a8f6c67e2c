//! Notifiers of kmonitor processes, with a real ktransfer, a real HTTP server and a real SMTP server.

use std::path::Path;

use ktests::{Backend, Behaviour, Daemon, MailServer, Setup, When, cluster, eventually, ports};
use serde_json::Value;

use super::world::{SOON, Znodes, section, topic};
use crate::fleet::World;

/// A kmonitor with the cluster `c` at a chroot, and a section `notifiers`.
fn setup(cluster: &ktests::Cluster, chroot: &str, notifiers: &str) -> Setup {
    let port = ports::free_port();
    let section = section("c", &cluster.zookeeper, chroot, Some(&cluster.brokers));
    let main = format!(
        "base:\n log_dir: ./log\n log_level: 4\n offset_interval_ms: 100\n tree_interval_ms: 200\n stopped_after_ms: 300\n clusters: [c]\n\
         http_server:\n port: {port}\n read_timeout_ms: 300\n write_timeout_ms: 1000\n{section}{notifiers}"
    );
    Setup::new("kmonitor", main)
}

/// What a webhook was told, one event after another.
fn told(hook: &Backend) -> Vec<Value> {
    let bodies = hook.requests().into_iter().map(|request| request.body);
    let messages = bodies.map(|body| serde_json::from_slice::<Value>(&body).unwrap());
    messages
        .flat_map(|message| message["events"].as_array().unwrap().clone())
        .collect()
}

async fn logs(daemon: &Daemon, what: &str, times: usize) {
    eventually(&format!("{what:?} is in the log"), SOON, async || {
        daemon.log().lines().filter(|line| line.contains(what)).count() >= times
    })
    .await;
}

/// A module whose only partition has an owner, or none.
struct Module {
    znodes: Znodes,
    owner: String,
}

impl Module {
    async fn new(cluster: &ktests::Cluster, name: &str) -> Self {
        let znodes = Znodes::of(cluster, name).await;
        let topic = topic(cluster, name, &[3]).await;
        znodes.register("m", "host1:uuid", &topic).await;
        znodes.commit("m", &topic, 0, 3).await;
        let module = Self {
            znodes,
            owner: format!("/consumers/m/owners/{topic}/0"),
        };
        module.starts().await;
        module
    }

    async fn starts(&self) {
        self.znodes.make(&self.owner, b"host1:uuid").await;
    }

    async fn stops(&self) {
        self.znodes.delete(&self.owner).await;
    }
}

/// A section that tells both of one module that is stopped.
fn both(primary: bool, module: &str, hook: &Backend, mails: &MailServer) -> String {
    format!(
        "notifiers:\n primary: {primary}\n states: []\n page_url: http://monitor\n webhooks:\n  hook:\n   url: http://{}/told\n \
         mails:\n  ops:\n   server: {}\n   tls: none\n   from: kmonitor@example.com\n   to: [ops@example.com]\n \
         clusters:\n  c:\n   modules:\n    {module}:\n     states: [stopped]\n",
        hook.address(),
        mails.address(),
    )
}

/// The messages that a receiver has taken, by the metrics.
async fn delivered(kmonitor: &Daemon, receiver: &str) -> Option<f64> {
    let receiver = format!("receiver=\"{receiver}\"");
    let labels = [receiver.as_str(), "result=\"delivered\""];
    kmonitor.metric("kmonitor_notifications_total", &labels).await
}

#[tokio::test]
async fn a_ktransfer_that_is_stopped_opens_one_event_everywhere_and_its_return_closes_it() {
    let fleet = World::new(cluster(), "notify", 2).await;
    let hook = Backend::start().await;
    let mails = MailServer::start(&[]).await;
    let mut ktransfer = fleet.instance().await;
    fleet.produce(0..20, 5).await;
    fleet.wait_committed(20).await;
    let notifiers = |primary| both(primary, &fleet.module, &hook, &mails);
    let chroot = fleet.cluster.chroot.clone();
    let mut primary = setup(&fleet.cluster, &chroot, &notifiers(true)).start().await;
    let mut other = setup(&fleet.cluster, &chroot, &notifiers(false)).start().await;

    assert!(ktransfer.terminate().await.success());
    for kmonitor in [&primary, &other] {
        logs(kmonitor, "event opened", 1).await;
    }
    eventually("the event is told", SOON, async || {
        told(&hook).len() == 1 && mails.mails().len() == 1
    })
    .await;
    let opened = told(&hook).remove(0);
    assert_eq!(
        [&opened["event"], &opened["cluster"], &opened["condition"]],
        ["open", "c", "stopped"]
    );
    assert_eq!(opened["module"], fleet.module);
    assert_eq!(opened["lag"], 0);
    let content_type = hook.requests()[0].header("content-type").map(str::to_owned);
    assert_eq!(content_type.as_deref(), Some("application/json"));
    let mail = mails.mails().remove(0);
    let subject = format!("Subject: [kmonitor] open: c/{}: stopped", fleet.module);
    for part in ["X-To: ops@example.com\n", &subject] {
        assert!(mail.contains(part), "{part}: {mail}");
    }

    let _again = fleet.instance().await;
    for kmonitor in [&primary, &other] {
        logs(kmonitor, "event closed", 1).await;
    }
    eventually("the end is told", SOON, async || {
        told(&hook).len() == 2 && mails.mails().len() == 2
    })
    .await;
    let closed = told(&hook).remove(1);
    assert_eq!([&closed["event"], &closed["state"]], ["close", "ok"]);
    assert_eq!(closed["id"], opened["id"]);

    logs(&primary, "message delivered", 4).await;
    let log = primary.log();
    for proof in [" code=200", "queued as mail-1", "queued as mail-2"] {
        assert!(log.contains(proof), "{proof}: {log}");
    }
    for receiver in ["hook", "ops"] {
        assert_eq!(delivered(&primary, receiver).await, Some(2.0));
        assert_eq!(delivered(&other, receiver).await, Some(0.0));
    }
    assert_eq!(primary.terminate().await.code(), Some(0));
    assert_eq!(other.terminate().await.code(), Some(0));
    assert_eq!(
        (told(&hook).len(), mails.mails().len()),
        (2, 2),
        "the other one sends nothing"
    );
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_no_round_and_the_oldest_messages_make_room() {
    let cluster = cluster();
    let module = Module::new(&cluster, "hang").await;
    let (hanging, well) = (Backend::start().await, Backend::start().await);
    hanging.on(When::always(), Behaviour::hang());
    let notifiers = format!(
        "notifiers:\n states: [stopped]\n open_after_rounds: 1\n close_after_rounds: 1\n queue_messages: 1\n webhooks:\n  hanging:\n   url: http://{}/\n   \
         timeout_ms: 600000\n  well:\n   url: http://{}/\n",
        hanging.address(),
        well.address()
    );
    let mut kmonitor = setup(&cluster, &module.znodes.chroot, &notifiers).start().await;
    for times in 1..=2 {
        module.stops().await;
        logs(&kmonitor, "event opened", times).await;
        module.starts().await;
        logs(&kmonitor, "event closed", times).await;
    }
    eventually("the well one is told of all", SOON, async || {
        told(&well).len() == 4
    })
    .await;
    eventually("the hanging one's oldest are dropped", SOON, async || {
        let labels = [r#"receiver="hanging""#, r#"result="dropped""#];
        kmonitor.metric("kmonitor_notifications_total", &labels).await == Some(2.0)
    })
    .await;
    logs(&kmonitor, "its oldest message is dropped", 2).await;
    assert_eq!(hanging.count(), 1);
    assert_eq!(kmonitor.terminate().await.code(), Some(0));
    assert!(kmonitor.log().contains("messages may be undelivered at the end"));
}

/// A mail server that wants TLS and a password, and refuses the first `busy` mails for now.
async fn encrypted(tls: &str, busy: &str) -> MailServer {
    let (certificate, key) = (MailServer::certificate(), MailServer::key());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let way = ["--tls", tls, "--certificate", certificate, "--key", key];
    let rest = ["--account", "kmonitor:geheim", "--busy", busy];
    MailServer::start(&[&way[..], &rest[..]].concat()).await
}

/// A receiver, named after its way of TLS, with an account at such a server.
fn account(tls: &str, server: &MailServer, password: &Path) -> String {
    format!(
        "  {tls}:\n   server: {}\n   tls: {tls}\n   ca_file: {}\n   username: kmonitor\n   password_file: {}\n   \
         from: Monitor <kmonitor@example.com>\n   to: [a@example.com, b@example.com]\n   subject: '{{{{count}}}} of {{{{cluster}}}}'\n",
        server.address(),
        MailServer::certificate().display(),
        password.display()
    )
}

#[tokio::test]
async fn a_refusal_for_now_is_tried_again_and_one_for_good_is_not() {
    let cluster = cluster();
    let module = Module::new(&cluster, "refuse").await;
    let (busy, refusing) = (Backend::start().await, Backend::start().await);
    busy.on(When::always().attempt(1), Behaviour::status(503));
    refusing.on(When::always(), Behaviour::status(403).with_body("no such token"));
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "geheim\n").unwrap();
    let starttls = encrypted("starttls", "1").await;
    let implicit = encrypted("tls", "0").await;
    let notifiers = format!(
        "notifiers:\n states: [stopped]\n webhooks:\n  busy:\n   url: http://{}/\n  refusing:\n   url: http://{}/secret-path\n mails:\n{}{}",
        busy.address(),
        refusing.address(),
        account("starttls", &starttls, password.path()),
        account("tls", &implicit, password.path()),
    );
    let kmonitor = setup(&cluster, &module.znodes.chroot, &notifiers).start().await;
    module.stops().await;
    logs(&kmonitor, "message delivered", 3).await;
    logs(&kmonitor, "message given up", 1).await;
    assert_eq!((busy.count(), refusing.count()), (2, 1));
    let requests = busy.requests();
    let id = |nth: usize| requests[nth].header("x-kmonitor-message").unwrap();
    assert_eq!(id(0), id(1), "a repeated message can be told by its id");
    for server in [&starttls, &implicit] {
        let mails = server.mails();
        assert_eq!(mails.len(), 1, "{mails:?}");
        for part in [
            "X-To: a@example.com,b@example.com",
            "X-Account: kmonitor",
            "Subject: 1 of c\r\n",
            "open: c/m: stopped",
        ] {
            assert!(mails[0].contains(part), "{part}: {}", mails[0]);
        }
    }
    let log = kmonitor.log();
    assert!(log.contains("403 Forbidden: no such token"), "{log}");
    assert!(!log.contains("geheim") && !log.contains("secret-path"), "{log}");
}

#[tokio::test]
async fn a_zookeeper_that_is_away_is_one_event_and_closes_no_other() {
    let cluster = cluster();
    let module = Module::new(&cluster, "away").await;
    let proxy = ktests::Proxy::start(&cluster.zookeeper).await;
    let hook = Backend::start().await;
    let notifiers = format!(
        "notifiers:\n webhooks:\n  hook:\n   url: http://{}/\n",
        hook.address()
    );
    let mut behind = cluster.clone();
    behind.zookeeper = proxy.address();
    let kmonitor = setup(&behind, &module.znodes.chroot, &notifiers).start().await;
    module.stops().await;
    logs(&kmonitor, "condition=stopped", 1).await;
    proxy.cut();
    logs(&kmonitor, "condition=zookeeper_away", 1).await;
    proxy.heal();
    eventually("zookeeper is back", SOON, async || {
        let log = kmonitor.log();
        log.lines()
            .any(|line| line.contains("event closed") && line.contains("zookeeper_away"))
    })
    .await;
    module.starts().await;
    let steps = || {
        let told = told(&hook).into_iter();
        // A Kafka that is slow to answer at the start is an event too, and none of this scenario's.
        let told = told.filter(|event| event["condition"] != "kafka_away");
        told.map(|event| format!("{} {}", event["event"], event["condition"]).replace('"', ""))
            .collect::<Vec<String>>()
    };
    eventually("all is told", SOON, async || steps().len() == 4).await;
    assert_eq!(
        steps(),
        [
            "open stopped",
            "open zookeeper_away",
            "close zookeeper_away",
            "close stopped"
        ]
    );
}

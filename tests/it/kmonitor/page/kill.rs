//! Two clusters with real and made-up modules: the numbers of the page are those of `/delay`, and a ktransfer that is killed
//! shows as stopped. With `KTESTS_SCREENSHOTS=DIRECTORY` it takes pictures on the way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ktests::{Backend, Behaviour, Cluster, Daemon, Setup, When, cluster, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::sight::{Sight, Watched};
use crate::fleet::{PATIENCE, main_file, module_file};
use crate::kmonitor::world::{SOON, Znodes, produce, section, topic};

/// The directory for the pictures.
const SCREENSHOTS: &str = "KTESTS_SCREENSHOTS";

/// What the pictures show has gone on for so many rounds.
const ROUNDS: u64 = 75;

const INTERVAL_MS: u32 = 500;

/// A real ktransfer with modules `mail` and `billing`, and what it needs.
struct Scene {
    cluster: Cluster,
    ktransfer: Daemon,
    backend: Backend,
    mail: String,
    billing: String,
    watched: Watched,
}

impl Scene {
    async fn new() -> Self {
        let cluster = cluster();
        let eu = Znodes::of(&cluster, "page-eu").await;
        let us = Znodes::of(&cluster, "page-us").await;
        let mail = topic(&cluster, "mail", &[40, 40, 40, 40]).await;
        let billing = topic(&cluster, "billing", &[10; 2]).await;
        let backend = Backend::start().await;
        let below = Cluster {
            chroot: eu.chroot.clone(),
            ..cluster.clone()
        };
        let brokers: Vec<&str> = cluster.brokers.split(',').collect();
        let main = main_file(&below, &["mail", "billing"]);
        let ktransfer = Setup::new("ktransfer", format!("{main}\nbroker_hosts: {}\n", json!(brokers)))
            .file("conf/modules/mail.yaml", module_file(&mail, &backend).to_string())
            .file(
                "conf/modules/billing.yaml",
                module_file(&billing, &backend).to_string(),
            )
            .start()
            .await;
        made_up(&cluster, &us).await;
        let of =
            |name, znodes: &Znodes| section(name, &cluster.zookeeper, &znodes.chroot, Some(&cluster.brokers));
        let sections = [
            ("orders-eu", of("orders-eu", &eu)),
            ("orders-us", of("orders-us", &us)),
        ];
        let watched = Watched::start(&sections, INTERVAL_MS).await;
        Self {
            cluster,
            ktransfer,
            backend,
            mail,
            billing,
            watched,
        }
    }

    /// Records for both modules, now and then.
    fn traffic(&self) -> JoinHandle<()> {
        let cluster = self.cluster.clone();
        let topics = [(self.mail.clone(), 4, 90), (self.billing.clone(), 2, 25)];
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(400));
            for step in 0_usize.. {
                pace.tick().await;
                for (topic, partitions, most) in &topics {
                    let partition = i32::try_from(step).unwrap_or_default() % partitions;
                    // Waves, so that there is something to see.
                    let count = most / 3 + (step * step * 37) % most;
                    produce(&cluster, topic, partition, count).await;
                }
            }
        })
    }

    async fn module(&self, name: &str) -> Value {
        self.watched
            .json(&format!("/api/v1/modules/orders-eu/{name}"))
            .await
    }

    /// Waits until all that is in both topics is delivered and committed.
    async fn calm(&self) {
        eventually("nothing waits", PATIENCE, async || {
            let (mail, billing) = (self.module("mail").await, self.module("billing").await);
            mail["lag"] == 0 && billing["lag"] == 0
        })
        .await;
    }
}

/// Modules that are znodes only.
async fn made_up(cluster: &Cluster, znodes: &Znodes) {
    let search = topic(cluster, "search-index", &[900, 40, 310]).await;
    let prices = topic(cluster, "price-feed", &[60, 60]).await;
    for (module, topic, commits) in [
        ("search-index", &search, &[15, 40, 290][..]),
        ("price-feed", &prices, &[60, 75]),
        ("audit", &prices, &[60, 60]),
    ] {
        znodes.register(module, "push-3:b81e", topic).await;
        for (partition, commit) in (0..).zip(commits) {
            znodes.commit(module, topic, partition, *commit).await;
            let owner = format!("/consumers/{module}/owners/{topic}/{partition}");
            znodes.make(&owner, b"push-3:b81e").await;
        }
    }
    znodes.register("sms", "push-3:b81e", &search).await;
}

/// The number in a cell.
fn number(text: &str) -> Option<u64> {
    text.replace(',', "").parse().ok()
}

/// The lags of `/delay`, by module and partition.
type Delay = BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>;

/// Compares every number of the page with `/delay`, which must be calm.
async fn compare(scene: &Scene, sight: &Sight) {
    let told: Delay = serde_json::from_value(scene.watched.json("/delay").await).unwrap();
    assert_eq!(told.len(), 2);
    let mut compared = 0;
    for (cluster, modules) in &told {
        let rows = sight.rows("modules").await;
        for (module, partitions) in modules {
            let row = rows.iter().find(|row| &row["module"] == module).unwrap();
            let sum = (!partitions.is_empty()).then(|| partitions.values().sum::<u64>());
            assert_eq!(number(&row["lag"]), sum, "{cluster} {module}");
        }
    }
    for (cluster, modules) in &told {
        for (module, partitions) in modules {
            let place = format!("/?cluster={cluster}&module={module}");
            sight.browser.go(&scene.watched.url(&place)).await.unwrap();
            let rows = eventually("the partitions are shown", SOON, async || {
                let rows = sight.rows("partitions").await;
                (!rows.is_empty()).then_some(rows)
            })
            .await;
            for row in rows {
                let lag = partitions.get(&row["partition"]).copied();
                assert_eq!(number(&row["lag"]), lag, "{place} {row:?}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 4 + 2 + 3 + 2 + 2 + 3);
    sight.browser.go(&scene.watched.url("/")).await.unwrap();
}

/// In which round the module `mail` became stopped, as the events say, from when this is called.
async fn stopped_in(port: u16) -> JoinHandle<u64> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = "GET /api/v1/events HTTP/1.1\r\nHost: k\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    tokio::spawn(async move {
        let mut lines = BufReader::new(connection).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let Some(data) = line.strip_prefix("data: ") else {
                continue;
            };
            let event: Value = serde_json::from_str(data).unwrap();
            let is_it = |change: &Value| change["module"] == "mail" && change["to"] == "stopped";
            if event["changes"].as_array().unwrap().iter().any(is_it) {
                return event["round"].as_u64().unwrap();
            }
        }
        panic!("the events end");
    })
}

/// Pictures of the overview in both lights, and of a module.
async fn pictures(scene: &Scene, sight: &Sight) {
    let Some(directory) = std::env::var_os(SCREENSHOTS).map(PathBuf::from) else {
        return;
    };
    eventually("there is a history to show", PATIENCE, async || {
        scene.module("mail").await["round"].as_u64() > Some(ROUNDS)
    })
    .await;
    for (name, place, is_dark) in [
        ("light", "/", false),
        ("dark", "/", true),
        ("module", "/?cluster=orders-eu&module=mail", false),
    ] {
        sight.browser.prefer_dark(is_dark).await.unwrap();
        sight.browser.go(&scene.watched.url(place)).await.unwrap();
        let hidden = "return document.getElementById('notice').hidden";
        eventually("the page is filled", SOON, async || {
            sight.browser.script(hidden, json!([])).await.unwrap() == true
        })
        .await;
        let file = directory.join(format!("kmonitor-{name}.png"));
        sight.browser.screenshot(&file).await.unwrap();
    }
    sight.browser.prefer_dark(false).await.unwrap();
    sight.browser.go(&scene.watched.url("/")).await.unwrap();
}

#[tokio::test]
async fn the_numbers_of_the_page_are_those_of_delay_and_a_killed_ktransfer_shows_as_stopped() {
    let mut scene = Scene::new().await;
    let sight = Sight::open(&scene.watched.url("/")).await;
    scene.calm().await;
    let all = ["mail", "billing", "search-index", "price-feed", "audit", "sms"];
    sight.names("modules", &all).await;
    eventually("the page shows that nothing waits", SOON, async || {
        let rows = sight.rows("modules").await;
        rows.iter()
            .any(|row| row["module"] == "mail" && row["lag"] == "0")
    })
    .await;
    compare(&scene, &sight).await;
    sight.names("modules", &all).await;

    // Each push takes a moment, so that something waits now and then.
    let slow = Behaviour::status(200).after(Duration::from_millis(5));
    scene.backend.on(When::always(), slow);
    let traffic = scene.traffic();
    let mut round = 0;
    if std::env::var_os(SCREENSHOTS).is_some() {
        eventually("there is a history", PATIENCE, async || {
            scene.module("mail").await["round"].as_u64() > Some(ROUNDS / 2)
        })
        .await;
    }
    let stopped = stopped_in(scene.watched.port).await;
    scene.ktransfer.kill().await;
    eventually("nobody owns a partition", PATIENCE, async || {
        let mail = scene.module("mail").await;
        round = mail["round"].as_u64().unwrap();
        mail["owned"] == 0
    })
    .await;
    let stopped = tokio::time::timeout(SOON, stopped).await.unwrap().unwrap();
    assert!(
        stopped <= round + 2,
        "stopped in round {stopped}, left in round {round}"
    );
    eventually("the page shows that it is stopped", SOON, async || {
        let rows = sight.rows("modules").await;
        rows.iter().any(|row| {
            row["module"] == "mail" && row["state"] == "stopped" && row["reason"].contains("no instance")
        })
    })
    .await;
    pictures(&scene, &sight).await;
    traffic.abort();

    assert_eq!(sight.quiet_end().await, Vec::<String>::new());
    scene.watched.stop().await;
}

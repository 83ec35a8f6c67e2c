//! The page, in a real browser: what it shows is what `/delay` says, in every way that leads there, and it says when it is stale.

#[cfg(test)]
mod kill;
#[cfg(test)]
mod many;
#[cfg(test)]
mod sight;

use std::collections::BTreeMap;

use ktests::browser::Key;
use ktests::{Cluster, cluster};
use serde_json::json;

use self::sight::{Sight, Watched};
use super::world::{Znodes, section, topic};

/// A name that would be a picture, and would tell of it, were it read as HTML.
const PICTURE: &str = "<img src=x onerror=\"document.title='read as HTML'\">";

/// Modules with these lags, each in a topic of its own with one partition and an owner.
async fn modules(scenario: &str, cluster: &Cluster, znodes: &Znodes, lags: &[(&str, usize)]) {
    for (number, (name, lag)) in lags.iter().enumerate() {
        let topic = topic(cluster, &format!("{scenario}-{number}"), &[*lag]).await;
        znodes.register(name, "host<b>1:uuid", &topic).await;
        let owner = format!("/consumers/{name}/owners/{topic}/0");
        znodes.make(&owner, b"host<b>1:uuid").await;
        znodes.commit(name, &topic, 0, 0).await;
    }
}

async fn one_cluster(scenario: &str, lags: &[(&str, usize)]) -> Watched {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, scenario).await;
    modules(scenario, &cluster, &znodes, lags).await;
    let section = section("c", &cluster.zookeeper, &znodes.chroot, Some(&cluster.brokers));
    Watched::start(&[("c", section)], 200).await
}

#[tokio::test]
async fn the_page_is_searched_sorted_and_walked_by_keys_and_the_address_tells_where_one_is() {
    let watched = one_cluster(
        "page-keys",
        &[("alpha", 3), ("beta", 500), ("gamma", 20), (PICTURE, 7)],
    )
    .await;
    let sight = Sight::open(&watched.url("/")).await;
    sight.names("modules", &["alpha", "beta", "gamma", PICTURE]).await;

    sight.browser.click("#modules th.c-lag button").await.unwrap();
    sight.order("modules", &["beta", "gamma", PICTURE, "alpha"]).await;
    assert_eq!(sight.sorted("lag").await, "descending");
    sight.browser.click("#modules th.c-lag button").await.unwrap();
    sight.order("modules", &["alpha", PICTURE, "gamma", "beta"]).await;
    assert_eq!(sight.sorted("lag").await, "ascending");
    sight.browser.back().await.unwrap();
    sight.order("modules", &["beta", "gamma", PICTURE, "alpha"]).await;

    sight.browser.press(&[Key::Letter('/')]).await.unwrap();
    sight.browser.write("gam").await.unwrap();
    sight.order("modules", &["gamma"]).await;
    let shared = sight.browser.address().await.unwrap();
    assert!(shared.ends_with("?search=gam&sort=-lag"), "{shared}");
    sight.browser.go(&shared).await.unwrap();
    sight.order("modules", &["gamma"]).await;

    // From the search over filters and headers to the table, down to the second row, and into it.
    sight.browser.go(&watched.url("/?sort=-lag")).await.unwrap();
    sight.order("modules", &["beta", "gamma", PICTURE, "alpha"]).await;
    sight.browser.press(&[Key::Letter('/')]).await.unwrap();
    for _ in 0..40 {
        if sight.focus().await == "beta" {
            break;
        }
        sight.browser.press(&[Key::Tab]).await.unwrap();
    }
    sight.browser.press(&[Key::Down]).await.unwrap();
    assert_eq!(sight.focus().await, "gamma");
    sight.browser.press(&[Key::Enter]).await.unwrap();
    sight.names("partitions", &["0"]).await;
    let address = sight.browser.address().await.unwrap();
    assert!(address.ends_with("/?cluster=c&module=gamma"), "{address}");
    assert_eq!(sight.text("#module-name").await, "gamma");
    assert_eq!(sight.rows("partitions").await[0]["owner"], "host<b>1:uuid");
    sight.browser.back().await.unwrap();
    sight.order("modules", &["beta", "gamma", PICTURE, "alpha"]).await;

    let made = sight.browser.script(
        "return document.querySelectorAll('main img, main b > *').length",
        json!([]),
    );
    assert_eq!(made.await.unwrap(), 0);
    assert_eq!(sight.quiet_end().await, Vec::<String>::new());
    watched.stop().await;
}

#[tokio::test]
async fn the_page_is_dark_when_the_system_or_the_switch_says_so_and_tells_since_when_it_is_stale() {
    let mut watched = one_cluster("page-stale", &[("alpha", 3)]).await;
    let sight = Sight::open(&watched.url("/")).await;
    sight.names("modules", &["alpha"]).await;
    let ground = async || sight.style("body", "background-color").await;
    let light = ground().await;
    sight.browser.prefer_dark(true).await.unwrap();
    let dark = ground().await;
    assert_ne!(light, dark);
    let seen: BTreeMap<String, String> = [("auto", &dark), ("light", &light), ("dark", &dark)]
        .map(|(choice, ground)| (format!("Theme: {choice}"), ground.clone()))
        .into();
    for _ in 0..3 {
        sight.browser.click("#theme").await.unwrap();
        let choice = sight.text("#theme").await;
        assert_eq!(ground().await, seen[&choice], "{choice}");
    }

    assert_eq!(sight.browser.console().await.unwrap(), Vec::<String>::new());
    assert!(sight.text("#health").await.starts_with("live"));
    watched.kmonitor.terminate().await;
    sight.shows("#health", "stale since ").await;
    assert_eq!(sight.rows("modules").await[0]["lag"], "3");
    watched.kmonitor.restart().await;
    sight.shows("#health", "live, ").await;
    sight.names("modules", &["alpha"]).await;
    sight.close().await;
    watched.stop().await;
}

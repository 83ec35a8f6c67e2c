//! Pushes over https: who is believed, and that nothing else is different.

use ktests::{Authority, Backend, eventually};
use serde_json::json;

use super::world::{SOON, Scene, daemon, delivers, of_key, unkeyed};

#[tokio::test]
async fn https_servers_take_what_http_servers_take_and_know_us_by_our_certificate() {
    let scene = Scene::new("https", 1).await;
    let (ours, foreign) = (Authority::new(), Authority::new());
    let backend = Backend::start_secure(2, ours.server()).await;
    let mut module = scene.module(&backend.addresses());
    module["protocol"]["name"] = json!("https");
    module["protocol"]["tls"] = json!({
        "ca_file": "conf/ca.pem", "certificate": "conf/own.pem", "key": "conf/own.key",
    });
    let records = of_key("a", 20)
        .chain(of_key("b", 20))
        .chain([unkeyed("x".repeat(200_000))]);
    let produced = scene.cluster.produce_checked(&scene.name, records).await.unwrap();
    let start = async |authority: &Authority| {
        let (certificate, key) = ours.issue();
        let setup = daemon(&scene.cluster, &[(&scene.name, &module)])
            .file("conf/ca.pem", &*authority.pem)
            .file("conf/own.pem", certificate)
            .file("conf/own.key", key);
        setup.start().await
    };
    // Whom we do not believe gets nothing.
    let mut daemon = start(&foreign).await;
    eventually("the handshake fails", SOON, async || {
        daemon.log().contains("the TLS handshake failed")
    })
    .await;
    assert_eq!(backend.count(), 0);
    daemon.terminate().await;
    let daemon = start(&ours).await;
    delivers(&backend, 41).await;
    ktests::check(&produced, &backend.requests()).assert_exactly_once();
    scene.stores(41).await;
    backend.cut_connections().await;
    backend.forget();
    let produced = scene
        .cluster
        .produce_checked(&scene.name, of_key("c", 20))
        .await
        .unwrap();
    delivers(&backend, 20).await;
    ktests::check(&produced, &backend.requests()).assert_exactly_once();
    let retried = daemon
        .metric("ktransfer_pushes_total", &["outcome=\"retried\""])
        .await;
    assert!(retried.unwrap_or_default() < 0.5);
}

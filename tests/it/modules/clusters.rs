//! Modules of several clusters in one process, one of them behind a ZooKeeper that asks who they are.

use ktests::{Backend, check, numbered};
use serde_json::json;
use zookeeper_client::{Acls, Client, CreateMode};

use super::{logged, reports};
use crate::push::world::{self, SOON, Scene, delivers, module_path};

/// What opens the second cluster's znodes.
const AUTH: &str = "ktransfer:s3cret";

/// A session that has shown [`AUTH`], at the root of the scene's chroot.
async fn authenticated(scene: &Scene) -> Client {
    let address = format!("{}{}", scene.cluster.zookeeper, scene.cluster.chroot);
    let connector = Client::connector().with_auth("digest", AUTH.as_bytes());
    tokio::time::timeout(SOON, connector.connect(&address))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn modules_of_two_clusters_run_beside_each_other_each_with_its_own_zookeeper() {
    let (near, far) = (Scene::new("near", 2).await, Scene::new("far", 2).await);
    let backends = [Backend::start().await, Backend::start().await];
    // The far cluster keeps its data below another chroot, which only those who are known may read and write.
    let (chroot, znodes) = (format!("/{}", far.name), authenticated(&far).await);
    let locked = CreateMode::Persistent.with_acls(Acls::creator_all());
    znodes.create(&chroot, b"", &locked).await.unwrap();
    let mut main = world::main_file(&near.cluster, &[&near.name, &far.name]);
    main["clusters"] = json!({ "far": {
        "zk_hosts": main["zk_hosts"],
        "zk_chroot": format!("{}{chroot}", far.cluster.chroot),
        "broker_hosts": far.cluster.brokers.split(',').collect::<Vec<_>>(),
        "zk_auth_file": "conf/zookeeper-auth",
        "librdkafka": { "client.rack": "far" },
    }});
    let mut module = far.module(&backends[1].addresses());
    module["cluster"] = json!("far");
    let mut daemon = world::setup(&main)
        .file("conf/zookeeper-auth", format!("{AUTH}\n"))
        .file(
            module_path(&near.name),
            near.module(&backends[0].addresses()).to_string(),
        )
        .file(module_path(&far.name), module.to_string())
        .start()
        .await;
    let mut produced = Vec::new();
    for (scene, backend) in [&near, &far].into_iter().zip(&backends) {
        let records = numbered(0..200, 10);
        produced.push(scene.cluster.produce_checked(&scene.name, records).await.unwrap());
        delivers(backend, 200).await;
    }
    assert!(daemon.terminate().await.success());
    for (records, backend) in produced.iter().zip(&backends) {
        check(records, &backend.requests()).assert_exactly_once();
    }
    // Its offsets are below its own chroot and nowhere else.
    let stored = async |partition: i32| {
        let path = format!("{chroot}/consumers/{0}/offsets/{0}/{partition}", far.name);
        let (data, _stat) = znodes.get_data(&path).await.unwrap();
        String::from_utf8(data).unwrap().parse::<i64>().unwrap()
    };
    assert_eq!(stored(0).await + stored(1).await, 200);
    let elsewhere = near.znodes.children(&format!("/consumers/{}", far.name)).await;
    assert_eq!(elsewhere.unwrap(), None);
}

#[tokio::test]
async fn a_module_whose_cluster_is_new_in_the_main_file_waits_for_a_restart() {
    let (scene, backend) = (Scene::new("newcluster", 1).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    let mut daemon = scene.start(&module).await;
    let path = "conf/ktransfer.yaml";
    let text = std::fs::read_to_string(daemon.dir().join(path)).unwrap();
    let clusters = json!({ "same": {
        "zk_hosts": [scene.cluster.zookeeper],
        "zk_chroot": scene.cluster.chroot,
    }});
    daemon.write(path, &format!("{text}\nclusters: {clusters}\n"));
    module["cluster"] = json!("same");
    daemon.write(&module_path(&scene.name), &module.to_string());
    reports(&daemon, &[&scene.name, "restart ktransfer"]).await;
    assert!(logged(&daemon, &["WARN", "read at the start only", "clusters"]) > 0);
    daemon.terminate().await;
    daemon.restart().await;
    scene.produce(numbered(0..5, 2)).await;
    scene.stores(5).await;
}

//! Every answer is true while brokers, connections and kproxy itself fail. `cargo xtask soak kproxy --faults` does the same with a
//! million posts.

use ktests::ordeal::Ordeal;

/// Posts at least; every kind of fault comes once however many they are.
const POSTS: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_answer_is_true_while_brokers_connections_and_kproxy_fail() {
    let ordeal = Ordeal::start(|setup| setup).await.unwrap();
    let verdict = ordeal.run(POSTS, |line| println!("{line}")).await.unwrap();
    println!("{verdict}");
    assert!(verdict.is_true(), "{verdict}");
    assert!(verdict.stored > POSTS / 4, "{verdict}");
}

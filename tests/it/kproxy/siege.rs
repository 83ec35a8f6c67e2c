//! Clients that harm cost little and are cut, and those that only want to post do not notice. A short form of `cargo xtask soak
//! kproxy`, which holds the promised times; here they only end waits, because other scenarios run beside.

use std::time::Duration;

use ktests::cluster;
use ktests::cluster::{Options, own_cluster_with};
use ktests::siege::{Attack, Besieged, Finding, Overload};

/// Longer than the longest time-out of a siege.
const LENGTH: Duration = Duration::from_secs(9);

/// How many times the promised times may pass.
const PATIENCE: u32 = 50;

fn judge(finding: &Finding) {
    println!("{finding}");
    let complaints = finding.complaints(PATIENCE);
    assert!(complaints.is_empty(), "{complaints:#?}\n{finding}");
}

async fn attack(attack: Attack) {
    let besieged = Besieged::start(&cluster(), |setup| setup).await.unwrap();
    judge(&besieged.attack(attack, LENGTH).await);
    besieged.stop().await;
}

#[tokio::test]
async fn clients_that_announce_much_and_send_little_leave_room_for_others() {
    attack(Attack::Announce).await;
}

#[tokio::test]
async fn clients_that_send_a_byte_a_second_are_cut_and_cost_little() {
    attack(Attack::Trickle).await;
}

#[tokio::test]
async fn clients_that_never_read_an_answer_are_cut_and_cost_little() {
    attack(Attack::Deaf).await;
}

#[tokio::test]
async fn clients_that_open_and_reset_connections_cost_little() {
    attack(Attack::Churn).await;
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_less_than_150_mib() {
    attack(Attack::Idle).await;
}

#[tokio::test]
async fn of_an_overload_what_is_taken_is_stored_soon_and_the_rest_is_refused_at_once() {
    let own = own_cluster_with(Options {
        heap_mb: 512,
        fronts: true,
        ..Options::default()
    })
    .await;
    let (cluster, proxies) = own.through_proxies().await;
    let besieged = Besieged::start(&cluster, |setup| setup).await.unwrap();
    // A quarter of what a release build is asked to bear: this one is not optimised, and not alone.
    let overload = Overload {
        offered: 3_000,
        taken: 750,
    };
    proxies[0].slow_to(overload.taken * Overload::RECORD_BYTES);
    let heal = async || {
        proxies[0].heal();
        Ok(())
    };
    judge(&besieged.overload(overload, LENGTH, heal).await.unwrap());
    besieged.stop().await;
}

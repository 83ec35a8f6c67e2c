//! The requests that the claims ask for, on their way, and what their answers do: for the shell and for its simulation.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kcommon::kafka::PartitionId;
use kcommon::zookeeper::Error;
use tokio::time::Instant;

use super::first_start::PrepareError;
use super::looks::Looks;
use super::servers::{Brokers, ZooKeeper};
use super::store::Store;
use crate::acks::TopicIdentity;
use crate::assignment::{Assignment, Epoch, Order};
use crate::claims::{Claimed, Claims, Committed, Confirmed, Step, Stored};
use crate::watermarks::WatermarkError;

/// A request on its way, which ends with its answer.
pub(crate) type Job = BoxFuture<'static, Answer>;

/// The answers to our requests.
pub(crate) enum Answer {
    /// To a request that the claims asked for.
    Claims(ClaimsAnswer),
    Topic(Result<Option<Vec<PartitionId>>, WatermarkError>),
    Identity(Result<Option<TopicIdentity>, Error>),
    Prepared(Result<(), PrepareError>),
    Deregistered,
}

/// The answers that [`take`] passes to the claims.
pub(crate) enum ClaimsAnswer {
    Claimed(PartitionId, Claimed),
    Committed(Assignment, Committed),
    Released(PartitionId),
    Looked(Vec<(PartitionId, u64, Option<Stored>)>),
    Confirmed(Assignment, Confirmed),
}

/// What steps ask for.
#[derive(Default)]
pub(crate) struct Work {
    /// To be carried out, in any order.
    pub(crate) jobs: Vec<Job>,
    /// For the module, in their order.
    pub(crate) orders: Vec<Order>,
}

/// The work of `steps`. All looks are one job: there is one for every partition that commits nothing, again and again.
pub(crate) fn begin<Z: ZooKeeper, B: Brokers<Z>>(store: &Store<Z, B>, steps: Vec<Step>) -> Work {
    let mut work = Work::default();
    let mut looks = Vec::new();
    for step in steps {
        let store = store.clone();
        match step {
            Step::Tell(order) => work.orders.push(order),
            Step::Look {
                partition,
                look,
                known,
            } => looks.push((partition, look, known)),
            Step::Claim(partition) => {
                work.add(async move { ClaimsAnswer::Claimed(partition, store.claim(partition).await) });
            }
            Step::Commit {
                assignment,
                version,
                position,
                map,
            } => work.add(async move {
                let committed = store.commit(assignment.partition, version, position, map).await;
                ClaimsAnswer::Committed(assignment, committed)
            }),
            Step::Release {
                partition,
                stored,
                insist,
                map,
            } => work.add(async move {
                store.release(partition, stored, (map, insist)).await;
                ClaimsAnswer::Released(partition)
            }),
            Step::Sweep(partition) => work.add(async move {
                store.sweep(partition).await;
                ClaimsAnswer::Released(partition)
            }),
            Step::Confirm(assignment) => work.add(async move {
                ClaimsAnswer::Confirmed(assignment, store.confirm(assignment.partition).await)
            }),
        }
    }
    if !looks.is_empty() {
        let store = store.clone();
        work.add(async move { ClaimsAnswer::Looked(store.look_all(looks).await) });
    }
    work
}

/// Passes an answer to the claims, and tells the looks what it makes worthless; what follows from it. `confirm` is told of
/// an epoch that is ours still after the session was attached to anew.
pub(crate) fn take<Z: ZooKeeper, B: Brokers<Z>>(
    answer: ClaimsAnswer,
    now: Instant,
    claims: &mut Claims,
    looks: &mut Looks<Z, B>,
    confirm: impl FnOnce(Epoch),
) -> Vec<Step> {
    match answer {
        ClaimsAnswer::Claimed(partition, claimed) => {
            looks.forget(partition);
            if claimed == Claimed::NotOurs {
                looks.retry(now);
            }
            claims.claimed(partition, claimed, now)
        }
        ClaimsAnswer::Committed(assignment, committed) => claims.committed(assignment, committed, now),
        ClaimsAnswer::Released(partition) => {
            looks.forget(partition);
            claims.released(partition);
            looks.soon();
            Vec::new()
        }
        ClaimsAnswer::Looked(found) => found
            .into_iter()
            .flat_map(|(partition, look, found)| claims.looked(partition, look, found, now))
            .collect(),
        ClaimsAnswer::Confirmed(assignment, confirmed) => {
            let steps = claims.confirmed(assignment, confirmed, now);
            if claims.runs(assignment) {
                confirm(assignment.epoch);
            }
            steps
        }
    }
}

impl Work {
    fn add(&mut self, answer: impl Future<Output = ClaimsAnswer> + Send + 'static) {
        self.jobs.push(answer.map(Answer::Claims).boxed());
    }
}

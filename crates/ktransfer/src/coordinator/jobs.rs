//! The requests that the claims ask for, on their way: each ends with the answer that the claims wait for.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kcommon::kafka::PartitionId;
use kcommon::zookeeper::Error;

use super::first_start::PrepareError;
use super::servers::{Brokers, ZooKeeper};
use super::store::Store;
use crate::acks::TopicIdentity;
use crate::assignment::{Assignment, Order};
use crate::claims::{Claimed, Committed, Confirmed, Step, Stored};
use crate::watermarks::WatermarkError;

/// A request on its way, which ends with its answer.
pub(crate) type Job = BoxFuture<'static, Answer>;

/// The answers to our requests.
pub(crate) enum Answer {
    Claimed(PartitionId, Claimed),
    Committed(Assignment, Committed),
    Released(PartitionId),
    Looked(PartitionId, u64, Option<Stored>),
    LookedAll(Vec<(PartitionId, u64, Option<Stored>)>),
    Confirmed(Assignment, Confirmed),
    Topic(Result<Option<Vec<PartitionId>>, WatermarkError>),
    Identity(Result<Option<TopicIdentity>, Error>),
    Prepared(Result<(), PrepareError>),
    Deregistered,
}

/// What carries out `step`; an order is not for ZooKeeper and comes back.
pub(crate) fn begin<Z: ZooKeeper, B: Brokers<Z>>(store: &Store<Z, B>, step: Step) -> Result<Job, Order> {
    let store = store.clone();
    Ok(match step {
        Step::Tell(order) => return Err(order),
        Step::Claim(partition) => {
            async move { Answer::Claimed(partition, store.claim(partition).await) }.boxed()
        }
        Step::Commit {
            assignment,
            version,
            position,
            map,
        } => async move {
            Answer::Committed(
                assignment,
                store.commit(assignment.partition, version, position, map).await,
            )
        }
        .boxed(),
        Step::Release {
            partition,
            stored,
            insist,
            map,
        } => async move {
            store.release(partition, stored, (map, insist)).await;
            Answer::Released(partition)
        }
        .boxed(),
        Step::Sweep(partition) => async move {
            store.sweep(partition).await;
            Answer::Released(partition)
        }
        .boxed(),
        Step::Confirm(assignment) => {
            async move { Answer::Confirmed(assignment, store.confirm(assignment.partition).await) }.boxed()
        }
        Step::Look {
            partition,
            look,
            known,
        } => async move { Answer::Looked(partition, look, store.look(partition, known).await) }.boxed(),
    })
}

/// Takes the looks out of `steps` into one job: there is one for every partition that commits nothing, again and again.
pub(crate) fn looks<Z: ZooKeeper, B: Brokers<Z>>(store: &Store<Z, B>, steps: &mut Vec<Step>) -> Option<Job> {
    let mut looks = Vec::new();
    steps.retain_mut(|step| {
        if let Step::Look {
            partition,
            look,
            known,
        } = step
        {
            looks.push((*partition, *look, known.take()));
            return false;
        }
        true
    });
    let store = store.clone();
    (!looks.is_empty()).then(|| async move { Answer::LookedAll(store.look_all(looks).await) }.boxed())
}

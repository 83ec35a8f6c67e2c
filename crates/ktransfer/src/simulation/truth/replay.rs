//! What a crash repeats, by the formula of `docs/delivery-guarantees.md`: what was on the wire, and what ended between the
//! commit that was stored last and the crash. So a commit stores all that had ended when it was made, and while nothing
//! comes between a process and ZooKeeper one is stored whenever it is due.

use kcommon::kafka::PartitionId;

use super::{Invariant, Truth};
use crate::acks::Acks;
use crate::assignment::Assignment;
use crate::simulation::dice::Time;

/// So many commits of an epoch are remembered: one is on its way, and one may have been stored without an answer.
const REMEMBERED: usize = 8;

impl Truth {
    /// A module wants this to be stored.
    pub(in crate::simulation) fn reported(&mut self, assignment: Assignment, done: &Acks, now: Time) {
        let Some(life) = self.lives.get_mut(&assignment.epoch) else {
            return;
        };
        life.reported.push_back((now, done.clone()));
        if life.reported.len() > REMEMBERED {
            life.reported.pop_front();
        }
    }

    /// Something comes between a process and ZooKeeper, until then.
    pub(in crate::simulation) fn disturbed(&mut self, process: u64, until: Time) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.calm_from = process.calm_from.max(until);
        }
    }

    /// A process has crashed that owned the partition, for which this is stored. Commits are at most `spacing` apart.
    pub(in crate::simulation) fn check_replay(
        &mut self,
        (process, session): (u64, i64),
        partition: PartitionId,
        stored: &Acks,
        (now, spacing): (Time, Time),
    ) {
        let known = self.partition(partition);
        // An operator's write of either makes the map void.
        if known.past || known.owner != Some(session) || known.writers != (session, session) {
            return;
        }
        // A claim that is not answered yet has stored what the life before it ended with.
        let claimed = known.claimed;
        let here =
            |life: &&super::Life| (life.partition, life.session, life.claim) == (partition, session, claimed);
        let Some(life) = self.lives.values().rev().find(here) else {
            return;
        };
        let made = life.reported.iter().rev().find(|(_at, acks)| acks == stored);
        let calm_from = self
            .processes
            .get(&process)
            .map_or(now, |process| process.calm_from.max(life.began));
        let calm = now.saturating_sub(calm_from) > spacing;
        let due = if calm { now - spacing } else { 0 };
        let before = made.map_or(due, |(at, _acks)| due.max(*at));
        let is_stored = |offset: i64| {
            offset < stored.base().get() || stored.ranges().any(|range| range.contains(&offset))
        };
        let repeated = life
            .ended
            .iter()
            .find(|(offset, ended)| **ended < before && !is_stored(**offset));
        if let Some((offset, ended)) = repeated {
            let text = format!(
                "{offset} of {partition} ended at {ended}, is not stored at {now}, and will be repeated: {stored:?} is, \
                 of {:?}",
                made.map(|(at, _acks)| at)
            );
            self.violated(Invariant::Replay, text);
        }
    }
}

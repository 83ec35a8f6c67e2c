//! What is remembered about one module, and how it becomes what is shown. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::history::Step;
use crate::now::Now;
use crate::snapshot::{Facts, ModuleFacts};
use crate::state::State;
use crate::view::{Instance, Lines, ModuleView, PartitionView, Standing, Sums};

use super::partition::Memory;

/// One module from round to round.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed {
    /// By topic and number.
    pub(super) topics: BTreeMap<Arc<str>, BTreeMap<i32, Memory>>,
    /// Its history.
    pub(super) lines: Lines,
    /// Since when its znodes cannot be read.
    pub(super) unreadable_ms: Option<i64>,
}

impl Followed {
    /// A round could not read it, because of `why`.
    pub(super) fn blind(&mut self, name: &str, why: &str, step: Step, now: Now) -> ModuleView {
        let since_ms = *self.unreadable_ms.get_or_insert(now.mono_ms);
        let mut views = Vec::new();
        for (topic, partitions) in &mut self.topics {
            let blind = |(partition, memory): (&i32, &mut Memory)| {
                memory.blind((Arc::clone(topic), *partition), why, step, now)
            };
            views.extend(partitions.iter_mut().map(blind));
        }
        let mut view = self.view(name, views, step);
        if view.partitions.is_empty() {
            view.standing = Standing::new(State::Unknown, now.wall_of(since_ms), why.to_owned());
        }
        view
    }

    /// What is shown of these partitions.
    pub(super) fn view(&mut self, name: &str, partitions: Vec<PartitionView>, step: Step) -> ModuleView {
        let sums = Sums::of(&partitions);
        remember(&mut self.lines, step, &sums);
        let name_of = |one: &PartitionView| format!("{}/{}", one.topic, one.partition);
        let each = partitions.iter().map(|one| (name_of(one), one.standing.clone()));
        ModuleView {
            module: name.to_owned(),
            standing: Standing::worst(each)
                .unwrap_or_else(|| Standing::new(State::NoOffset, 0, String::new())),
            topics: self.topics.keys().cloned().collect(),
            sums,
            history: self.lines.clone(),
            instances: Vec::new(),
            partitions,
        }
    }
}

/// Adds a round to lines.
pub(super) fn remember(lines: &mut Lines, step: Step, sums: &Sums) {
    Arc::make_mut(&mut lines.lag).push(step, sums.lag);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time lag is not negative, and whole seconds do for a line"
    )]
    let seconds = sums.lag_seconds.map(|seconds| seconds as u64);
    Arc::make_mut(&mut lines.lag_seconds).push(step, seconds);
}

/// The live instances, and those that own something although they are not registered.
pub(super) fn instances(facts: &ModuleFacts) -> Vec<Instance> {
    let mut owned: BTreeMap<&str, u64> = facts.instances.iter().map(|id| (id.as_str(), 0)).collect();
    let all = facts.topics.values().flat_map(BTreeMap::values);
    for owner in all.filter_map(|facts: &Facts| facts.owner.as_deref()) {
        *owned.entry(owner).or_default() += 1;
    }
    owned
        .into_iter()
        .map(|(id, partitions)| Instance {
            id: id.to_owned(),
            host: id.split(':').next().unwrap_or(id).to_owned(),
            partitions,
        })
        .collect()
}

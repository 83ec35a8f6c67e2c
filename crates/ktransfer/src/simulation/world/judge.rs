//! What the truth is shown of the znodes: each write, and what is there when a process crashes.

use std::time::Duration;

use kcommon::kafka::CommitOffset;
use kcommon::zookeeper::layout;

use super::{Trace, WRITES_TRACED, World};
use crate::acks::{Acks, Map, TopicIdentity};
use crate::simulation::coordination::{MODULE, TOPIC};
use crate::simulation::session::Client;

impl World {
    /// Shows the truth what was written.
    pub(super) fn judge(&mut self) {
        if self.server.applied.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.server.applied);
        let [owners, offsets, acks] = &self.folders;
        if self.truth.generation > 0
            && let Some(topic) = self.server.node(&layout::broker_topic(TOPIC))
        {
            let topic = TopicIdentity::from_znode(&topic.data, topic.czxid);
            for applied in &all {
                if let Some(partition) = applied.path.strip_prefix(acks).and_then(layout::partition_of) {
                    self.truth.topic_is_known(partition, applied, &topic);
                }
            }
        }
        for applied in all {
            if let Some(trace) = &mut self.trace {
                let line = format!("{:>6} ms, step {}: {}", self.now, self.steps, applied.text());
                Trace::note(&mut trace.writes, line, WRITES_TRACED);
            }
            if let Some(partition) = applied.path.strip_prefix(owners).and_then(layout::partition_of) {
                let alive = self.server.sessions.contains_key(&applied.session);
                self.truth.owner_changed(partition, &applied, alive, self.now);
            } else if let Some(partition) = applied.path.strip_prefix(offsets).and_then(layout::partition_of)
            {
                self.truth.offset_changed(partition, &applied);
            } else if let Some(partition) = applied.path.strip_prefix(acks).and_then(layout::partition_of) {
                self.truth.acks_changed(partition, &applied);
            }
        }
    }

    /// A process crashes: what of its work is stored?
    pub(in crate::simulation) fn check_replay(&mut self, at: usize) {
        let member = &self.members[at];
        let Some(session) = member.client.as_ref().map(Client::id_number) else {
            return;
        };
        let process = member.process;
        // A drain commits nothing before its end; then two requests follow, which may be late.
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        let spacing =
            milliseconds(self.settings.commit_interval + self.settings.drain) + 2_000 + 60 * self.faults.slow;
        if self.server.down {
            self.truth.disturbed(process, self.now);
        }
        for partition in self.kafka.partitions() {
            let offset = self.server.node(&layout::offset(MODULE, TOPIC, partition));
            let Some(offset) = offset else { continue };
            let Ok(position) = CommitOffset::from_znode(&offset.data) else {
                continue;
            };
            let map = self
                .server
                .node(&layout::acks(MODULE, TOPIC, partition))
                .filter(|acks| acks.mzxid == offset.mzxid)
                .and_then(|acks| Map::decode(&acks.data).ok());
            let stored = map.map_or_else(|| Acks::none(position), |map| map.acks);
            self.truth
                .check_replay((process, session), partition, &stored, (self.now, spacing));
        }
    }
}

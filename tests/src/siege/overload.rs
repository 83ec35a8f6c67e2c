//! More records than the broker takes, in an open loop: they come whether earlier ones are answered or not.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::finding::{Finding, Measures};
use super::{BODY, Besieged};
use crate::Poster;

/// Between two portions of the load.
const BEAT: Duration = Duration::from_millis(5);
/// Clients that take the load in turns: more than ever wait for an answer.
const CLIENTS: usize = 4_000;
/// How long the load comes before anything counts: connections are made, and the broker's slowness shows.
const BEFORE: Duration = Duration::from_secs(3);
/// Posts in a row that have to be stored once the broker is fast again.
const IN_A_ROW: usize = 50;

/// A load, and what its broker takes.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// Records offered a second.
    pub offered: u32,
    /// Records that the broker takes a second, about.
    pub taken: u32,
}

impl Overload {
    /// The memory that it may cost, in MiB: those who wait, and their connections.
    pub(super) const MEMORY_MIB: u64 = 64;
    /// Bytes of a record of this load on its way to the broker, its part of the request included.
    pub const RECORD_BYTES: u32 = 230;
}

impl fmt::Display for Overload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offered, taken } = self;
        write!(
            formatter,
            "{offered} records a second for a broker that takes about {taken}"
        )
    }
}

impl Besieged {
    /// Offers the load for so long. The broker has to be as slow as it says; `heal` makes it fast again.
    ///
    /// # Errors
    /// It cannot be made fast again.
    ///
    /// # Panics
    /// kproxy ends.
    pub async fn overload(
        &self,
        overload: Overload,
        length: Duration,
        heal: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<Finding> {
        let measures = Arc::new(Measures::default());
        let stop = CancellationToken::new();
        let turns = Arc::new(Semaphore::new(0));
        let before = self.resident();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(self.client(number, Arc::clone(&turns), Arc::clone(&measures)));
        }
        let beats = tokio::spawn(beat(overload.offered, Arc::clone(&turns), stop.clone()));
        tokio::time::sleep(BEFORE).await;
        measures.forget_answers();
        let resident = self.look(length).await;
        stop.cancel();
        beats.await.expect("the beat does not panic");
        let left = turns.available_permits();
        turns.close();
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client does not panic");
        }
        heal().await?;
        let finding = self.finding(
            super::finding::Kind::Overload(overload),
            before,
            resident,
            &measures,
        );
        let finding = finding.await;
        let complaints = self.after(overload, length, left, &finding).await;
        Ok(finding.with_besides(complaints))
    }

    /// What is wrong with the load, with what was taken of it, and with the time after it.
    async fn after(
        &self,
        overload: Overload,
        length: Duration,
        left: usize,
        finding: &Finding,
    ) -> Vec<String> {
        let mut complaints = Vec::new();
        let expected =
            usize::try_from(overload.taken).unwrap_or(0) * usize::try_from(length.as_secs()).unwrap_or(0);
        let stored = finding.stored().count();
        if stored * 2 < expected {
            complaints.push(format!(
                "it collapsed: {stored} of about {expected} records were stored"
            ));
        }
        if left > CLIENTS {
            complaints.push(format!(
                "{left} records were never offered: the load was too much for its clients"
            ));
        }
        if !self.is_fast_again().await {
            complaints.push("it refuses although the broker is fast again".to_owned());
        }
        complaints
    }

    async fn is_fast_again(&self) -> bool {
        let mut poster = Poster::new(self.port);
        let query = format!("topic={}&key=after", self.topic);
        let end = Instant::now() + Duration::from_secs(20);
        let mut in_a_row = 0;
        while in_a_row < IN_A_ROW && Instant::now() < end {
            let stored = matches!(poster.post(&query, &BODY).await, Ok(reply) if reply.status == 200);
            in_a_row = if stored { in_a_row + 1 } else { 0 };
        }
        in_a_row == IN_A_ROW
    }

    fn client(
        &self,
        number: usize,
        turns: Arc<Semaphore>,
        measures: Arc<Measures>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (port, query) = (self.port, format!("topic={}&key=k{number}", self.topic));
        async move {
            let mut poster = Poster::new(port);
            while let Ok(turn) = turns.acquire().await {
                turn.forget();
                let start = Instant::now();
                let answer = poster.post(&query, &BODY).await;
                measures.enter(answer, start.elapsed());
            }
        }
    }
}

/// Gives so many turns a second.
async fn beat(a_second: u32, turns: Arc<Semaphore>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let portion = usize::try_from(a_second).unwrap_or(0) / 200;
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        turns.add_permits(portion);
    }
}

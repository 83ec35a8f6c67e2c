//! The way between the processes and ZooKeeper: in order on each connection, late, and cut at any point. What was on
//! its way when a connection broke may have been carried out or not, and nobody is told.

use std::collections::BTreeMap;

use kcommon::zookeeper::{Error, Unanswered};

use super::dice::Time;
use super::env::What;
use super::session::{Client, Label, Outcome, Reply, Request, failure};
use super::world::{Event, World};

/// Which request: its session, its number there, and who waits for the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    session: i64,
    number: u64,
    label: Label,
}

/// What travels, or the end of a wait for it.
#[derive(Debug)]
pub(super) enum Packet {
    /// Over the connection of this generation.
    Request(Ticket, u32, Request),
    Answer(Ticket, u32, Outcome),
    /// The patience with a request has ended.
    Over(Ticket),
    /// A pause has ended.
    Rested(Ticket),
    /// The client notices that its connection is gone.
    Noticed(i64, u32),
    Reconnect(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// Nothing passes any more, and the client does not know it.
    Silent,
    Down,
}

/// One session's connection.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    process: u64,
    state: State,
    /// Raised whenever it breaks.
    generation: u32,
    /// Requests of older generations that are still carried out: up to this one.
    carried: u64,
    arrives: Time,
    answers: Time,
    /// When a server was last heard.
    heard: Time,
    outstanding: BTreeMap<u64, Label>,
    queued: Vec<(Ticket, Request)>,
}

impl Connection {
    /// What nobody has answered yet.
    fn waiting(&self) -> Vec<Ticket> {
        let session = self.client.id_number();
        let ticket = |(number, label): (&u64, &Label)| Ticket {
            session,
            number: *number,
            label: *label,
        };
        self.outstanding.iter().map(ticket).collect()
    }
}

fn unknown() -> Outcome {
    let patience = std::time::Duration::from_secs(1);
    Err(failure(Error::Unknown(Unanswered::TimedOut(patience))))
}

impl World {
    /// A process asks for a session.
    pub(super) fn connect(&mut self, at: usize) {
        let process = self.members[at].process;
        if self.members[at].client.is_some() {
            return;
        }
        if self.server.down {
            let retry = self.dice.between(100, 800);
            return self.at(retry, Event::Member(process, What::Connect));
        }
        let timeout = self.settings.timeout;
        let session = self.server.connect(timeout, self.now);
        let client = Client::new(session);
        let connection = Connection {
            client: client.clone(),
            process,
            state: State::Up,
            generation: 0,
            carried: 0,
            arrives: self.now,
            answers: self.now,
            heard: self.now,
            outstanding: BTreeMap::new(),
            queued: Vec::new(),
        };
        self.connections.insert(session, connection);
        self.truth.disturbed(process, self.now);
        self.at(timeout + 1, Event::Expiry(session));
        self.with_member(at, |member, env| member.connected(client, env));
    }

    fn delay(&mut self) -> Time {
        let longest = self.faults.slow.max(3);
        if self.dice.one_in(30) {
            self.dice.below(longest * 10)
        } else {
            self.dice.below(longest)
        }
    }

    /// What the code of a process has sent goes on its way.
    pub(super) fn send_all(&mut self, at: usize) {
        let Some(client) = self.members[at].client.clone() else {
            return;
        };
        let sent = std::mem::take(&mut client.lock().sent);
        let session = client.id_number();
        for (number, label, request) in sent {
            let ticket = Ticket {
                session,
                number,
                label,
            };
            self.send(ticket, request);
        }
    }

    fn patience(&self) -> Time {
        (self.settings.timeout / 2).max(1_000)
    }

    /// Without an answer by then, the outcome is unknown.
    fn give_up_after(&mut self, wait: Time, ticket: Ticket) {
        self.at(wait, Event::Network(Packet::Over(ticket)));
    }

    fn send(&mut self, ticket: Ticket, request: Request) {
        if let Request::Pause(wait) = request {
            return self.at(wait, Event::Network(Packet::Rested(ticket)));
        }
        let (delay, patience, now) = (self.delay(), self.patience(), self.now);
        let Some(connection) = self.connections.get_mut(&ticket.session) else {
            return;
        };
        connection.outstanding.insert(ticket.number, ticket.label);
        if connection.state == State::Up {
            connection.arrives = connection.arrives.max(now + delay);
            let (wait, generation) = (connection.arrives - now, connection.generation);
            self.at(wait, Event::Network(Packet::Request(ticket, generation, request)));
            if wait > patience / 2 {
                self.give_up_after(patience, ticket);
            }
            return;
        }
        if connection.state == State::Down {
            connection.queued.push((ticket, request));
        }
        self.give_up_after(patience, ticket);
    }

    pub(super) fn carry(&mut self, packet: Packet) {
        match packet {
            Packet::Request(ticket, generation, request) => self.arrive(ticket, generation, &request),
            Packet::Answer(ticket, generation, outcome) => {
                let now = self.now;
                let Some(connection) = self.connections.get_mut(&ticket.session) else {
                    return;
                };
                if connection.generation == generation {
                    connection.heard = now;
                    self.deliver(ticket, outcome);
                }
            }
            Packet::Over(ticket) => {
                let known = self.connections.get(&ticket.session);
                if known.is_some_and(|connection| connection.outstanding.contains_key(&ticket.number)) {
                    self.deliver(ticket, unknown());
                }
            }
            Packet::Rested(ticket) => self.deliver(ticket, Ok(Reply::Done)),
            Packet::Noticed(session, generation) => self.noticed(session, generation),
            Packet::Reconnect(session) => self.reconnect(session),
        }
    }

    fn deliver(&mut self, ticket: Ticket, outcome: Outcome) {
        let Ticket {
            session,
            number,
            label,
        } = ticket;
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        connection.outstanding.remove(&number);
        connection.client.answer(number, outcome);
        let process = connection.process;
        self.member_event(process, What::Answered(session, label, number));
    }

    fn arrive(&mut self, ticket: Ticket, generation: u32, request: &Request) {
        let session = ticket.session;
        let Some(connection) = self.connections.get(&session) else {
            return;
        };
        let current = connection.generation == generation;
        let late = connection.state != State::Up && connection.generation == generation + 1;
        if self.server.down || !(current || late && ticket.number <= connection.carried) {
            return;
        }
        let Some(state) = self.server.sessions.get_mut(&session) else {
            return self.refused(session);
        };
        state.heard = self.now;
        let outcome = self.server.carry_out(session, request, &mut self.dice);
        if !current {
            return;
        }
        let (delay, now, patience) = (self.delay(), self.now, self.patience());
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        connection.answers = connection.answers.max(now + delay);
        let wait = connection.answers - now;
        self.at(wait, Event::Network(Packet::Answer(ticket, generation, outcome)));
        if wait > patience / 2 {
            self.give_up_after(patience / 2, ticket);
        }
    }

    /// The servers know no such session any more, and say so.
    fn refused(&mut self, session: i64) {
        self.session_over(session);
    }

    pub(super) fn session_over(&mut self, session: i64) {
        let Some(connection) = self.connections.remove(&session) else {
            return;
        };
        self.at(0, Event::Member(connection.process, What::SessionOver(session)));
    }

    /// The connection of a session breaks; the client notices it after `silence`.
    pub(super) fn cut(&mut self, session: i64, silence: Time) {
        let timeout = self.settings.timeout;
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        if connection.state != State::Up {
            return;
        }
        connection.state = State::Silent;
        self.truth.disturbed(connection.process, self.now);
        connection.generation += 1;
        let generation = connection.generation;
        let waiting = connection.waiting();
        let newest = waiting.last().map_or(0, |ticket| ticket.number);
        connection.carried = newest.saturating_sub(self.dice.below(waiting.len() as u64 + 1));
        let patience = self.patience();
        for ticket in waiting {
            self.give_up_after(patience, ticket);
        }
        self.at(
            silence.min(timeout * 2 / 3),
            Event::Network(Packet::Noticed(session, generation)),
        );
    }

    fn noticed(&mut self, session: i64, generation: u32) {
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        if connection.generation != generation || connection.state != State::Silent {
            return;
        }
        connection.state = State::Down;
        for ticket in connection.waiting() {
            self.deliver(ticket, unknown());
        }
        let wait = self.dice.between(10, 600);
        self.at(wait, Event::Network(Packet::Reconnect(session)));
    }

    fn reconnect(&mut self, session: i64) {
        let Some(connection) = self.connections.get(&session) else {
            return;
        };
        let (process, now) = (connection.process, self.now);
        let asleep = self
            .truth
            .processes
            .get(&process)
            .map_or(0, |process| process.stands_still_until);
        if self.server.down || now < asleep {
            let retry = self.dice.between(50, 500);
            return self.at(retry, Event::Network(Packet::Reconnect(session)));
        }
        let Some(state) = self.server.sessions.get_mut(&session) else {
            return self.refused(session);
        };
        state.heard = now;
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        let silent = now - connection.heard;
        connection.state = State::Up;
        connection.heard = now;
        self.truth.disturbed(process, now);
        if silent >= self.settings.timeout / 2 {
            return self.attach(session);
        }
        for (ticket, request) in std::mem::take(&mut connection.queued) {
            self.send(ticket, request);
        }
    }

    /// The process has heard nothing for so long that it attaches to its session anew, through another client.
    fn attach(&mut self, session: i64) {
        self.server.catch_up(session);
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        connection.client = connection.client.attached_anew();
        connection.queued.clear();
        connection.outstanding.clear();
        let (client, process) = (connection.client.clone(), connection.process);
        if let Some(at) = self.index_of(process) {
            self.with_member(at, |member, env| member.attached(client, env));
        }
    }

    /// Whether the session has been silent for its whole time.
    pub(super) fn expiry(&mut self, session: i64) {
        let Some(state) = self.server.sessions.get(&session) else {
            return;
        };
        let at = state.heard + state.timeout + 1;
        if self.now < at || self.server.down {
            let wait = at.saturating_sub(self.now).max(100);
            return self.at(wait, Event::Expiry(session));
        }
        self.server.expire(session);
        self.truth.session_ended(session);
        // A client that is connected is told.
        let connected = self
            .connections
            .get(&session)
            .is_some_and(|known| known.state == State::Up);
        if connected {
            self.session_over(session);
        }
    }

    /// A process is gone: with a word to the servers, or without.
    pub(super) fn gone(&mut self, at: usize, orderly: bool) {
        if !orderly {
            self.check_replay(at);
        }
        let member = self.members.remove(at);
        self.truth.died(member.process);
        let sessions: Vec<i64> = self
            .connections
            .iter()
            .filter(|(_session, connection)| connection.process == member.process)
            .map(|(session, _connection)| *session)
            .collect();
        for session in sessions {
            let connection = self.connections.remove(&session);
            if orderly && !self.server.down && connection.is_some_and(|known| known.state == State::Up) {
                self.server.expire(session);
                self.truth.session_ended(session);
            }
        }
    }

    pub(super) fn exit(&mut self, at: usize) {
        self.gone(at, true);
        let wait = self.dice.between(50, 3_000);
        self.at(wait, Event::Start);
    }
}

//! A run: events in the order of their times, and what each of them does.

mod judge;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use kcommon::kafka::PartitionId;
use kcommon::zookeeper::layout;
use tokio::time::Instant;

use super::coordination::{MODULE, TOPIC, topic};
use super::dice::{Dice, Time, set_clock};
use super::env::{Backend, Env, Settings, What};
use super::faults::{Fault, Faults};
use super::kafka::Kafka;
use super::member::Member;
use super::network::{Connection, Packet};
use super::session::Change;
use super::truth::{Truth, Violation};
use super::zookeeper::Server;
use crate::config::InitialOffset;

/// So many events are printed when a run fails, and so many writes and faults, which go further back.
const TRACED: usize = 40;
const WRITES_TRACED: usize = 60;

/// What happens next.
#[derive(Debug)]
pub(super) enum Event {
    Network(Packet),
    /// The servers look whether the session has been silent for too long.
    Expiry(i64),
    Member(u64, What),
    /// The backend has decided on a request.
    Backend {
        process: u64,
        worker: usize,
        flight: u64,
        push: u64,
        delivered: bool,
    },
    Produce,
    Fault(Fault),
    /// A process begins.
    Start,
}

/// An event with its time; those of one time happen in the order in which they were planned.
struct Planned {
    at: Time,
    number: u64,
    event: Box<Event>,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) base: Instant,
    pub(super) dice: Dice,
    events: BinaryHeap<Reverse<Planned>>,
    events_made: u64,
    pub(super) steps: u64,
    pub(super) server: Server,
    pub(super) kafka: Kafka,
    pub(super) backend: Backend,
    pub(super) truth: Truth,
    pub(super) settings: Settings,
    pub(super) members: Vec<Member>,
    pub(super) processes: u64,
    pub(super) connections: BTreeMap<i64, Connection>,
    pub(super) faults: Faults,
    /// The folders of owners, offsets and maps.
    folders: [String; 3],
    /// `None`: nothing is written down, which is much faster.
    trace: Option<Trace>,
}

/// The newest of what happened.
#[derive(Debug, Default)]
struct Trace {
    writes: VecDeque<String>,
    events: VecDeque<String>,
}

impl Trace {
    fn note(lines: &mut VecDeque<String>, line: String, most: usize) {
        lines.push_back(line);
        if lines.len() > most {
            lines.pop_front();
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        set_clock(0);
        let mut dice = Dice::new(seed);
        let partitions = usize::try_from(dice.between(1, 6)).unwrap();
        let kafka = Kafka::new(partitions, &mut dice);
        let settings = Settings::draw(&mut dice);
        let backend = Backend::draw(&mut dice);
        let faults = Faults::choose(&mut dice, settings.initial);
        let mut truth = Truth::new(kafka.clone());
        truth.latest = settings.initial == InitialOffset::Latest;
        let mut world = Self {
            now: 0,
            base: Instant::now(),
            events: BinaryHeap::new(),
            events_made: 0,
            steps: 0,
            server: Server::default(),
            truth,
            kafka,
            backend,
            settings,
            members: Vec::new(),
            processes: 0,
            connections: BTreeMap::new(),
            faults,
            folders: [
                layout::owners(MODULE, TOPIC),
                layout::offsets(MODULE, TOPIC),
                layout::all_acks(MODULE, TOPIC),
            ]
            .map(|folder| format!("{folder}/")),
            trace: traced.then(Trace::default),
            dice,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for path in [layout::ids(MODULE), layout::owners(MODULE, topic().as_str())] {
            self.server.ensure(super::zookeeper::OPERATOR, &path);
        }
        self.server.ensure(super::zookeeper::OPERATOR, "/brokers/topics");
        let change = Change::Create {
            path: layout::broker_topic(topic().as_str()),
            data: br#"{"topic_id":"one"}"#.to_vec(),
            ephemeral: false,
        };
        let created = self.server.transact(super::zookeeper::OPERATOR, &[change]);
        assert!(created.is_ok(), "the topic is new");
        self.server.applied.clear();
        let members = self.dice.between(2, 4);
        for _ in 0..members {
            let late = self.dice.below(400);
            self.at(late, Event::Start);
        }
        self.at(1, Event::Produce);
        let first = self.faults.next(&mut self.dice);
        self.at(first.0, Event::Fault(first.1));
    }

    /// After `wait` this happens.
    pub(super) fn at(&mut self, wait: Time, event: Event) {
        self.events_made += 1;
        self.events.push(Reverse(Planned {
            at: self.now + wait,
            number: self.events_made,
            event: Box::new(event),
        }));
    }

    /// Runs until `until`, or until something is wrong.
    pub(super) fn run(&mut self, until: Time) {
        while self.truth.violation.is_none() {
            match self.events.peek() {
                Some(Reverse(next)) if next.at <= until => self.step(),
                _ => break,
            }
        }
        if self.truth.violation.is_none() {
            self.now = self.now.max(until);
            set_clock(self.now);
        }
    }

    fn step(&mut self) {
        let Some(Reverse(Planned { at, event, .. })) = self.events.pop() else {
            return;
        };
        let event = *event;
        self.now = self.now.max(at);
        set_clock(self.now);
        self.steps += 1;
        if let Some(trace) = &mut self.trace {
            let line = format!("{:>6} ms, step {}: {event:?}", self.now, self.steps);
            if matches!(event, Event::Fault(_)) {
                Trace::note(&mut trace.writes, line.clone(), WRITES_TRACED);
            }
            Trace::note(&mut trace.events, line, TRACED);
        }
        self.happen(event);
        self.judge();
        self.truth.check_wire(self.now);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Network(packet) => self.carry(packet),
            Event::Expiry(session) => self.expiry(session),
            Event::Member(process, what) => self.member_event(process, what),
            Event::Backend {
                process,
                worker,
                flight,
                push,
                delivered,
            } => {
                if delivered && let Some(on_wire) = self.truth.wire.get(&push).copied() {
                    self.truth.delivered(&on_wire);
                }
                self.at(1, Event::Member(process, What::Finish(worker, flight, delivered)));
            }
            Event::Produce => {
                let few = self.dice.below(6);
                self.kafka.produce(&mut self.dice, few);
                if !self.faults.over {
                    let wait = self.dice.between(20, 400);
                    self.at(wait, Event::Produce);
                }
            }
            Event::Fault(fault) => {
                if !self.faults.over {
                    self.strike(fault);
                    let next = self.faults.next(&mut self.dice);
                    self.at(next.0, Event::Fault(next.1));
                }
            }
            Event::Start => self.start(),
        }
    }

    fn start(&mut self) {
        self.processes += 1;
        let process = self.processes;
        let settings = self.settings.clone();
        let mut made = None;
        self.with_env(process, |env| made = Some(Member::new(process, &settings, env)));
        self.members.extend(made);
    }

    pub(super) fn index_of(&self, process: u64) -> Option<usize> {
        self.members.iter().position(|member| member.process == process)
    }

    pub(super) fn member_event(&mut self, process: u64, what: What) {
        let Some(at) = self.index_of(process) else { return };
        let known = &self.truth.processes[&process];
        let awake = if what.is_of_module() {
            known.stands_still_until.max(known.module_stands_still_until)
        } else {
            known.stands_still_until
        };
        if self.now < awake {
            // In the order in which they came.
            return self.at(awake - self.now, Event::Member(process, what));
        }
        match what {
            What::Connect => self.connect(at),
            What::Exit => self.exit(at),
            what => self.with_member(at, |member, env| member.handle(what, env)),
        }
    }

    pub(super) fn with_member(&mut self, at: usize, act: impl FnOnce(&mut Member, &mut Env<'_>)) {
        let mut members = std::mem::take(&mut self.members);
        let member = &mut members[at];
        let process = member.process;
        self.with_env(process, |env| act(member, env));
        self.members = members;
        self.send_all(at);
    }

    fn with_env(&mut self, process: u64, act: impl FnOnce(&mut Env<'_>)) {
        let mut env = Env {
            now: self.now,
            base: self.base,
            dice: &mut self.dice,
            truth: &mut self.truth,
            kafka: &self.kafka,
            backend: &self.backend,
            events: Vec::new(),
            pushes: Vec::new(),
            orders: Vec::new(),
            confirmed: Vec::new(),
        };
        act(&mut env);
        let (events, pushes) = (env.events, env.pushes);
        for (at, what) in events {
            self.at(at - self.now, Event::Member(process, what));
        }
        for (at, worker, flight, push, delivered) in pushes {
            let event = Event::Backend {
                process,
                worker,
                flight,
                push,
                delivered,
            };
            self.at(at - self.now, event);
        }
    }

    /// The owner's session and the position of a partition, as they are stored.
    pub(super) fn stored(&self, partition: PartitionId) -> (Option<i64>, Option<Vec<u8>>) {
        let owner = layout::owner(MODULE, topic().as_str(), partition);
        let offset = layout::offset(MODULE, topic().as_str(), partition);
        (
            self.server.node(&owner).map(|node| node.owner),
            self.server.node(&offset).map(|node| node.data.clone()),
        )
    }

    /// What went wrong, with the last events.
    pub(super) fn story(&self, violation: &Violation) -> String {
        let mut story = format!(
            "invariant {} ({:?}) does not hold at step {}, {} ms: {}\n",
            violation.invariant as u32, violation.invariant, self.steps, self.now, violation.text
        );
        if let Some(trace) = &self.trace {
            story.push_str("writes and faults:\n");
            story.extend(trace.writes.iter().flat_map(|line| [line, "\n"]));
            story.push_str("the last events:\n");
            story.extend(trace.events.iter().flat_map(|line| [line, "\n"]));
        }
        for member in &self.members {
            story.push_str(&format!("{member:?}\n"));
        }
        story
    }
}

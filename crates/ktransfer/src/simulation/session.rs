//! The client's side of a ZooKeeper session: requests wait here until the network takes them, and answers until the
//! code that asked is polled again.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use kcommon::zookeeper::{Error, Lifetime, MultiError, Node, SessionId, Stat, Write};

use crate::coordinator::servers::{Changed, ZooKeeper};

/// Who waits for an answer: see `member`.
pub(super) type Label = u64;

/// A watch: fires once.
pub(super) type Flag = Arc<AtomicBool>;

#[derive(Clone, Debug)]
pub(super) enum Request {
    Get(String),
    GetMany(Vec<String>),
    Children(String, Option<Flag>),
    Create(Change),
    Ensure(String),
    Set(Change),
    Delete(Change),
    Multi(Vec<Change>),
    Sync,
    Changes(String),
    Heartbeat,
    /// Not for the server: a wait of so many milliseconds.
    Pause(u64),
}

/// One write.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create {
        path: String,
        data: Vec<u8>,
        ephemeral: bool,
    },
    Set {
        path: String,
        data: Vec<u8>,
        version: Option<i32>,
    },
    Delete {
        path: String,
    },
}

#[derive(Debug)]
pub(super) enum Reply {
    Node(Option<Node>),
    Nodes(Vec<Option<Node>>),
    Names(Option<Vec<String>>),
    Stats(Vec<Option<Stat>>),
    Count(i32),
    Done,
}

pub(super) type Outcome = Result<Reply, MultiError>;

/// A failure of a whole request.
pub(super) fn failure(source: Error) -> MultiError {
    MultiError { at: None, source }
}

#[derive(Debug, Default)]
pub(super) struct Line {
    next: u64,
    /// Whose code is being polled.
    pub(super) label: Label,
    pub(super) sent: Vec<(u64, Label, Request)>,
    answers: BTreeMap<u64, Outcome>,
    watches: Vec<Flag>,
    dead: bool,
}

/// A session as its process has it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    id: i64,
    line: Arc<Mutex<Line>>,
}

impl Client {
    pub(super) fn new(id: i64) -> Self {
        Self {
            id,
            line: Arc::default(),
        }
    }

    /// Another client of the same session. Its requests have other numbers than those of the former.
    pub(super) fn attached_anew(&self) -> Self {
        let client = Self::new(self.id);
        client.lock().next = self.lock().next;
        client
    }

    pub(super) fn id_number(&self) -> i64 {
        self.id
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap()
    }

    /// A request that no code waits for; its number.
    pub(super) fn send(&self, label: Label, request: Request) -> u64 {
        let mut line = self.lock();
        line.label = label;
        line.push(request)
    }

    pub(super) fn answer(&self, number: u64, outcome: Outcome) {
        self.lock().answers.insert(number, outcome);
    }

    /// The answer to a request that no code waits for.
    pub(super) fn taken(&self, number: u64) -> Option<Outcome> {
        self.lock().answers.remove(&number)
    }

    /// The process has learned that the session is over.
    pub(super) fn expire(&self) {
        let mut line = self.lock();
        line.dead = true;
        line.sent.clear();
        for watch in line.watches.drain(..) {
            watch.store(true, Ordering::Relaxed);
        }
    }

    async fn ask(&self, request: Request) -> Outcome {
        Asking {
            client: self,
            request: Some(request),
            number: 0,
        }
        .await
    }

    async fn one(&self, request: Request) -> Result<Reply, Error> {
        self.ask(request).await.map_err(|error| error.source)
    }

    async fn stat(&self, request: Request) -> Result<Stat, Error> {
        match self.one(request).await? {
            Reply::Stats(stats) => Ok(stats[0].unwrap()),
            other => panic!("{other:?} is no stat"),
        }
    }
}

impl Line {
    fn push(&mut self, request: Request) -> u64 {
        self.next += 1;
        self.sent.push((self.next, self.label, request));
        self.next
    }
}

struct Asking<'a> {
    client: &'a Client,
    request: Option<Request>,
    number: u64,
}

impl Future for Asking<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Outcome> {
        let client = self.client;
        let mut line = client.lock();
        if line.dead {
            return Poll::Ready(Err(failure(Error::Expired)));
        }
        if let Some(request) = self.request.take() {
            self.number = line.push(request);
            return Poll::Pending;
        }
        line.answers
            .remove(&self.number)
            .map_or(Poll::Pending, Poll::Ready)
    }
}

struct Watching(Flag);

impl Future for Watching {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        if self.0.load(Ordering::Relaxed) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl ZooKeeper for Client {
    fn id(&self) -> SessionId {
        SessionId(self.id)
    }

    async fn get(&self, path: &str) -> Result<Option<Node>, Error> {
        match self.one(Request::Get(path.to_owned())).await? {
            Reply::Node(node) => Ok(node),
            other => panic!("{other:?} is no node"),
        }
    }

    async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>, Error> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        match self.one(Request::GetMany(paths.to_vec())).await? {
            Reply::Nodes(nodes) => Ok(nodes),
            other => panic!("{other:?} are no nodes"),
        }
    }

    async fn children(&self, path: &str) -> Result<Option<Vec<String>>, Error> {
        match self.one(Request::Children(path.to_owned(), None)).await? {
            Reply::Names(names) => Ok(names),
            other => panic!("{other:?} are no names"),
        }
    }

    async fn watch_children(&self, path: &str) -> Result<Option<(Vec<String>, Changed)>, Error> {
        let flag = Flag::default();
        self.lock().watches.push(Arc::clone(&flag));
        let request = Request::Children(path.to_owned(), Some(Arc::clone(&flag)));
        match self.one(request).await? {
            Reply::Names(names) => Ok(names.map(|names| (names, Box::pin(Watching(flag)) as Changed))),
            other => panic!("{other:?} are no names"),
        }
    }

    async fn changes(&self, path: &str) -> Result<i32, Error> {
        match self.one(Request::Changes(path.to_owned())).await? {
            Reply::Count(count) => Ok(count),
            other => panic!("{other:?} is no number"),
        }
    }

    async fn create(&self, path: &str, data: &[u8], lifetime: Lifetime) -> Result<Stat, Error> {
        self.stat(Request::Create(create(path, data, lifetime))).await
    }

    async fn ensure(&self, path: &str) -> Result<(), Error> {
        self.one(Request::Ensure(path.to_owned())).await.map(|_done| ())
    }

    async fn set(&self, path: &str, data: &[u8], version: i32) -> Result<Stat, Error> {
        self.stat(Request::Set(set(path, data, Some(version)))).await
    }

    async fn delete(&self, path: &str) -> Result<(), Error> {
        let path = path.to_owned();
        let deletion = Request::Delete(Change::Delete { path });
        self.one(deletion).await.map(|_stats| ())
    }

    async fn multi(&self, writes: &[Write<'_>]) -> Result<Vec<Option<Stat>>, MultiError> {
        let changes = writes.iter().map(|write| match *write {
            Write::Create { path, data, lifetime } => create(path, data, lifetime),
            Write::Set { path, data, version } => set(path, data, Some(version)),
            Write::Overwrite { path, data } => set(path, data, None),
            Write::Delete { path } => Change::Delete {
                path: path.to_owned(),
            },
        });
        match self.ask(Request::Multi(changes.collect())).await? {
            Reply::Stats(stats) => Ok(stats),
            other => panic!("{other:?} are no stats"),
        }
    }

    async fn sync(&self, _path: &str) -> Result<(), Error> {
        self.one(Request::Sync).await.map(|_done| ())
    }

    async fn pause(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        // The end of the session ends the wait too; then nothing follows that could do harm.
        let _over = self.ask(Request::Pause(millis)).await;
    }
}

fn create(path: &str, data: &[u8], lifetime: Lifetime) -> Change {
    Change::Create {
        path: path.to_owned(),
        data: data.to_vec(),
        ephemeral: lifetime == Lifetime::Ephemeral,
    }
}

fn set(path: &str, data: &[u8], version: Option<i32>) -> Change {
    Change::Set {
        path: path.to_owned(),
        data: data.to_vec(),
        version,
    }
}

//! Whose turn it is inside an exchange: the talk with hyper's sender, or the connection that carries it.
//!
//! Both live in one task, and with every request they wake each other several times: something to send, room for more, an
//! answer. Woken through the task itself, each such wake would have the whole task polled once more for nothing, because
//! it has polled both already. So each of the two has a waker of its own, which only notes its turn while the task is
//! polling; from outside, for a socket that is ready, it wakes the task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// After so many turns in one poll the other tasks have theirs: a future that wakes itself asks for that.
const MOST_TURNS: usize = 8;

/// The turns of one connection, whatever exchange it carries.
#[derive(Debug)]
pub(super) struct Turns {
    task: Arc<Task>,
    talk: Side,
    connection: Side,
}

/// How a poll of both ended.
pub(super) enum Turn<T> {
    /// The talk has ended; the connection goes on or has ended too.
    Over { outcome: T, is_open: bool },
    /// The connection has ended and left the talk without an answer.
    Closed,
    /// Each will be woken.
    Pending,
}

/// The task that polls both.
#[derive(Debug, Default)]
struct Task {
    waker: AtomicWaker,
    polling: AtomicBool,
}

#[derive(Debug)]
struct Side {
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Arc<Task>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    // Sequentially consistent on both sides: either this sees that the polling has ended, or `Turns::poll`, after it, sees the bell.
    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.task.polling.load(Ordering::SeqCst) {
            self.task.waker.wake();
        }
    }
}

impl Side {
    fn new(task: &Arc<Task>) -> Self {
        let bell = Arc::new(Bell {
            // Never polled, so nobody will wake it before.
            rung: AtomicBool::new(true),
            task: Arc::clone(task),
        });
        Self {
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    fn is_rung(&self) -> bool {
        self.bell.rung.load(Ordering::SeqCst)
    }

    /// Whether it has its turn, which is then taken.
    fn take(&self) -> bool {
        self.is_rung() && self.bell.rung.swap(false, Ordering::SeqCst)
    }
}

impl Turns {
    pub(super) fn new() -> Self {
        let task = Arc::default();
        Self {
            talk: Side::new(&task),
            connection: Side::new(&task),
            task,
        }
    }

    /// Another talk begins: it has not been polled.
    pub(super) fn begin(&self) {
        self.talk.bell.rung.store(true, Ordering::SeqCst);
    }

    /// Polls whoever has been woken, the talk first, so that a request it hands over is written in the same poll. A talk or
    /// a connection that has ended is not polled again: the caller drops it.
    pub(super) fn poll<T, C: Future>(
        &self,
        cx: &mut Context<'_>,
        mut talk: Pin<&mut impl Future<Output = T>>,
        mut connection: Pin<&mut C>,
    ) -> Turn<T> {
        let polling = self.enter(cx);
        let (mut of_talk, mut of_connection) = (
            Context::from_waker(&self.talk.waker),
            Context::from_waker(&self.connection.waker),
        );
        for _ in 0..MOST_TURNS {
            let talks = self.talk.take();
            if talks && let Poll::Ready(outcome) = talk.as_mut().poll(&mut of_talk) {
                return Turn::Over {
                    outcome,
                    is_open: true,
                };
            }
            let moves = self.connection.take();
            if moves && connection.as_mut().poll(&mut of_connection).is_ready() {
                // Perhaps with an answer; if not, nobody would wake the talk.
                return match talk.as_mut().poll(&mut of_talk) {
                    Poll::Ready(outcome) => Turn::Over {
                        outcome,
                        is_open: false,
                    },
                    Poll::Pending => Turn::Closed,
                };
            }
            if !talks && !moves {
                break;
            }
        }
        drop(polling);
        if self.talk.is_rung() || self.connection.is_rung() {
            self.task.waker.wake();
        }
        Turn::Pending
    }

    fn enter(&self, cx: &Context<'_>) -> Polling<'_> {
        self.task.waker.register(cx.waker());
        self.task.polling.store(true, Ordering::SeqCst);
        Polling(&self.task.polling)
    }
}

/// From the first turn of a poll to its end, however it ends.
struct Polling<'a>(&'a AtomicBool);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    /// Counts how often it wakes the task.
    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn woken(count: &Count) -> usize {
        count.0.load(Ordering::SeqCst)
    }

    #[test]
    fn they_wake_each_other_without_the_task() {
        let (count, waker) = task();
        let (talk_waker, connection_waker) = (Cell::new(None::<Waker>), Cell::new(None::<Waker>));
        let (mut talked, mut moved) = (0, 0);
        let talk = pin!(poll_fn(|cx| {
            talked += 1;
            talk_waker.set(Some(cx.waker().clone()));
            match connection_waker.take() {
                Some(waker) if talked < 3 => waker.wake(),
                Some(_) => return Poll::Ready("answer"),
                None => {}
            }
            Poll::Pending
        }));
        let connection = pin!(poll_fn(|cx| {
            moved += 1;
            connection_waker.set(Some(cx.waker().clone()));
            talk_waker.take().expect("the talk is polled first").wake();
            Poll::<()>::Pending
        }));
        let turns = Turns::new();
        let turn = turns.poll(&mut Context::from_waker(&waker), talk, connection);
        assert!(matches!(
            turn,
            Turn::Over {
                outcome: "answer",
                is_open: true
            }
        ));
        assert_eq!((talked, moved, woken(&count)), (3, 2, 0));
    }

    #[test]
    fn only_who_was_woken_from_outside_is_polled_again() {
        let (count, waker) = task();
        let (mut talked, mut moved) = (0, 0);
        let outside = Cell::new(None::<Waker>);
        let mut talk = pin!(poll_fn(|_| {
            talked += 1;
            Poll::<()>::Pending
        }));
        let mut connection = pin!(poll_fn(|cx| {
            moved += 1;
            outside.set(Some(cx.waker().clone()));
            Poll::<()>::Pending
        }));
        let turns = Turns::new();
        let mut cx = Context::from_waker(&waker);
        assert!(matches!(
            turns.poll(&mut cx, talk.as_mut(), connection.as_mut()),
            Turn::Pending
        ));
        assert!(matches!(
            turns.poll(&mut cx, talk.as_mut(), connection.as_mut()),
            Turn::Pending
        ));
        assert_eq!(woken(&count), 0);
        outside.take().unwrap().wake();
        assert_eq!(woken(&count), 1);
        assert!(matches!(
            turns.poll(&mut cx, talk.as_mut(), connection.as_mut()),
            Turn::Pending
        ));
        assert_eq!((talked, moved), (1, 2));
    }

    #[test]
    fn who_wakes_himself_for_ever_leaves_the_others_their_turn_and_is_not_forgotten() {
        let (count, waker) = task();
        let mut moved = 0;
        let talk = pin!(std::future::pending::<()>());
        let connection = pin!(poll_fn(|cx| {
            moved += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let turns = Turns::new();
        let turn = turns.poll(&mut Context::from_waker(&waker), talk, connection);
        assert!(matches!(turn, Turn::Pending));
        assert_eq!((moved, woken(&count)), (MOST_TURNS, 1));
    }

    #[test]
    fn a_connection_that_ends_lets_the_talk_say_its_last_word() {
        let (_count, waker) = task();
        let mut cx = Context::from_waker(&waker);
        let closed = Turns::new().poll(&mut cx, pin!(std::future::pending::<()>()), pin!(async {}));
        assert!(matches!(closed, Turn::Closed));
        let done = Cell::new(false);
        let talk = pin!(poll_fn(|_| if done.get() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }));
        let connection = pin!(async { done.set(true) });
        let over = Turns::new().poll(&mut cx, talk, connection);
        assert!(matches!(over, Turn::Over { is_open: false, .. }));
    }
}

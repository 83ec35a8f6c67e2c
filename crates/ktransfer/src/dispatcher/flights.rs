//! Who pushes what: a seat per worker, with what it has on the wire, and the seats that rest.

use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;

use crate::assignment::Epoch;

/// A worker's place, from 0 to the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(pub usize);

#[derive(Debug, Default)]
struct Place {
    bell: Rc<Notify>,
    flight: Option<Epoch>,
    cut: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct Flights {
    places: Vec<Place>,
    resting: Vec<Seat>,
    in_flight: usize,
}

impl Flights {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            places: (0..workers).map(|_| Place::default()).collect(),
            resting: Vec::with_capacity(workers),
            in_flight: 0,
        }
    }

    pub(super) fn bell(&self, seat: Seat) -> Rc<Notify> {
        self.places
            .get(seat.0)
            .map(|place| Rc::clone(&place.bell))
            .unwrap_or_default()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The worker has nothing to do until its bell rings.
    pub(super) fn rest(&mut self, seat: Seat) {
        self.resting.push(seat);
    }

    /// Rings up to `count` resting workers, the one that rested last first: its memory is warm.
    pub(super) fn wake(&mut self, count: usize) {
        for _ in 0..count.min(self.resting.len()) {
            if let Some(place) = self.resting.pop().and_then(|seat| self.places.get(seat.0)) {
                place.bell.notify_one();
            }
        }
    }

    pub(super) fn start(&mut self, seat: Seat, epoch: Epoch) {
        if let Some(place) = self.places.get_mut(seat.0) {
            place.flight = Some(epoch);
            place.cut = false;
            self.in_flight += 1;
        }
    }

    pub(super) fn land(&mut self, seat: Seat) {
        if let Some(place) = self.places.get_mut(seat.0)
            && place.flight.take().is_some()
        {
            place.cut = false;
            self.in_flight -= 1;
        }
    }

    /// Whether the seat's request is cut; if not, keeps the waker for when it is.
    pub(super) fn is_cut(&mut self, seat: Seat, cx: &Context<'_>) -> bool {
        let Some(place) = self.places.get_mut(seat.0) else {
            return false;
        };
        if !place
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            place.waker = Some(cx.waker().clone());
        }
        place.cut
    }

    /// Cuts the requests of an epoch; returns how many that were not cut before.
    pub(super) fn cut(&mut self, epoch: Epoch) -> usize {
        self.cut_where(|flight| flight == epoch)
    }

    /// Cuts every request.
    pub(super) fn cut_all(&mut self) -> usize {
        self.cut_where(|_any| true)
    }

    fn cut_where(&mut self, wanted: impl Fn(Epoch) -> bool) -> usize {
        let places = self
            .places
            .iter_mut()
            .filter(|place| !place.cut && place.flight.is_some_and(&wanted));
        places
            .map(|place| {
                place.cut = true;
                if let Some(waker) = &place.waker {
                    waker.wake_by_ref();
                }
            })
            .count()
    }
}

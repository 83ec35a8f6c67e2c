//! The records of one key: which are delivered, and whether a push of one may begin now. Pure.

/// What is known of a key's records.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// A bit per record.
    done: Vec<u64>,
    delivered: u64,
    /// The record of the push that began last.
    last: Option<u64>,
    /// The record that was delivered last.
    last_word: Option<u64>,
}

/// Whether a push may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Kept,
    /// Not, and why.
    Broken(&'static str),
}

impl Lane {
    /// A push of the record number `step` begins.
    pub(super) fn begin(&mut self, step: u64) -> Order {
        let last = self.last.replace(step);
        if step > 0 && !self.is_done(step - 1) {
            return Order::Broken("pushed before its predecessor was delivered");
        }
        // Back is a repeat; forward it goes in single steps, also after a fall back.
        if last.is_some_and(|last| step > last + 1) {
            return Order::Broken("pushed past a record that was to be repeated");
        }
        Order::Kept
    }

    /// A push of the record was answered as delivered. Gives whether it was the first time.
    pub(super) fn deliver(&mut self, step: u64) -> bool {
        self.last_word = Some(step);
        let (word, bit) = place(step);
        if self.done.len() <= word {
            self.done.resize(word + 1, 0);
        }
        let first_time = self.done[word] & bit == 0;
        self.done[word] |= bit;
        self.delivered += u64::from(first_time);
        first_time
    }

    /// How many different records were delivered.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How many of the first `count` records were not.
    pub(super) fn missing(&self, count: u64) -> u64 {
        (0..count).map(|step| u64::from(!self.is_done(step))).sum()
    }

    /// Whether the last of `count` records was delivered, but an older one after it.
    pub(super) fn last_word_is_old(&self, count: u64) -> bool {
        let Some(newest) = count.checked_sub(1) else {
            return false;
        };
        self.is_done(newest) && self.last_word.is_some_and(|step| step < newest)
    }

    fn is_done(&self, step: u64) -> bool {
        let (word, bit) = place(step);
        self.done.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

fn place(step: u64) -> (usize, u64) {
    let word = usize::try_from(step / 64).expect("a number of records fits into memory");
    (word, 1 << (step % 64))
}

//! What the clients of a kproxy were told of each of their posts, held against what is in the topic.
//!
//! Pure. A client waits for each answer before its next post. Its key is new after every post of which it does not know whether
//! it is stored: such a record may still come, and only the order of those it knows of is promised.

use std::fmt;

use crate::Stored;

/// What a client knows of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// 200: it is stored here, once.
    Stored {
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// It is not stored, and never will be, for this reason.
    NotStored(String),
    /// It may be stored, once.
    Unsure,
    /// The answer says neither.
    Senseless,
}

/// One client, and what it was told so far.
#[derive(Clone, Debug)]
pub struct Witness {
    number: usize,
    generation: u32,
    posts: Vec<(u32, Told)>,
}

impl Witness {
    /// A client that has posted nothing.
    #[must_use]
    pub const fn new(number: usize) -> Self {
        Self {
            number,
            generation: 0,
            posts: Vec::new(),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The key of its next post.
    #[must_use]
    pub fn key(&self) -> String {
        format!("k{}.{}", self.number, self.generation)
    }

    /// The body of its next post, which no other post has.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}:{}:{:080}", self.number, self.posts.len(), 0)
    }

    /// What became of that post.
    pub fn enter(&mut self, told: Told) {
        let unsure = told == Told::Unsure;
        self.posts.push((self.generation, told));
        self.generation += u32::from(unsure);
    }
}

/// The client's number and the post's, from a body.
fn author(body: &[u8]) -> Option<(usize, usize)> {
    let mut parts = str::from_utf8(body).ok()?.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// How true the answers were. Everything from `lost` on should be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Posts that were told to be stored.
    pub stored: usize,
    /// Posts that were told not to be stored.
    pub not_stored: usize,
    /// Posts of which nothing is known.
    pub unsure: usize,
    /// How many of those are stored.
    pub unsure_stored: usize,
    /// Told to be stored, and not there.
    pub lost: usize,
    /// There more than once.
    pub doubled: usize,
    /// Told not to be stored, and there.
    pub denied: usize,
    /// Stored, but not where the answer said.
    pub misplaced: usize,
    /// Stored before a record of their key that was confirmed before they were posted.
    pub out_of_order: usize,
    /// In the topic, and posted by nobody.
    pub unknown: usize,
    /// Answers that say nothing about the record.
    pub senseless: usize,
    /// The first few findings in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether every answer was true.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.examples.is_empty()
    }

    fn example(&mut self, what: &str, client: usize, post: usize) {
        if self.examples.len() < 10 {
            self.examples
                .push(format!("{what}: post {post} of client {client}"));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} posts: {} told stored, {} told not stored, {} unsure (of which {} are stored)\n  {} lost, {} doubled, {} told not \
             stored and there, {} elsewhere, {} out of order, {} unknown, {} answers without sense",
            self.stored + self.not_stored + self.unsure + self.senseless,
            self.stored,
            self.not_stored,
            self.unsure,
            self.unsure_stored,
            self.lost,
            self.doubled,
            self.denied,
            self.misplaced,
            self.out_of_order,
            self.unknown,
            self.senseless,
        )?;
        self.examples
            .iter()
            .try_for_each(|example| write!(formatter, "\n  {example}"))
    }
}

/// Holds what the clients, numbered from 0, were told against all records of their topic.
#[must_use]
pub fn judge(witnesses: &[Witness], records: &[Stored]) -> Verdict {
    let mut verdict = Verdict::default();
    // Where each post was found first, and how often.
    let mut found: Vec<Vec<(i32, i64, usize)>> = witnesses
        .iter()
        .map(|witness| vec![(0, 0, 0); witness.posts.len()])
        .collect();
    for record in records {
        let author = author(&record.value);
        let place = author.and_then(|(client, post)| found.get_mut(client)?.get_mut(post));
        match place {
            Some(place) if place.2 == 0 => *place = (record.partition, record.offset, 1),
            Some(place) => place.2 += 1,
            None => {
                verdict.unknown += 1;
                verdict.examples.push("a record that nobody posted".to_owned());
            }
        }
    }
    for (witness, found) in witnesses.iter().zip(&found) {
        judge_one(witness, found, &mut verdict);
    }
    verdict
}

fn judge_one(witness: &Witness, found: &[(i32, i64, usize)], verdict: &mut Verdict) {
    // The last confirmed record of the generation.
    let mut last: Option<(u32, i32, i64)> = None;
    for (post, ((generation, told), &(partition, offset, times))) in
        witness.posts.iter().zip(found).enumerate()
    {
        let client = witness.number;
        if times > 1 {
            verdict.doubled += 1;
            verdict.example("stored more than once", client, post);
        }
        match told {
            Told::Stored { .. } if times == 0 => {
                verdict.stored += 1;
                verdict.lost += 1;
                verdict.example("told stored, and lost", client, post);
            }
            Told::Stored {
                partition: at,
                offset: said,
            } => {
                verdict.stored += 1;
                if (*at, *said) != (partition, offset) {
                    verdict.misplaced += 1;
                    verdict.example("not where the answer says", client, post);
                }
                if last.is_some_and(|last| last.0 == *generation && (last.1 != partition || last.2 >= offset))
                {
                    verdict.out_of_order += 1;
                    verdict.example("before an older record of its key", client, post);
                }
                last = Some((*generation, partition, offset));
            }
            Told::NotStored(why) => {
                verdict.not_stored += 1;
                if times > 0 {
                    verdict.denied += 1;
                    verdict.example(&format!("told not stored ({why}), and there"), client, post);
                }
            }
            Told::Unsure => {
                verdict.unsure += 1;
                verdict.unsure_stored += usize::from(times > 0);
            }
            Told::Senseless => {
                verdict.senseless += 1;
                verdict.example("an answer without sense", client, post);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: &str, partition: i32, offset: i64) -> Stored {
        Stored {
            partition,
            offset,
            key: None,
            value: body.into(),
            is_tombstone: false,
            timestamp: None,
            headers: Vec::new(),
        }
    }

    /// A client with these answers, and a record for each with a place, there in the order of the posts.
    fn scene(told: &[Told]) -> (Witness, Vec<Stored>) {
        let mut witness = Witness::new(0);
        let mut records = Vec::new();
        for told in told {
            if let Told::Stored { partition, offset } = told {
                records.push(record(&witness.body(), *partition, *offset));
            }
            witness.enter(told.clone());
        }
        (witness, records)
    }

    const fn stored(offset: i64) -> Told {
        Told::Stored { partition: 1, offset }
    }

    fn not_stored() -> Told {
        Told::NotStored("expired".to_owned())
    }

    #[test]
    fn true_answers_are_true() {
        let (witness, mut records) = scene(&[stored(5), not_stored(), stored(7), Told::Unsure, stored(6)]);
        let verdict = judge(&[witness], &records);
        assert!(verdict.is_true(), "{verdict}");
        // What was unsure may be there.
        records.push(record("0:3:0", 1, 9));
        let (witness, _) = scene(&[stored(5), not_stored(), stored(7), Told::Unsure, stored(6)]);
        let verdict = judge(&[witness], &records);
        assert!(verdict.is_true() && verdict.unsure_stored == 1, "{verdict}");
    }

    #[test]
    fn each_lie_is_found() {
        let lost = judge(&[scene(&[stored(5)]).0], &[]);
        assert_eq!((lost.lost, lost.is_true()), (1, false));

        let denied = judge(&[scene(&[not_stored()]).0], &[record("0:0:0", 1, 5)]);
        assert_eq!((denied.denied, denied.is_true()), (1, false));

        for told in [stored(5), Told::Unsure] {
            let twice = [record("0:0:0", 1, 5), record("0:0:0", 1, 6)];
            let doubled = judge(&[scene(&[told]).0], &twice);
            assert_eq!((doubled.doubled, doubled.is_true()), (1, false));
        }

        let misplaced = judge(&[scene(&[stored(5)]).0], &[record("0:0:0", 1, 6)]);
        assert_eq!((misplaced.misplaced, misplaced.is_true()), (1, false));

        let (witness, records) = scene(&[stored(5), stored(4)]);
        let disordered = judge(&[witness], &records);
        assert_eq!((disordered.out_of_order, disordered.is_true()), (1, false));

        let unknown = judge(&[scene(&[]).0], &[record("?", 1, 6)]);
        assert_eq!((unknown.unknown, unknown.is_true()), (1, false));

        let senseless = judge(&[scene(&[Told::Senseless]).0], &[]);
        assert_eq!((senseless.senseless, senseless.is_true()), (1, false));
    }
}

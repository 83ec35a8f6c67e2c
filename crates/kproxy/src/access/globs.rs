//! Patterns of topic names: `*` stands for any characters, also none, `?` for one. Pure.

use kcommon::kafka::TopicName;

/// Patterns, of which one has to fit. The default has none, and fits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs(Vec<Box<str>>);

/// A text that can be no pattern of topic names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is {0:?}, which fits no topic; allowed: 1 to 249 of a-z A-Z 0-9 . _ -, with * for any characters and ? for one"
)]
pub struct BadGlob(String);

impl Globs {
    /// Patterns as they are written.
    ///
    /// # Errors
    /// The first one that can fit no legal name.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self, BadGlob> {
        let checked = patterns.into_iter().map(|pattern| {
            let as_a_name = pattern.replace(['*', '?'], "x");
            match TopicName::check(&as_a_name) {
                Ok(()) => Ok(pattern.into()),
                Err(_illegal) => Err(BadGlob(pattern)),
            }
        });
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of the patterns fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| fits(pattern.as_bytes(), name.as_bytes()))
    }
}

/// Goes back to the last `*` only: what an earlier one took need never change. So the time is at most the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // Behind the last `*`, and where in the name it was met last.
    let mut star = None;
    while at < name.len() {
        match pattern.get(of) {
            Some(b'*') => {
                of += 1;
                star = Some((of, at));
            }
            Some(&byte) if byte == b'?' || byte == name[at] => {
                of += 1;
                at += 1;
            }
            _ => {
                let Some((behind, met)) = star else { return false };
                star = Some((behind, met + 1));
                (of, at) = (behind, met + 1);
            }
        }
    }
    pattern[of..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, name: &str) -> bool {
        Globs::new([pattern.to_owned()]).unwrap().matches(name)
    }

    /// The definition, without a thought for time.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skipped| naive(rest, &name[skipped..])),
            Some((b'?', rest)) => !name.is_empty() && naive(rest, &name[1..]),
            Some((byte, rest)) => name.first() == Some(byte) && naive(rest, &name[1..]),
        }
    }

    #[test]
    fn every_short_pattern_fits_as_defined() {
        let words = |letters: &[u8], longest: usize| {
            let mut all = vec![Vec::new()];
            let mut from = 0;
            for _ in 0..longest {
                let until = all.len();
                for at in from..until {
                    for letter in letters {
                        let mut word = all[at].clone();
                        word.push(*letter);
                        all.push(word);
                    }
                }
                from = until;
            }
            all
        };
        let names = words(b"ab", 5);
        for pattern in words(b"ab*?", 5) {
            for name in &names {
                assert_eq!(
                    fits(&pattern, name),
                    naive(&pattern, name),
                    "{:?} {:?}",
                    String::from_utf8_lossy(&pattern),
                    String::from_utf8_lossy(name)
                );
            }
        }
    }

    #[test]
    fn a_pattern_means_the_whole_name() {
        assert!(fit("orders", "orders") && !fit("orders", "orders2") && !fit("orders", "my-orders"));
        assert!(fit("orders.*", "orders.eu.new") && !fit("orders.*", "orders"));
        assert!(fit("*", "x") && fit("a.?", "a.b") && !fit("a.?", "a.bc"));
    }

    #[test]
    fn the_worst_pattern_is_quick() {
        let pattern = format!("{}b", "*a".repeat(120));
        assert!(!fit(&pattern, &"a".repeat(249)));
    }

    #[test]
    fn a_pattern_that_fits_no_topic_is_refused() {
        for pattern in ["", "a/b", "orders.[ab]", "a b", "ä", &"x".repeat(250)] {
            let refused = Globs::new([pattern.to_owned()]).unwrap_err();
            assert!(refused.to_string().contains("fits no topic"), "{pattern}");
        }
    }
}

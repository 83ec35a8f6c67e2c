//! Getting numbers out of a batch that fails as a whole when one of its parts does.
//!
//! librdkafka asks a broker for thousands of partitions in one request, and throws all the answers away when one
//! partition has an error (it moved, or was deleted a moment ago). So a failed batch is halved until the bad partitions
//! stand alone. A batch that failed because the broker did not answer is not: every half would wait as long again.
//! Pure.

/// Items in one request at first. librdkafka looks every answer up in a list, so its work grows with the square.
const AT_FIRST: usize = 500;

/// Halving goes on for at most this many requests beyond the first of each [`AT_FIRST`] items.
const MOST_REPEATS: usize = 100;

/// How one request ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<A> {
    /// The answers.
    Answered(Vec<A>),
    /// Some partition in it has an error; smaller requests may succeed.
    PartFailed,
    /// No answer from the broker; smaller requests would fare no better.
    NoAnswer,
}

/// Asks for `items` in as few requests as their errors allow, and in a bounded number of them. Items that get no answer
/// are missing in the result.
pub(crate) fn ask<T, A>(items: &[T], mut request: impl FnMut(&[T]) -> Outcome<A>) -> Vec<A> {
    let mut answers = Vec::with_capacity(items.len());
    let mut batches: Vec<&[T]> = items.chunks(AT_FIRST).rev().collect();
    let mut left = batches.len() + MOST_REPEATS;
    while let Some(batch) = batches.pop() {
        if left == 0 {
            break;
        }
        left -= 1;
        match request(batch) {
            Outcome::Answered(more) => answers.extend(more),
            Outcome::PartFailed if batch.len() > 1 => {
                let (left, right) = batch.split_at(batch.len() / 2);
                batches.extend([right, left]);
            }
            Outcome::PartFailed => {}
            Outcome::NoAnswer => break,
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask_with_bad(items: &[usize], bad: &[usize]) -> (Vec<usize>, usize) {
        let mut requests = 0;
        let answers = ask(items, |batch| {
            requests += 1;
            assert!(!batch.is_empty() && batch.len() <= AT_FIRST);
            if batch.iter().any(|item| bad.contains(item)) {
                Outcome::PartFailed
            } else {
                Outcome::Answered(batch.to_vec())
            }
        });
        (answers, requests)
    }

    #[test]
    fn without_an_error_there_is_one_request_for_each_five_hundred() {
        let items: Vec<usize> = (0..1234).collect();
        assert_eq!(ask_with_bad(&items, &[]), (items, 3));
        assert_eq!(ask_with_bad(&[], &[]), (vec![], 0));
    }

    #[test]
    fn one_bad_partition_costs_itself_only() {
        let items: Vec<usize> = (0..500).collect();
        let (answers, requests) = ask_with_bad(&items, &[317]);
        assert_eq!(answers.len(), 499);
        assert!(!answers.contains(&317));
        assert!(requests <= 19, "{requests}");
    }

    #[test]
    fn a_broker_that_does_not_answer_is_asked_once() {
        let items: Vec<usize> = (0..1234).collect();
        let mut requests = 0;
        let answers: Vec<usize> = ask(&items, |_| {
            requests += 1;
            Outcome::NoAnswer
        });
        assert_eq!((answers.len(), requests), (0, 1));
    }

    #[test]
    fn the_number_of_requests_is_bounded_however_many_are_bad() {
        let items: Vec<usize> = (0..1000).collect();
        let (answers, requests) = ask_with_bad(&items, &items);
        assert_eq!((answers.len(), requests), (0, MOST_REPEATS + 2));
    }
}

//! What an answer means for a record: its status first, then a rule on its body where the module has one. Pure.

mod body;

use std::ops::RangeInclusive;
use std::str::FromStr;

use hyper::StatusCode;

pub use body::{BodyError, BodyRule, Condition, FieldPath, FieldPathError};

use crate::link::AnswerBody;

/// The statuses that an answer can have: 1xx are none.
const LOWEST: u16 = 200;
const HIGHEST: u16 = 599;

/// The word that stands for every status.
pub const ANY: &str = "any";

/// A list of statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    ranges: Vec<RangeInclusive<u16>>,
}

/// A module's rules: which answers deliver a record, and which refuse it for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The statuses of a delivery; at least one range.
    pub success: Statuses,
    /// The statuses that end a record undelivered, without another attempt; has none of `success`.
    pub rejected: Statuses,
    /// What the body of an answer with a status of `success` has to say for a delivery; none = nothing.
    pub body: Option<BodyRule>,
}

/// What to do with a record after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a verdict ends the attempt"]
pub enum Verdict {
    /// The backend has it: the record is done.
    Delivered,
    /// The backend has said that it will never take it: no other attempt.
    Rejected,
    /// The backend has not said that it has it: another attempt, by the module's retry policy. Redirects are here too: they
    /// are never followed, because a followed one turns a POST into a GET.
    Retry,
    /// The status says that it is delivered, and the body does not: another attempt as well.
    Denied(BodyError),
}

/// A text that is neither a status nor a range of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither a status from 200 to 599 nor a range such as 200-299, nor the word any")]
pub struct StatusRangeError;

impl Statuses {
    /// These statuses, each given as `200`, `200-299` or `any`.
    ///
    /// # Errors
    /// The position of the first text that is neither, and why.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, (usize, StatusRangeError)> {
        let ranges = texts.into_iter().enumerate();
        let ranges = ranges.map(|(nth, text)| range(text).map_err(|error| (nth, error)));
        Ok(Self {
            ranges: ranges.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a status is in the list.
    #[must_use]
    pub fn contains(&self, status: StatusCode) -> bool {
        self.ranges.iter().any(|range| range.contains(&status.as_u16()))
    }

    /// The first status that is in both lists.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<u16> {
        let both = |status: &u16| {
            let within = |list: &Self| list.ranges.iter().any(|range| range.contains(status));
            within(self) && within(other)
        };
        (LOWEST..=HIGHEST).find(both)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl Rules {
    /// The verdict on an answer with this status and body; the body is asked for by [`Rules::body`] only.
    pub fn judge(&self, status: StatusCode, body: &AnswerBody) -> Verdict {
        if self.success.contains(status) {
            match self.body.as_ref().map_or(Ok(()), |rule| rule.check(body)) {
                Ok(()) => Verdict::Delivered,
                Err(error) => Verdict::Denied(error),
            }
        } else if self.rejected.contains(status) {
            Verdict::Rejected
        } else {
            Verdict::Retry
        }
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, StatusRangeError> {
    if text == ANY {
        return Ok(LOWEST..=HIGHEST);
    }
    let status = |text: &str| {
        let status = u16::from_str(text.trim()).map_err(|_no_number| StatusRangeError)?;
        if (LOWEST..=HIGHEST).contains(&status) {
            Ok(status)
        } else {
            Err(StatusRangeError)
        }
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = status(first)?..=status(last)?;
    if range.is_empty() {
        Err(StatusRangeError)
    } else {
        Ok(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(texts: &[&str]) -> Statuses {
        Statuses::parse(texts.iter().copied()).unwrap()
    }

    fn verdict_of(success: &[&str], status: u16) -> Verdict {
        verdict_with(success, &[], status)
    }

    fn verdict_with(success: &[&str], rejected: &[&str], status: u16) -> Verdict {
        let rules = Rules {
            success: statuses(success),
            rejected: statuses(rejected),
            body: None,
        };
        rules.judge(StatusCode::from_u16(status).unwrap(), &AnswerBody::Dropped)
    }

    #[test]
    fn statuses_of_the_list_are_delivered_and_no_other() {
        for (success, status, expected) in [
            (&["200-299"][..], 200, Verdict::Delivered),
            (&["200-299"], 201, Verdict::Delivered),
            (&["200-299"], 204, Verdict::Delivered),
            (&["200-299"], 299, Verdict::Delivered),
            (&["200-299"], 300, Verdict::Retry),
            (&["200-299"], 302, Verdict::Retry),
            (&["200-299"], 304, Verdict::Retry),
            (&["200-299"], 400, Verdict::Retry),
            (&["200-299"], 404, Verdict::Retry),
            (&["200-299"], 429, Verdict::Retry),
            (&["200-299"], 500, Verdict::Retry),
            (&["200-299"], 503, Verdict::Retry),
            (&["200-299"], 999, Verdict::Retry),
            (&["200-299"], 100, Verdict::Retry),
            (&["200"], 201, Verdict::Retry),
            (&["200"], 200, Verdict::Delivered),
            (&["200", "409"], 409, Verdict::Delivered),
            (&["200", "202 - 204"], 203, Verdict::Delivered),
            (&["any"], 200, Verdict::Delivered),
            (&["any"], 302, Verdict::Delivered),
            (&["any"], 599, Verdict::Delivered),
        ] {
            assert_eq!(verdict_of(success, status), expected, "{success:?} {status}");
        }
    }

    #[test]
    fn what_is_rejected_is_neither_delivered_nor_tried_again() {
        for (status, expected) in [
            (200, Verdict::Delivered),
            (400, Verdict::Rejected),
            (404, Verdict::Retry),
            (422, Verdict::Rejected),
            (500, Verdict::Retry),
        ] {
            let verdict = verdict_with(&["200-299"], &["400", "410-422"], status);
            assert_eq!(verdict, expected, "{status}");
        }
    }

    #[test]
    fn a_body_counts_only_where_the_status_means_delivered() {
        let field = FieldPath::parse("errno").unwrap();
        let rules = Rules {
            success: statuses(&["200"]),
            rejected: statuses(&["400"]),
            body: Some(BodyRule {
                field,
                condition: Condition::Falsy,
                max_bytes: 100,
            }),
        };
        let judge = |status, body: &str| {
            let body = AnswerBody::Whole(body.as_bytes().to_vec());
            rules.judge(StatusCode::from_u16(status).unwrap(), &body)
        };
        assert_eq!(judge(200, r#"{"errno":0}"#), Verdict::Delivered);
        assert!(matches!(judge(200, r#"{"errno":1}"#), Verdict::Denied(_)));
        assert!(matches!(judge(200, "<html>"), Verdict::Denied(_)));
        assert_eq!(judge(400, r#"{"errno":0}"#), Verdict::Rejected);
        assert_eq!(judge(500, r#"{"errno":0}"#), Verdict::Retry);
    }

    #[test]
    fn the_first_status_of_two_lists_is_named() {
        let common = |one: &[&str], other: &[&str]| statuses(one).common(&statuses(other));
        assert_eq!(common(&["200-299"], &["400-499"]), None);
        assert_eq!(common(&["200-299", "409"], &["400-499"]), Some(409));
        assert_eq!(common(&["any"], &["404"]), Some(404));
        assert_eq!(common(&["any"], &[]), None);
    }

    #[test]
    fn what_is_no_status_is_named_by_its_position() {
        for wrong in [
            "",
            "2xx",
            "199",
            "600",
            "204-200",
            "200-",
            "-200",
            "100-200",
            "200-299-300",
            "+",
        ] {
            let parsed = Statuses::parse(["200", wrong]);
            assert_eq!(parsed, Err((1, StatusRangeError)), "{wrong}");
        }
    }
}

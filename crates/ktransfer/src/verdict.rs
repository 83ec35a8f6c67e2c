//! What the status of an answer means for a record. Pure.

use std::ops::RangeInclusive;
use std::str::FromStr;

use hyper::StatusCode;

/// The statuses that count as delivered; at least one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessStatus {
    ranges: Vec<RangeInclusive<u16>>,
}

/// What to do with a record after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a verdict ends the attempt"]
pub enum Verdict {
    /// The backend has it: the record is done.
    Delivered,
    /// The backend has not said that it has it: another attempt, by the module's retry policy. Redirects are here too: they
    /// are never followed, because a followed one turns a POST into a GET.
    Retry,
}

/// A text that is neither a status nor a range of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither a status from 200 to 599 nor a range such as 200-299")]
pub struct StatusRangeError;

impl SuccessStatus {
    /// These statuses, given as `200` or `200-299`.
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
}

/// The verdict on an answer with this status.
pub fn verdict(success: &SuccessStatus, status: StatusCode) -> Verdict {
    if success
        .ranges
        .iter()
        .any(|range| range.contains(&status.as_u16()))
    {
        Verdict::Delivered
    } else {
        Verdict::Retry
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, StatusRangeError> {
    let status = |text: &str| {
        let status = u16::from_str(text.trim()).map_err(|_no_number| StatusRangeError)?;
        if (200..600).contains(&status) {
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

    fn verdict_of(success: &[&str], status: u16) -> Verdict {
        let success = SuccessStatus::parse(success.iter().copied()).unwrap();
        verdict(&success, StatusCode::from_u16(status).unwrap())
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
        ] {
            assert_eq!(verdict_of(success, status), expected, "{success:?} {status}");
        }
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
            let parsed = SuccessStatus::parse(["200", wrong]);
            assert_eq!(parsed, Err((1, StatusRangeError)), "{wrong}");
        }
    }
}

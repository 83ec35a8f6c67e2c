//! What a backend asks for with `Retry-After`. Pure.

use std::time::{Duration, SystemTime};

/// How long the headers `Retry-After` and `Date` of an answer ask to wait; `None` when they say nothing that can be understood.
///
/// A date is compared with the answer's own `Date`, so that our clock does not matter; without one, with `now`. A date that
/// has passed asks for no wait.
#[must_use]
pub fn asked_wait(retry_after: &[u8], date: Option<&[u8]>, now: SystemTime) -> Option<Duration> {
    let text = str::from_utf8(retry_after).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a long time too.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let said = date
        .and_then(|date| str::from_utf8(date).ok())
        .and_then(|date| httpdate::parse_http_date(date).ok());
    Some(until.duration_since(said.unwrap_or(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const THEN: Duration = Duration::from_secs(784_111_777);

    fn asked(retry_after: &str, date: Option<&str>) -> Option<u64> {
        let now = SystemTime::UNIX_EPOCH + THEN;
        asked_wait(retry_after.as_bytes(), date.map(str::as_bytes), now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_understood_and_nothing_else() {
        for (text, wait) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Sun, 99 Nov 1994 08:50:37 GMT", None),
        ] {
            assert_eq!(asked(text, None), wait, "{text:?}");
        }
        assert_eq!(asked_wait(b"\xff7", None, SystemTime::UNIX_EPOCH), None);
    }

    #[test]
    fn the_backends_own_clock_counts_where_it_tells_it() {
        let until = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(asked(until, Some("Sun, 06 Nov 1994 08:50:27 GMT")), Some(10));
        assert_eq!(asked(until, Some("Sun, 06 Nov 1994 09:50:27 GMT")), Some(0));
        assert_eq!(asked(until, Some("a strange clock")), Some(60));
    }
}

//! The date in the name of a rotated file, and which of them are too many. Pure. All times are UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Rotate;

/// The time a file covers: two times with equal periods share a file. For [`Rotate::None`] and [`Rotate::Size`] all times do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period(u64);

/// The period of `now`.
pub(super) fn period(rotate: Rotate, now: SystemTime) -> Period {
    match rotate {
        Rotate::None | Rotate::Size => Period(0),
        Rotate::Daily => Period(seconds(now) / 86_400),
        Rotate::Hourly => Period(seconds(now) / 3600),
    }
}

/// What is put behind the name of a file that covered `period` and is rotated at `now`.
pub(super) fn suffix(rotate: Rotate, period: Period, now: SystemTime) -> String {
    match rotate {
        Rotate::Daily => Civil::of(period.0 * 86_400).date(),
        Rotate::Hourly => {
            let civil = Civil::of(period.0 * 3600);
            format!("{}{:02}", civil.date(), civil.hour)
        }
        Rotate::None | Rotate::Size => {
            let civil = Civil::of(seconds(now));
            format!(
                "{}-{:02}{:02}{:02}",
                civil.date(),
                civil.hour,
                civil.minute,
                civil.second
            )
        }
    }
}

/// Those of `names` that are rotated files of `current` and older than the newest `keep` of them. A name of any other form
/// (`kproxy.log.wf`, `kproxy.log.gz`) is nobody's business.
pub(super) fn surplus(current: &str, names: Vec<String>, keep: usize) -> Vec<String> {
    let is_rotated = |name: &String| {
        let suffix = name.strip_prefix(current).and_then(|rest| rest.strip_prefix('.'));
        suffix.is_some_and(|suffix| {
            suffix.len() >= 8
                && suffix.bytes().take(8).all(|byte| byte.is_ascii_digit())
                && suffix.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        })
    };
    let mut rotated: Vec<String> = names.into_iter().filter(is_rotated).collect();
    rotated.sort_unstable_by(|a, b| b.cmp(a));
    rotated.into_iter().skip(keep).collect()
}

fn seconds(now: SystemTime) -> u64 {
    // A clock before 1970 is wrong in any case; the file gets an old date.
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// The proleptic Gregorian calendar, counted in years that begin in March so that the leap day is the last.
    fn of(seconds: u64) -> Self {
        let days = seconds / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    fn date(&self) -> String {
        format!("{:04}{:02}{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (951_868_800, "20000301-000000"),
            (4_107_542_399, "21000228-235959"),
            (4_107_542_400, "21000301-000000"),
            (1_795_267_845, "20261121-133045"),
        ] {
            assert_eq!(suffix(Rotate::Size, Period(0), at(seconds)), date);
        }
    }

    #[test]
    fn a_rotated_file_has_the_date_it_covers_not_the_date_of_the_rotation() {
        let yesterday = period(Rotate::Daily, at(86_399));
        let today = at(86_400);
        assert_ne!(yesterday, period(Rotate::Daily, today));
        assert_eq!(suffix(Rotate::Daily, yesterday, today), "19700101");
        let hour = period(Rotate::Hourly, at(7199));
        assert_eq!(suffix(Rotate::Hourly, hour, at(7200)), "1970010101");
        assert_eq!(period(Rotate::Size, at(0)), period(Rotate::Size, at(1_000_000)));
    }

    #[test]
    fn only_the_oldest_rotated_files_of_this_log_are_surplus() {
        let names = [
            "a.log",
            "a.log.wf",
            "a.log.wf.20260101",
            "a.log.20260101",
            "a.log.20260103",
            "a.log.20260102",
            "a.log.20260102-1",
            "a.log.20260101.gz",
            "a.log.1",
            "b.log.20250101",
        ];
        let names = || names.map(str::to_owned).to_vec();
        assert_eq!(surplus("a.log", names(), 2), ["a.log.20260102", "a.log.20260101"]);
        assert_eq!(surplus("a.log.wf", names(), 1), Vec::<String>::new());
        assert_eq!(surplus("a.log.wf", names(), 0), ["a.log.wf.20260101"]);
    }
}

//! How far one partition is behind: the decision, from numbers that others have read.
//!
//! A lag is only as true as its three numbers, so it is given only when all of them are known. Nothing here is
//! clamped to zero: a commit beyond the log end is no lag of zero, it is a partition that nobody can judge (the topic
//! was created anew, or the commit belongs to another cluster). Pure.

use kcommon::kafka::CommitOffset;

/// What ZooKeeper holds as the committed offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// The next offset to deliver.
    At(CommitOffset),
    /// No znode, while other partitions of the same topic have one: a partition that was added later. ktransfer
    /// starts those at the log start, so all of its records are still to be delivered.
    LogStart,
    /// No partition of the topic has a commit: where the module will start is the module's own setting.
    Never,
    /// The znode is there and holds no offset, or it could not be read.
    Unreadable,
}

/// The readable part of one partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogRange {
    /// Offset of the oldest record still kept.
    pub(crate) start: i64,
    /// Offset that the next record will get.
    pub(crate) end: i64,
}

/// Why a partition has no lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unknown {
    /// The module has committed nothing in this topic yet.
    NoOffset,
    /// The offset znode holds no offset, or could not be read.
    OffsetUnreadable,
    /// No broker told the ends of the log: no leader, broker away, or no such topic or partition.
    LogUnreadable,
    /// The commit is beyond the log end.
    Ahead,
}

impl Unknown {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::NoOffset => "no_offset",
            Self::OffsetUnreadable => "offset_unreadable",
            Self::LogUnreadable => "log_unreadable",
            Self::Ahead => "ahead",
        }
    }

    /// All reasons, for the metrics, which show every reason from the start.
    pub(crate) const ALL: [Self; 4] = [
        Self::NoOffset,
        Self::OffsetUnreadable,
        Self::LogUnreadable,
        Self::Ahead,
    ];
}

/// The lag of one partition, or why there is none.
pub(crate) type Lag = Result<u64, Unknown>;

/// The number of records between the commit and the log end that can still be delivered.
///
/// Records below the log start are gone and therefore not counted. `log` must have been read after `committed`, and its
/// end after its start: then a working module is never seen ahead of its log.
///
/// # Errors
/// Why nobody can tell.
pub(crate) fn lag(committed: Committed, log: Option<LogRange>) -> Lag {
    let committed = match committed {
        Committed::At(offset) => Some(offset.get()),
        Committed::LogStart => None,
        Committed::Never => return Err(Unknown::NoOffset),
        Committed::Unreadable => return Err(Unknown::OffsetUnreadable),
    };
    let log = log.ok_or(Unknown::LogUnreadable)?;
    if log.start < 0 || log.end < log.start {
        return Err(Unknown::LogUnreadable);
    }
    let from = committed.unwrap_or(log.start).max(log.start);
    u64::try_from(log.end - from).map_err(|_negative| Unknown::Ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Committed {
        Committed::At(CommitOffset::try_from(offset).unwrap())
    }

    fn log(start: i64, end: i64) -> Option<LogRange> {
        Some(LogRange { start, end })
    }

    #[test]
    fn lag_is_the_log_end_minus_the_commit() {
        assert_eq!(lag(at(3), log(0, 15)), Ok(12));
        assert_eq!(lag(at(15), log(0, 15)), Ok(0));
        assert_eq!(lag(at(0), log(0, 0)), Ok(0));
        assert_eq!(lag(at(0), log(0, i64::MAX)), Ok(i64::MAX.unsigned_abs()));
    }

    #[test]
    fn records_that_are_gone_are_not_counted() {
        assert_eq!(lag(at(3), log(10, 15)), Ok(5));
        assert_eq!(lag(at(3), log(15, 15)), Ok(0));
    }

    #[test]
    fn a_partition_added_later_is_behind_by_its_whole_log() {
        assert_eq!(lag(Committed::LogStart, log(10, 15)), Ok(5));
    }

    #[test]
    fn unknown_is_never_zero() {
        assert_eq!(lag(at(3), None), Err(Unknown::LogUnreadable));
        assert_eq!(lag(Committed::Never, log(0, 5)), Err(Unknown::NoOffset));
        assert_eq!(
            lag(Committed::Unreadable, log(0, 5)),
            Err(Unknown::OffsetUnreadable)
        );
    }

    #[test]
    fn a_commit_beyond_the_log_end_is_not_a_lag_of_zero() {
        assert_eq!(lag(at(16), log(0, 15)), Err(Unknown::Ahead));
        assert_eq!(lag(at(i64::MAX), log(0, 0)), Err(Unknown::Ahead));
    }

    #[test]
    fn a_log_that_cannot_be_is_not_believed() {
        assert_eq!(lag(at(0), log(-1, 15)), Err(Unknown::LogUnreadable));
        assert_eq!(lag(at(0), log(0, -1)), Err(Unknown::LogUnreadable));
        assert_eq!(lag(at(0), log(9, 3)), Err(Unknown::LogUnreadable));
    }
}

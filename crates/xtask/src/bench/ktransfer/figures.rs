//! What one measurement of a pushing process gives, and how it is taken: from outside, by what the backend counts and by
//! what `/proc` tells.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::bench::yardstick::Running;
use crate::bench::{process, sink};

/// How often the backend is asked how far it is.
const POLL: Duration = Duration::from_millis(50);
/// How long nothing may arrive before a run is stuck.
const STUCK: Duration = Duration::from_secs(20);

/// The figures of one measurement.
#[derive(Clone, Copy)]
pub(super) struct Figures {
    pub(super) per_second: f64,
    /// CPU time of the pushing process per record.
    pub(super) cpu: Duration,
    pub(super) rss_mib: u64,
    /// Mean time between a whole request and its answer at the backend.
    pub(super) served: Duration,
    /// Upper bounds of quantiles that ktransfer itself counts, in seconds.
    pub(super) quantiles: [Option<f64>; 2],
}

/// Until when a measurement lasts: until so many records are pushed, or for so long, whichever is first.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) records: usize,
    pub(super) time: Duration,
}

/// Waits until the sink has taken all records, and tells what the process `pid` used from the first to the last.
pub(super) async fn watch(sink: &Running, pid: u32, extent: Extent) -> Result<Figures> {
    let records = u64::try_from(extent.records)?;
    let mut before = None;
    let mut moved = (Instant::now(), 0);
    let (taken, cpu, start) = loop {
        tokio::time::sleep(POLL).await;
        let (taken, cpu, now) = (sink::taken(sink.port).await?, process::cpu(pid)?, Instant::now());
        if taken.count == moved.1 {
            if now - moved.0 > STUCK {
                bail!("stuck: the backend has {} of {records} records", taken.count);
            }
            continue;
        }
        moved = (now, taken.count);
        let start = *before.get_or_insert((now, taken.count, cpu));
        if taken.count >= records || now - start.0 > extent.time {
            break (taken, cpu, start);
        }
    };
    let (_, count_before, cpu_before) = start;
    let counted = u32::try_from(taken.count - count_before)?.max(1);
    Ok(Figures {
        per_second: f64::from(u32::try_from(taken.count)?) / taken.between.as_secs_f64(),
        cpu: (cpu - cpu_before) / counted,
        rss_mib: process::rss_mib(pid)?,
        served: taken.served / u32::try_from(taken.answered)?.max(1),
        quantiles: [None; 2],
    })
}

/// The bounds of these quantiles of a histogram, from a page of `/metrics`.
pub(super) fn quantiles_of(page: &str, name: &str, quantiles: [f64; 2]) -> [Option<f64>; 2] {
    quantiles_between("", page, name, quantiles)
}

/// The same of what came between two pages.
pub(super) fn quantiles_between(
    before: &str,
    after: &str,
    name: &str,
    quantiles: [f64; 2],
) -> [Option<f64>; 2] {
    let (before, mut counted) = (buckets(before, name), buckets(after, name));
    for ((_, count), (_, earlier)) in counted.iter_mut().zip(before) {
        *count -= earlier;
    }
    quantiles.map(|quantile| {
        let (_, all) = *counted.last()?;
        let (bound, _) = counted.iter().find(|(_, count)| *count >= all * quantile)?;
        Some(*bound)
    })
}

/// The upper bounds of the buckets of a histogram with the counts up to them.
fn buckets(page: &str, name: &str) -> Vec<(f64, f64)> {
    let buckets = page.lines().filter_map(|line| {
        let series = line.strip_prefix(name)?.strip_prefix("_bucket")?;
        let (labels, count) = series.rsplit_once(' ')?;
        // From the right: `module="` ends like it.
        let (_, bound) = labels.rsplit_once("le=\"")?;
        let (bound, _) = bound.split_once('"')?;
        Some((bound.parse::<f64>().ok()?, count.parse::<f64>().ok()?))
    });
    buckets.collect()
}

/// A bound of [`quantiles_between`] in milliseconds, for a table.
pub(super) fn shown(quantile: Option<f64>) -> String {
    quantile.map_or("-".to_owned(), |seconds| format!("{:.1}", seconds * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let page = "x_seconds_bucket{module=\"a\",le=\"0.001\"} 90\nx_seconds_bucket{module=\"a\",le=\"0.005\"} 99\n\
            x_seconds_bucket{module=\"a\",le=\"+Inf\"} 100\nx_seconds_sum{module=\"a\"} 1\n";
        assert_eq!(
            quantiles_of(page, "x_seconds", [0.5, 0.99]),
            [Some(0.001), Some(0.005)]
        );
        assert_eq!(
            quantiles_of(page, "x_seconds", [0.5, 0.995]),
            [Some(0.001), Some(f64::INFINITY)]
        );
        assert_eq!(quantiles_of("", "x_seconds", [0.5, 0.99]), [None, None]);
        let later = "x_seconds_bucket{module=\"a\",le=\"0.001\"} 91\nx_seconds_bucket{module=\"a\",le=\"0.005\"} 199\n\
            x_seconds_bucket{module=\"a\",le=\"+Inf\"} 200\n";
        assert_eq!(
            quantiles_between(page, later, "x_seconds", [0.01, 0.5]),
            [Some(0.001), Some(0.005)]
        );
    }
}

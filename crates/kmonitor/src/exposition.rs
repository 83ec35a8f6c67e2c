//! The numbers of modules and partitions in the text format of Prometheus, made from what the last round has shown: so the series
//! of a module that is gone are gone with it, and what is unknown has no sample.
//!
//! Labels hold only names that exist in ZooKeeper and Kafka. Partitions are shown up to a limit; beyond it modules only. Pure.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::published::Published;
use crate::view::{ClusterView, ModuleView, PartitionView};

/// Partitions that have series of their own, over all clusters.
const MOST_PARTITIONS: usize = 50_000;

/// A metric about each of something.
struct Family<T> {
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
}

const PARTITIONS: &[Family<PartitionView>] = &[
    Family {
        name: "kmonitor_partition_lag_records",
        help: "Records between the commit and the log end; absent while unknown.",
        value: |one| one.lag.map(of_u64),
    },
    Family {
        name: "kmonitor_partition_lag_seconds",
        help: "Age of the oldest record that is not delivered; 0 when none waits, absent while unknown.",
        value: |one| one.lag_seconds,
    },
    Family {
        name: "kmonitor_partition_state",
        help: "0 ok, 2 lagging, 3 no_offset, 4 stalled, 5 stopped, 6 rewound, 7 ahead, 8 lost, 9 unknown.",
        value: |one| Some(f64::from(one.standing.code)),
    },
    Family {
        name: "kmonitor_partition_owned",
        help: "1 if an instance owns the partition, else 0.",
        value: |one| Some(f64::from(u8::from(one.owner.is_some()))),
    },
    Family {
        name: "kmonitor_partition_committed_offset",
        help: "The next offset to deliver.",
        value: |one| one.committed.map(of_i64),
    },
    Family {
        name: "kmonitor_partition_log_end_offset",
        help: "The offset that the next record gets.",
        value: |one| one.log_end.map(of_i64),
    },
    Family {
        name: "kmonitor_partition_log_start_offset",
        help: "The oldest offset that the log still has.",
        value: |one| one.log_start.map(of_i64),
    },
    Family {
        name: "kmonitor_partition_lost_records",
        help: "Records between the commit and the log start: gone before they were delivered.",
        value: |one| one.lost.map(of_u64),
    },
    Family {
        name: "kmonitor_partition_last_commit_timestamp_seconds",
        help: "Unix time of the last write of the commit, by ZooKeeper's clock.",
        value: |one| one.last_commit_ms.map(|ms| of_i64(ms) / 1000.0),
    },
];

const MODULES: &[Family<ModuleView>] = &[
    Family {
        name: "kmonitor_module_lag_records",
        help: "The known lags of the module's partitions, summed; absent when none is known.",
        value: |one| one.sums.lag.map(of_u64),
    },
    Family {
        name: "kmonitor_module_lag_seconds",
        help: "The largest known time lag of the module's partitions.",
        value: |one| one.sums.lag_seconds,
    },
    Family {
        name: "kmonitor_module_state",
        help: "The worst state of the module's partitions, numbered as kmonitor_partition_state.",
        value: |one| Some(f64::from(one.standing.code)),
    },
    Family {
        name: "kmonitor_module_lost_records",
        help: "Records of the module that were gone before they were delivered.",
        value: |one| Some(of_u64(one.sums.lost)),
    },
    Family {
        name: "kmonitor_module_partitions",
        help: "Partitions of the module.",
        value: |one| Some(of_u64(one.sums.partitions)),
    },
    Family {
        name: "kmonitor_module_unknown_partitions",
        help: "Partitions of the module whose lag is unknown.",
        value: |one| Some(of_u64(one.sums.unknown)),
    },
    Family {
        name: "kmonitor_module_owned_partitions",
        help: "Partitions of the module that an instance owns.",
        value: |one| Some(of_u64(one.sums.owned)),
    },
    Family {
        name: "kmonitor_module_instances",
        help: "Live instances of the module.",
        value: |one| Some(of_u64(one.instances.len() as u64)),
    },
    Family {
        name: "kmonitor_module_in_records_per_second",
        help: "Records a second that are written to the module's partitions.",
        value: |one| one.sums.rate_in,
    },
    Family {
        name: "kmonitor_module_out_records_per_second",
        help: "Records a second that the module's commits move by.",
        value: |one| one.sums.rate_out,
    },
];

/// All samples about these clusters.
#[must_use]
pub(crate) fn text<'a>(clusters: impl Iterator<Item = &'a Arc<Published>>) -> String {
    let clusters: Vec<&ClusterView> = clusters.map(|one| &one.view).collect();
    let mut text = String::new();
    for family in MODULES {
        family.head(&mut text);
        for cluster in &clusters {
            for module in cluster.by_module.values() {
                let labels = (cluster.cluster.as_str(), module.module.as_str());
                family.sample(&mut text, module, |text| module_labels(text, labels));
            }
        }
    }
    let count: usize = modules(&clusters)
        .map(|(_, module)| module.partitions.len())
        .sum();
    let omitted = count.saturating_sub(MOST_PARTITIONS);
    write_to(
        &mut text,
        format_args!(
            "# HELP kmonitor_omitted_partitions Partitions without series of their own, because there are too many.\n\
             # TYPE kmonitor_omitted_partitions gauge\nkmonitor_omitted_partitions {omitted}\n"
        ),
    );
    for family in PARTITIONS {
        family.head(&mut text);
        let each = modules(&clusters)
            .flat_map(|(cluster, module)| module.partitions.iter().map(move |one| (cluster, module, one)));
        for (cluster, module, one) in each.take(MOST_PARTITIONS) {
            family.sample(&mut text, one, |text| {
                module_labels(text, (&cluster.cluster, &module.module));
                write_to(
                    text,
                    format_args!(",topic=\"{}\",partition=\"{}\"", one.topic, one.partition),
                );
            });
        }
    }
    text
}

fn modules<'a>(clusters: &'a [&'a ClusterView]) -> impl Iterator<Item = (&'a ClusterView, &'a ModuleView)> {
    clusters
        .iter()
        .flat_map(|cluster| cluster.by_module.values().map(move |module| (*cluster, module)))
}

impl<T> Family<T> {
    fn head(&self, text: &mut String) {
        let Self { name, help, .. } = self;
        write_to(text, format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
    }

    fn sample(&self, text: &mut String, of: &T, labels: impl FnOnce(&mut String)) {
        if let Some(value) = (self.value)(of) {
            text.push_str(self.name);
            text.push('{');
            labels(text);
            write_to(text, format_args!("}} {value}\n"));
        }
    }
}

/// The names of topics need no escape: Kafka allows letters, digits, dots, lines and underscores.
fn module_labels(text: &mut String, (cluster, module): (&str, &str)) {
    text.push_str("cluster=\"");
    push_escaped(text, cluster);
    text.push_str("\",module=\"");
    push_escaped(text, module);
    text.push('"');
}

fn push_escaped(text: &mut String, label: &str) {
    for character in label.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing to a String cannot fail");
}

#[expect(
    clippy::cast_precision_loss,
    reason = "samples are floating point, exact up to 2^53"
)]
const fn of_u64(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "samples are floating point, exact up to 2^53"
)]
const fn of_i64(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::samples;

    fn published(modules: &[&str]) -> Arc<Published> {
        Arc::new(Published::new(samples::cluster_of("c", modules)))
    }

    #[test]
    fn every_sample_follows_its_head_and_what_is_unknown_has_none() {
        let text = text([published(&["m", "odd \"\\\nname"])].iter());
        assert!(text.contains(
            "\nkmonitor_partition_lag_records{cluster=\"c\",module=\"m\",topic=\"t\",partition=\"0\"} 12\n"
        ));
        assert!(!text.contains(
            "kmonitor_partition_lag_records{cluster=\"c\",module=\"m\",topic=\"t\",partition=\"1\"}"
        ));
        assert!(text.contains(
            "kmonitor_partition_state{cluster=\"c\",module=\"m\",topic=\"t\",partition=\"1\"} 9\n"
        ));
        assert!(
            text.contains("kmonitor_module_lag_records{cluster=\"c\",module=\"odd \\\"\\\\\\nname\"} 12\n")
        );
        let (mut families, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut family = "";
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                family = head.strip_suffix(" gauge").unwrap();
                assert!(families.insert(family), "{family} comes twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(series.split('{').next(), Some(family), "{line}");
                assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
                assert!(seen.insert(series), "{series} comes twice");
            }
        }
    }

    #[test]
    fn the_series_of_a_module_that_is_gone_are_gone() {
        assert!(text([published(&["m"])].iter()).contains("module=\"m\""));
        assert!(!text([published(&[])].iter()).contains("module=\"m\""));
    }
}

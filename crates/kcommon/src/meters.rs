//! The metrics recorder of the process. Each daemon keeps its metric names in one module of its own; the admin server renders
//! them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// How often samples are moved into their buckets; without it they pile up until somebody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// Bucket bounds of every histogram whose name ends in `_seconds`: half a millisecond (a local push) to 30 s (the longest
/// time-out by default).
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Bucket bounds of every histogram whose name ends in `_bytes`.
const BYTES: &[f64] = &[
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    10_485_760.0,
];

/// The recorder, to render what it holds. Clones share it.
#[derive(Clone)]
pub struct Meters {
    handle: PrometheusHandle,
}

/// Makes whole families of metrics, in the text format of Prometheus, each time somebody asks.
type Source = dyn Fn() -> String + Send + Sync;

/// Those who show metrics of their own. Of the process, like the recorder.
static SOURCES: Mutex<Vec<Arc<Source>>> = Mutex::new(Vec::new());

/// A panic while it was held leaves a list that is whole.
fn sources() -> MutexGuard<'static, Vec<Arc<Source>>> {
    SOURCES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it exists, its families are part of every rendering.
pub struct Shown(Arc<Source>);

/// Shows the families that `source` makes beside those of the recorder, for what comes and goes: a series in the recorder
/// stays until the end. Their names must be nobody else's.
#[must_use]
pub fn show(source: impl Fn() -> String + Send + Sync + 'static) -> Shown {
    let source: Arc<Source> = Arc::new(source);
    sources().push(Arc::clone(&source));
    Shown(source)
}

impl Drop for Shown {
    fn drop(&mut self) {
        sources().retain(|source| !Arc::ptr_eq(source, &self.0));
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

/// The process already has a recorder, or a bucket list is empty.
#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder cannot be installed: {0}")]
pub struct InstallError(#[from] metrics_exporter_prometheus::BuildError);

impl Meters {
    /// Makes the recorder and installs it for the whole process, once. `help`: names of metrics with what each tells.
    ///
    /// # Errors
    /// The process has a recorder already.
    pub fn install(help: &[(&'static str, &'static str)]) -> Result<Self, InstallError> {
        let recorder = builder()?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(metrics_exporter_prometheus::BuildError::from)?;
        for (name, told) in help {
            // The kind does not matter: the text is kept by the name.
            metrics::describe_gauge!(*name, *told);
        }
        Ok(Self { handle })
    }

    /// Every metric in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        let shown: Vec<Arc<Source>> = sources().clone();
        for source in shown {
            text.push_str(&source());
        }
        text
    }

    /// Keeps the histograms small, until the future is dropped.
    pub async fn upkeep(self) {
        let mut tick = tokio::time::interval(UPKEEP_EVERY);
        loop {
            tick.tick().await;
            self.handle.run_upkeep();
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_shown_as_long_as_it_is_held() {
        let recorder = builder().unwrap().build_recorder();
        let meters = Meters {
            handle: recorder.handle(),
        };
        let shown = show(|| "shown_by_a_test 1\n".to_owned());
        assert!(meters.render().contains("shown_by_a_test 1\n"));
        drop(shown);
        assert!(!meters.render().contains("shown_by_a_test"));
    }

    #[test]
    fn histograms_have_buckets_by_their_unit() {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("x_push_seconds").record(0.003);
            metrics::histogram!("x_body_bytes").record(100.0);
            metrics::counter!("x_total", "module" => "a").increment(2);
        });
        recorder.handle().run_upkeep();
        let text = recorder.handle().render();
        assert!(text.contains("x_push_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("x_body_bytes_bucket{le=\"256\"} 1"), "{text}");
        assert!(text.contains("x_total{module=\"a\"} 2"), "{text}");
    }
}

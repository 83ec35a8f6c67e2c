//! Shows how far the demo is: bars on a terminal, a line per second elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far it is.
pub(super) struct State {
    /// Records that kproxy has stored.
    pub(super) stored: usize,
    /// Pushes that the backends took.
    pub(super) pushed: usize,
    /// Lag by module and partition, as kmonitor tells it.
    pub(super) lag: BTreeMap<String, BTreeMap<String, i64>>,
}

impl State {
    /// Whether kmonitor knows every lag to be 0.
    pub(super) fn is_caught_up(&self) -> bool {
        !self.lag.is_empty() && self.lag.values().flat_map(BTreeMap::values).all(|&lag| lag == 0)
    }

    fn lag_text(&self) -> String {
        let module = |(name, lags): (&String, &BTreeMap<String, i64>)| {
            let lags: Vec<String> = lags
                .iter()
                .map(|(partition, lag)| format!("{partition}:{lag}"))
                .collect();
            format!("{name} {}", lags.join(" "))
        };
        self.lag.iter().map(module).collect::<Vec<_>>().join("; ")
    }
}

/// Where the progress goes.
pub(super) enum Progress {
    Bars {
        all: MultiProgress,
        stored: ProgressBar,
        pushed: ProgressBar,
        lag: ProgressBar,
    },
    Lines {
        last: Option<Instant>,
    },
}

impl Progress {
    pub(super) fn new(records: usize, pushes: usize) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Lines { last: None };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let bar = |name: &'static str, length: usize| {
            let style = ProgressStyle::with_template("{prefix:7} {bar:40} {pos}/{len}");
            let style = style.expect("the template is right");
            let bar = ProgressBar::new(length as u64)
                .with_style(style)
                .with_prefix(name);
            all.add(bar)
        };
        let (stored, pushed) = (bar("stored", records), bar("pushed", pushes));
        let style = ProgressStyle::with_template("lag     {msg}").expect("the template is right");
        let lag = all.add(ProgressBar::new_spinner().with_style(style));
        Self::Bars {
            all,
            stored,
            pushed,
            lag,
        }
    }

    pub(super) fn show(&mut self, state: &State) {
        match self {
            Self::Bars {
                stored, pushed, lag, ..
            } => {
                stored.set_position(state.stored as u64);
                pushed.set_position(state.pushed as u64);
                lag.set_message(state.lag_text());
            }
            Self::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
                    *last = Some(Instant::now());
                    println!(
                        "stored {} pushed {} lag {}",
                        state.stored,
                        state.pushed,
                        state.lag_text()
                    );
                }
            }
        }
    }

    /// Prints a line that stays.
    pub(super) fn say(&self, text: &str) {
        match self {
            // Without a terminal there would be no bars, so printing between them cannot fail for want of one.
            Self::Bars { all, .. } => all.println(text).unwrap_or_default(),
            Self::Lines { .. } => println!("{text}"),
        }
    }

    pub(super) fn end(&self) {
        if let Self::Bars {
            stored, pushed, lag, ..
        } = self
        {
            [stored, pushed, lag].into_iter().for_each(ProgressBar::abandon);
        }
    }
}

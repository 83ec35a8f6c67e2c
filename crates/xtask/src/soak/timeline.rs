//! What happened when: a line each, with a bar of the time below them on a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

pub(super) struct Timeline {
    start: Instant,
    /// None when the lines go to a file.
    bar: Option<ProgressBar>,
}

impl Timeline {
    pub(super) fn new(length: Duration) -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s  {msg}");
            ProgressBar::new(length.as_secs()).with_style(style.expect("the template is right"))
        });
        Self {
            start: Instant::now(),
            bar,
        }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) {
        let seconds = self.start.elapsed().as_secs();
        let line = format!("{:02}:{:02} {text}", seconds / 60, seconds % 60);
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    /// Where it stands: a line too, and the text beside the bar.
    pub(super) fn progress(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.start.elapsed().as_secs());
            bar.set_message(text.to_owned());
        }
        self.say(text);
    }

    pub(super) fn end(&self) {
        self.bar.iter().for_each(ProgressBar::abandon);
    }
}

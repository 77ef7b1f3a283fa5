//! Progress for people: a bar on a terminal once the work has taken two seconds, and nothing anywhere else.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work below this is over before a bar would be read.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes.
    Bytes,
    /// Records.
    Records,
}

/// A bar that appears when it is worth it.
pub(super) struct Progress {
    started: Instant,
    terminal: bool,
    unit: Unit,
    total: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Work of `total` units; `None` where nobody knows.
    pub(super) fn new(unit: Unit, total: Option<u64>) -> Self {
        let terminal = io::stderr().is_terminal();
        Progress { started: Instant::now(), terminal, unit, total, bar: None }
    }

    /// So much is done.
    pub(super) fn at(&mut self, done: u64, note: impl FnOnce() -> String) {
        if !self.terminal || self.started.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| bar(self.unit, self.total));
        bar.set_message(note());
        bar.set_position(done);
    }

    /// The work is over.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(unit: Unit, total: Option<u64>) -> ProgressBar {
    let template = match (unit, total) {
        (Unit::Bytes, Some(_)) => "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}",
        (Unit::Bytes, None) => "{spinner} {bytes} {bytes_per_sec} {msg}",
        (Unit::Records, Some(_)) => "{bar:30} {human_pos}/{human_len} {per_sec} eta {eta} {msg}",
        (Unit::Records, None) => "{spinner} {human_pos} {per_sec} {msg}",
    };
    let style = ProgressStyle::with_template(template).expect("the templates are well formed");
    ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()).with_style(style)
}

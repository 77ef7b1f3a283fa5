//! Progress for people: a bar on a terminal once the work has taken two seconds, and nothing anywhere else.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work below this is over before a bar would be read.
const BAR_AFTER: Duration = Duration::from_secs(2);

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
    /// `None` where nobody would see it. It counts from the start, for the sake of its rate.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Work of `total` units; `None` where nobody knows.
    pub(super) fn new(unit: Unit, total: Option<u64>) -> Self {
        let bar = io::stderr().is_terminal().then(|| bar(unit, total));
        Progress { started: Instant::now(), bar }
    }

    /// So much is done.
    pub(super) fn at(&mut self, done: u64, note: impl FnOnce() -> String) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(done);
        if self.started.elapsed() < BAR_AFTER {
            return;
        }
        if bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_message(note());
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
    ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_well_formed() {
        for unit in [Unit::Bytes, Unit::Records] {
            for total in [None, Some(10)] {
                bar(unit, total).finish_and_clear();
            }
        }
    }
}

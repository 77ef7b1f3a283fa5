//! Holds the engine against the model: feeds a history as its plan says, and compares what can be read.

pub mod compare;
mod feed;
pub mod soak;

use std::panic::{AssertUnwindSafe, catch_unwind};

use recount_dataflow::engine::EngineError;

use crate::history::History;
use crate::model::{Delivered, Model};

pub use feed::{Fed, feed, push_all, settings, start, streams, wall_ms};

/// What a comparison is given.
pub struct Case<'a> {
    /// The history.
    pub history: &'a History,
    /// Its records by epoch.
    pub epochs: &'a [Vec<Delivered>],
    /// What should be.
    pub model: &'a Model,
    /// What is.
    pub fed: &'a mut Fed,
}

/// Feeds a history to an engine and compares. A panic of the engine is a difference too.
///
/// # Errors
/// The first difference, in words.
pub fn hold_engine_against(
    history: &History,
    compare: impl Fn(&mut Case<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let epochs = history.deliver();
    let model = Model::new(history.rules, &epochs);
    let run = || -> Result<(), String> {
        let stopped = |error: EngineError| format!("the engine stopped: {error}");
        let mut fed = feed(history, &epochs).map_err(stopped)?;
        let mut case = Case { history, epochs: &epochs, model: &model, fed: &mut fed };
        let result = compare(&mut case);
        fed.engine.shutdown().map_err(stopped)?;
        result
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Err(format!("panic: {}", words.unwrap_or_default()))
    })
}

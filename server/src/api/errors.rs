//! Errors that a program can act on: every one has a stable reason, one that breaks a rule names the field, and one worth
//! repeating says when. Transports write them in their own ways, and add nothing.

use std::time::Duration;

use recount_dataflow::read::ReadError;
use serde_json::Value;

pub(crate) use super::reasons::{Code, ErrorReason};

/// A failed call, before a transport writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    /// Why.
    pub(crate) reason: ErrorReason,
    /// The same for people, with what to do.
    pub(crate) message: String,
    /// The request's field that breaks a rule.
    pub(crate) field: Option<&'static str>,
    /// Values that a program can use, by name.
    pub(crate) details: Vec<(&'static str, Value)>,
    /// When to repeat the call, where it is known better than by the reason.
    retry_in: Option<Duration>,
}

impl CallError {
    /// An error with a message for people.
    pub(crate) fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        CallError { reason, message: message.into(), field: None, details: Vec::new(), retry_in: None }
    }

    /// Whatever is asked, it is too early.
    pub(crate) fn starting() -> Self {
        let message = "the service starts, and makes its state readable again; repeat the call at another moment";
        CallError::new(ErrorReason::Starting, message)
    }

    /// A field of the request breaks a rule.
    pub(crate) fn field(reason: ErrorReason, field: &'static str, message: impl Into<String>) -> Self {
        CallError { field: Some(field), ..CallError::new(reason, message) }
    }

    /// Adds a value that a program can use.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Says when to repeat the call.
    pub(crate) fn retry_in(self, retry_in: Option<Duration>) -> Self {
        CallError { retry_in, ..self }
    }

    /// The service is going down.
    pub(crate) fn shutting_down() -> Self {
        CallError::new(ErrorReason::ShuttingDown, "the service is shutting down; repeat the call at another moment")
    }

    /// The call's deadline passed.
    pub(crate) fn deadline() -> Self {
        ReadError::DeadlineExceeded.into()
    }

    /// A bug of ours, which the log tells of.
    pub(crate) fn bug() -> Self {
        CallError::new(ErrorReason::Internal, "the call failed because of a bug in Recount")
    }

    /// How long a client should wait before it repeats the call; `None` where repeating can not help.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_in.or(self.reason.retry_after())
    }
}

impl From<ReadError> for CallError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        let out_of_range = |reason, as_of: u64, since: u64, upper: u64| {
            CallError::new(reason, message.clone()).with("as_of", as_of).with("since", since).with("upper", upper)
        };
        match error {
            ReadError::AsOfTooOld { as_of, since, upper } => out_of_range(ErrorReason::AsOfTooOld, as_of, since, upper),
            ReadError::AsOfTooNew { as_of, since, upper } => out_of_range(ErrorReason::AsOfTooNew, as_of, since, upper),
            ReadError::NotKept { .. } => CallError::new(ErrorReason::GranularityNotKept, message),
            ReadError::DeadlineExceeded => CallError::new(ErrorReason::DeadlineExceeded, message),
            ReadError::Stopped => CallError::new(ErrorReason::EngineStopped, message),
        }
    }
}

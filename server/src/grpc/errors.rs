//! Errors that a program can act on: every status carries a `google.rpc.ErrorInfo` with a stable reason, a request that breaks
//! a rule also a `BadRequest` that names the field, and one worth repeating a `RetryInfo`.

use std::collections::HashMap;
use std::time::Duration;

use recount_dataflow::read::ReadError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every reason.
pub(crate) const DOMAIN: &str = "recount.v1";

/// Why a call failed. The names are part of the contract with clients and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorReason {
    AsOfTooOld,
    AsOfTooNew,
    AdsMissing,
    TooManyAds,
    AdIdInvalid,
    GranularityInvalid,
    GranularityNotKept,
    RangeInvalid,
    RangeTooLong,
    MetricUnknown,
    UniqueUsersNeedOneWindow,
    PageSizeInvalid,
    LimitInvalid,
    WindowStartInvalid,
    PageTokenInvalid,
    ResumeTokenInvalid,
    ResumeTooOld,
    LineageChanged,
    IngestTokenInvalid,
    EvidenceExpired,
    SlowSubscriber,
    TooManySubscribers,
    TooManyReads,
    DeadlineExceeded,
    ShuttingDown,
    EngineStopped,
    Internal,
}

impl ErrorReason {
    /// The stable name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ErrorReason::AsOfTooOld => "AS_OF_TOO_OLD",
            ErrorReason::AsOfTooNew => "AS_OF_TOO_NEW",
            ErrorReason::AdsMissing => "ADS_MISSING",
            ErrorReason::TooManyAds => "TOO_MANY_ADS",
            ErrorReason::AdIdInvalid => "AD_ID_INVALID",
            ErrorReason::GranularityInvalid => "GRANULARITY_INVALID",
            ErrorReason::GranularityNotKept => "GRANULARITY_NOT_KEPT",
            ErrorReason::RangeInvalid => "RANGE_INVALID",
            ErrorReason::RangeTooLong => "RANGE_TOO_LONG",
            ErrorReason::MetricUnknown => "METRIC_UNKNOWN",
            ErrorReason::UniqueUsersNeedOneWindow => "UNIQUE_USERS_NEED_ONE_WINDOW",
            ErrorReason::PageSizeInvalid => "PAGE_SIZE_INVALID",
            ErrorReason::LimitInvalid => "LIMIT_INVALID",
            ErrorReason::WindowStartInvalid => "WINDOW_START_INVALID",
            ErrorReason::PageTokenInvalid => "PAGE_TOKEN_INVALID",
            ErrorReason::ResumeTokenInvalid => "RESUME_TOKEN_INVALID",
            ErrorReason::ResumeTooOld => "RESUME_TOO_OLD",
            ErrorReason::LineageChanged => "LINEAGE_CHANGED",
            ErrorReason::IngestTokenInvalid => "INGEST_TOKEN_INVALID",
            ErrorReason::EvidenceExpired => "EVIDENCE_EXPIRED",
            ErrorReason::SlowSubscriber => "SLOW_SUBSCRIBER",
            ErrorReason::TooManySubscribers => "TOO_MANY_SUBSCRIBERS",
            ErrorReason::TooManyReads => "TOO_MANY_READS",
            ErrorReason::DeadlineExceeded => "DEADLINE_EXCEEDED",
            ErrorReason::ShuttingDown => "SHUTTING_DOWN",
            ErrorReason::EngineStopped => "ENGINE_STOPPED",
            ErrorReason::Internal => "INTERNAL",
        }
    }

    fn code(self) -> Code {
        match self {
            ErrorReason::AsOfTooOld | ErrorReason::AsOfTooNew | ErrorReason::ResumeTooOld => Code::OutOfRange,
            ErrorReason::GranularityNotKept | ErrorReason::LineageChanged => Code::FailedPrecondition,
            ErrorReason::EvidenceExpired => Code::NotFound,
            ErrorReason::SlowSubscriber | ErrorReason::TooManySubscribers | ErrorReason::TooManyReads => {
                Code::ResourceExhausted
            }
            ErrorReason::DeadlineExceeded => Code::DeadlineExceeded,
            ErrorReason::ShuttingDown | ErrorReason::EngineStopped => Code::Unavailable,
            ErrorReason::Internal => Code::Internal,
            _ => Code::InvalidArgument,
        }
    }

    /// How long a client should wait before it repeats the call; `None` where repeating can not help.
    fn retry_after(self) -> Option<Duration> {
        match self {
            ErrorReason::TooManyReads | ErrorReason::TooManySubscribers => Some(Duration::from_millis(200)),
            ErrorReason::ShuttingDown | ErrorReason::EngineStopped => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

/// A failed call, before it becomes a status: what a transport other than gRPC would also send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    pub(crate) reason: ErrorReason,
    message: String,
    field: Option<&'static str>,
    metadata: Vec<(&'static str, String)>,
}

impl CallError {
    /// An error with a message for people.
    pub(crate) fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        CallError { reason, message: message.into(), field: None, metadata: Vec::new() }
    }

    /// A field of the request breaks a rule.
    pub(crate) fn field(reason: ErrorReason, field: &'static str, message: impl Into<String>) -> Self {
        CallError { field: Some(field), ..CallError::new(reason, message) }
    }

    /// Adds a value that a program can use.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.metadata.push((name, value.to_string()));
        self
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

    fn details(&self) -> ErrorDetails {
        let metadata: HashMap<_, _> =
            self.metadata.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let mut details = ErrorDetails::with_error_info(self.reason.as_str(), DOMAIN, metadata);
        if let Some(field) = self.field {
            details.add_bad_request_violation(field, &self.message);
        }
        if let Some(delay) = self.reason.retry_after() {
            details.set_retry_info(Some(delay));
        }
        details
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

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let details = error.details();
        Status::with_error_details(error.reason.code(), error.message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_out_of_range_names_the_readable_range() {
        let status = Status::from(CallError::from(ReadError::AsOfTooOld { as_of: 1, since: 5, upper: 9 }));
        assert_eq!(status.code(), Code::OutOfRange);
        let details = status.get_error_details();
        let info = details.error_info().expect("every error has its reason");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("AS_OF_TOO_OLD", DOMAIN));
        assert_eq!((info.metadata["since"].as_str(), info.metadata["upper"].as_str()), ("5", "9"));
    }

    #[test]
    fn a_broken_field_is_named_and_a_full_service_says_when_to_come_back() {
        let status = Status::from(CallError::field(ErrorReason::TooManyAds, "ad_ids", "too many"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().expect("a field is named").field_violations[0].field, "ad_ids");
        let status = Status::from(CallError::new(ErrorReason::TooManyReads, "full"));
        assert!(status.get_error_details().retry_info().is_some());
    }
}

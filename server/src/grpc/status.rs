//! Errors as gRPC writes them: a status with `google.rpc` details: the reason, the field that breaks a rule, when to come back.

use std::collections::HashMap;

use serde_json::Value;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::api::CallError;
use crate::api::errors::Code;

/// The domain of every reason.
const DOMAIN: &str = "recount.v1";

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let details = details(&error);
        Status::with_error_details(code(error.reason.code()), error.message, details)
    }
}

fn details(error: &CallError) -> ErrorDetails {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let metadata: HashMap<String, String> =
        error.details.iter().map(|(name, value)| ((*name).into(), text(value))).collect();
    let mut details = ErrorDetails::with_error_info(error.reason.as_str(), DOMAIN, metadata);
    if let Some(field) = error.field {
        details.add_bad_request_violation(field, &error.message);
    }
    if let Some(delay) = error.retry_after() {
        details.set_retry_info(Some(delay));
    }
    details
}

fn code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::NotFound => tonic::Code::NotFound,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::OutOfRange => tonic::Code::OutOfRange,
        Code::Unimplemented => tonic::Code::Unimplemented,
        Code::Internal => tonic::Code::Internal,
        Code::Unavailable => tonic::Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use recount_dataflow::read::ReadError;

    use super::*;
    use crate::api::errors::ErrorReason;

    #[test]
    fn an_epoch_out_of_range_names_the_readable_range() {
        let status = Status::from(CallError::from(ReadError::AsOfTooOld { as_of: 1, since: 5, upper: 9 }));
        assert_eq!(status.code(), tonic::Code::OutOfRange);
        let details = status.get_error_details();
        let info = details.error_info().expect("every error has its reason");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("AS_OF_TOO_OLD", DOMAIN));
        assert_eq!((info.metadata["since"].as_str(), info.metadata["upper"].as_str()), ("5", "9"));
    }

    #[test]
    fn a_broken_field_is_named_and_a_full_service_says_when_to_come_back() {
        let status = Status::from(CallError::field(ErrorReason::TooManyAds, "ad_ids", "too many"));
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().expect("a field is named").field_violations[0].field, "ad_ids");
        let status = Status::from(CallError::new(ErrorReason::TooManyReads, "full"));
        assert!(status.get_error_details().retry_info().is_some());
    }
}

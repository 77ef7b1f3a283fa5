//! Refusals as HTTP writes them: `{"error":{"code","reason","message","details"}}`, under the status of the gRPC code.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::api::CallError;
use crate::api::errors::{Code, ErrorReason};

/// A failed call on its way out.
pub(super) struct HttpError(CallError);

impl From<CallError> for HttpError {
    fn from(error: CallError) -> Self {
        HttpError(error)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = super::answer::json_response(status(self.0.reason), body(&self.0).to_string());
        if let Some(wait) = self.0.retry_after() {
            // The header has whole seconds alone.
            let seconds = wait.as_millis().div_ceil(1_000) as u64;
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An error as JSON.
pub(super) fn body(error: &CallError) -> Value {
    let mut details: Map<String, Value> =
        error.details.iter().map(|(name, value)| ((*name).to_string(), value.clone())).collect();
    if let Some(field) = error.field {
        details.insert("field".into(), field.into());
    }
    if let Some(wait) = error.retry_after() {
        details.insert("retry_after_ms".into(), (wait.as_millis() as u64).into());
    }
    let (code, reason) = (error.reason.code().as_str(), error.reason.as_str());
    json!({"error": {"code": code, "reason": reason, "message": error.message, "details": details}})
}

fn status(reason: ErrorReason) -> StatusCode {
    match reason {
        ErrorReason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorReason::MediaTypeUnknown => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorReason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorReason::RecordsFromKafka => StatusCode::CONFLICT,
        _ => match reason.code() {
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        },
    }
}

#[cfg(test)]
mod tests {
    use recount_dataflow::read::ReadError;

    use super::*;

    #[test]
    fn an_error_is_the_contracts_object() {
        let error = CallError::from(ReadError::AsOfTooOld { as_of: 1, since: 5, upper: 9 });
        assert_eq!(
            body(&error).to_string(),
            r#"{"error":{"code":"OUT_OF_RANGE","reason":"AS_OF_TOO_OLD","message":"epoch 1 can not be read any more; readable epochs are [5, 9)","details":{"as_of":1,"since":5,"upper":9}}}"#
        );
        assert_eq!(HttpError(error).into_response().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn who_should_come_back_hears_when() {
        let response = HttpError(CallError::new(ErrorReason::TooManyReads, "full")).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }
}

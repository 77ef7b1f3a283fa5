//! Why calls fail: stable names, and the code of each.

use std::time::Duration;

/// The kind of a failure, as in `google.rpc.Code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    ResourceExhausted,
    FailedPrecondition,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
}

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
    Starting,
    ShuttingDown,
    EngineStopped,
    IngestOff,
    RecordsFromKafka,
    TooManyEvents,
    TooManyRefusals,
    IngestBusy,
    DiskFull,
    LogStopped,
    CheckpointsOff,
    CheckpointFailed,
    ParameterUnknown,
    ParameterInvalid,
    BodyInvalid,
    BodyTooLarge,
    MediaTypeUnknown,
    RouteUnknown,
    MethodNotAllowed,
    Internal,
}

impl ErrorReason {
    /// The stable name.
    pub(crate) fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The kind of failure.
    pub(crate) fn code(self) -> Code {
        self.row().1
    }

    fn row(self) -> (&'static str, Code) {
        match self {
            ErrorReason::AsOfTooOld => ("AS_OF_TOO_OLD", Code::OutOfRange),
            ErrorReason::AsOfTooNew => ("AS_OF_TOO_NEW", Code::OutOfRange),
            ErrorReason::AdsMissing => ("ADS_MISSING", Code::InvalidArgument),
            ErrorReason::TooManyAds => ("TOO_MANY_ADS", Code::InvalidArgument),
            ErrorReason::AdIdInvalid => ("AD_ID_INVALID", Code::InvalidArgument),
            ErrorReason::GranularityInvalid => ("GRANULARITY_INVALID", Code::InvalidArgument),
            ErrorReason::GranularityNotKept => ("GRANULARITY_NOT_KEPT", Code::FailedPrecondition),
            ErrorReason::RangeInvalid => ("RANGE_INVALID", Code::InvalidArgument),
            ErrorReason::RangeTooLong => ("RANGE_TOO_LONG", Code::InvalidArgument),
            ErrorReason::MetricUnknown => ("METRIC_UNKNOWN", Code::InvalidArgument),
            ErrorReason::UniqueUsersNeedOneWindow => ("UNIQUE_USERS_NEED_ONE_WINDOW", Code::InvalidArgument),
            ErrorReason::PageSizeInvalid => ("PAGE_SIZE_INVALID", Code::InvalidArgument),
            ErrorReason::LimitInvalid => ("LIMIT_INVALID", Code::InvalidArgument),
            ErrorReason::WindowStartInvalid => ("WINDOW_START_INVALID", Code::InvalidArgument),
            ErrorReason::PageTokenInvalid => ("PAGE_TOKEN_INVALID", Code::InvalidArgument),
            ErrorReason::ResumeTokenInvalid => ("RESUME_TOKEN_INVALID", Code::InvalidArgument),
            ErrorReason::ResumeTooOld => ("RESUME_TOO_OLD", Code::OutOfRange),
            ErrorReason::LineageChanged => ("LINEAGE_CHANGED", Code::FailedPrecondition),
            ErrorReason::IngestTokenInvalid => ("INGEST_TOKEN_INVALID", Code::InvalidArgument),
            ErrorReason::EvidenceExpired => ("EVIDENCE_EXPIRED", Code::NotFound),
            ErrorReason::SlowSubscriber => ("SLOW_SUBSCRIBER", Code::ResourceExhausted),
            ErrorReason::TooManySubscribers => ("TOO_MANY_SUBSCRIBERS", Code::ResourceExhausted),
            ErrorReason::TooManyReads => ("TOO_MANY_READS", Code::ResourceExhausted),
            ErrorReason::DeadlineExceeded => ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
            ErrorReason::Starting => ("STARTING", Code::Unavailable),
            ErrorReason::ShuttingDown => ("SHUTTING_DOWN", Code::Unavailable),
            ErrorReason::EngineStopped => ("ENGINE_STOPPED", Code::Unavailable),
            ErrorReason::IngestOff => ("INGEST_OFF", Code::Unimplemented),
            ErrorReason::RecordsFromKafka => ("RECORDS_FROM_KAFKA", Code::FailedPrecondition),
            ErrorReason::TooManyEvents => ("TOO_MANY_EVENTS", Code::InvalidArgument),
            ErrorReason::TooManyRefusals => ("TOO_MANY_REFUSALS", Code::InvalidArgument),
            ErrorReason::IngestBusy => ("INGEST_BUSY", Code::ResourceExhausted),
            ErrorReason::DiskFull => ("DISK_FULL", Code::Unavailable),
            ErrorReason::LogStopped => ("LOG_STOPPED", Code::Unavailable),
            ErrorReason::CheckpointsOff => ("CHECKPOINTS_OFF", Code::Unimplemented),
            ErrorReason::CheckpointFailed => ("CHECKPOINT_FAILED", Code::Unavailable),
            ErrorReason::ParameterUnknown => ("PARAMETER_UNKNOWN", Code::InvalidArgument),
            ErrorReason::ParameterInvalid => ("PARAMETER_INVALID", Code::InvalidArgument),
            ErrorReason::BodyInvalid => ("BODY_INVALID", Code::InvalidArgument),
            ErrorReason::BodyTooLarge => ("BODY_TOO_LARGE", Code::InvalidArgument),
            ErrorReason::MediaTypeUnknown => ("MEDIA_TYPE_UNKNOWN", Code::InvalidArgument),
            ErrorReason::RouteUnknown => ("ROUTE_UNKNOWN", Code::NotFound),
            ErrorReason::MethodNotAllowed => ("METHOD_NOT_ALLOWED", Code::Unimplemented),
            ErrorReason::Internal => ("INTERNAL", Code::Internal),
        }
    }

    /// How long a client should wait before it repeats the call; `None` where repeating can not help.
    pub(super) fn retry_after(self) -> Option<Duration> {
        match self {
            ErrorReason::TooManyReads | ErrorReason::TooManySubscribers | ErrorReason::IngestBusy => {
                Some(Duration::from_millis(200))
            }
            ErrorReason::Starting
            | ErrorReason::ShuttingDown
            | ErrorReason::EngineStopped
            | ErrorReason::LogStopped
            | ErrorReason::DiskFull => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl Code {
    /// The name in `google.rpc.Code`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
        }
    }
}

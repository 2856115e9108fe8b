//! Errors of the parts, as gRPC statuses.

use std::time::SystemTime;

use prost_types::Timestamp;
use tap_expr::{Condition, ConditionError};
use tap_store::StoreError;
use tonic::{Code, Status};

/// A condition is written by a person or a policy.
const MAX_FILTER: usize = 16 * 1024;

pub(crate) fn from_store(error: &StoreError) -> Status {
    match error {
        StoreError::InvalidToken(reason) | StoreError::InvalidQuery(reason) => {
            Status::invalid_argument(reason.clone())
        }
        other => Status::unavailable(other.to_string()),
    }
}

pub(crate) fn parse_filter(filter: &str) -> Result<Condition, Status> {
    if filter.len() > MAX_FILTER {
        return Err(Status::invalid_argument(format!(
            "filter: {} bytes, at most {MAX_FILTER} are allowed",
            filter.len()
        )));
    }
    Condition::parse(filter)
        .map_err(|error: ConditionError| Status::invalid_argument(format!("filter: {error}")))
}

pub(crate) fn shutting_down() -> Status {
    Status::unavailable("the collector is shutting down")
}

/// For metrics.
pub(crate) fn code<T>(result: &Result<T, Status>) -> Code {
    result.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

/// Of the protocol's timestamps: from the year 1 to 9999.
const TIME_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// From the wire; absent stays absent.
pub(crate) fn parse_time(field: &str, time: Option<Timestamp>) -> Result<Option<SystemTime>, Status> {
    time.map(|time| {
        if !TIME_SECONDS.contains(&time.seconds) {
            return Err(Status::invalid_argument(format!("{field}: out of range")));
        }
        SystemTime::try_from(time).map_err(|_| Status::invalid_argument(format!("{field}: out of range")))
    })
    .transpose()
}

//! Exchanges to columns and back, without loss.
//!
//! A message that is absent is null in the column that every such message fills: `method` for the request,
//! `status` for the response, `*_body_size` for a body, `*_ip` for an endpoint. What the wire contract calls
//! "empty" stays an empty string. A time outside the years 1 to 9999 becomes the nearest inside.

mod decode;
mod encode;
mod row;
#[cfg(test)]
mod tests;
mod typed;

use prost_types::{Duration, Timestamp};

pub(crate) use decode::{conform, exchanges};
pub(crate) use encode::record_batch;
pub(crate) use row::{Rows, columns_of};

/// Columns that a summary leaves out: headers, trailers and the bodies' content, but not the bodies' sizes.
pub(crate) const DETAIL_COLUMNS: [&str; 8] = [
    "request_headers",
    "request_trailers",
    "request_body_text",
    "request_body_binary",
    "response_headers",
    "response_trailers",
    "response_body_text",
    "response_body_binary",
];

const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The first and last second that a protobuf timestamp may hold: 0001-01-01 to 9999-12-31.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Microseconds since 1970, and the nanoseconds they leave out.
pub(crate) fn micros(time: &Timestamp) -> (i64, i32) {
    let seconds = time.seconds.clamp(*SECONDS.start(), *SECONDS.end());
    let nanos = time.nanos.clamp(0, 999_999_999);
    (seconds * MICROS_PER_SECOND + i64::from(nanos / 1000), nanos % 1000)
}

pub(crate) fn timestamp(micros: i64, nanos: i32) -> Timestamp {
    let below_second = micros.rem_euclid(MICROS_PER_SECOND) as i32;
    Timestamp { seconds: micros.div_euclid(MICROS_PER_SECOND), nanos: below_second * 1000 + nanos }
}

/// The order of exchanges: microseconds of `time`, then id.
pub(crate) fn order_key(exchange: &tap_proto::v1::Exchange) -> (i64, &str) {
    (exchange.time.as_ref().map_or(0, |time| micros(time).0), &exchange.id)
}

/// Days since 1970, the partition of the exchanges of that time.
pub(crate) fn day(micros: i64) -> i64 {
    micros.div_euclid(24 * 60 * 60 * MICROS_PER_SECOND)
}

fn nanoseconds(duration: &Duration) -> i64 {
    duration.seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(i64::from(duration.nanos))
}

pub(crate) fn duration(nanoseconds: i64) -> Duration {
    Duration { seconds: nanoseconds / NANOS_PER_SECOND, nanos: (nanoseconds % NANOS_PER_SECOND) as i32 }
}

/// Takes out what a summary leaves out, as reading without [`DETAIL_COLUMNS`] would.
pub(crate) fn strip_details(exchange: &mut tap_proto::v1::Exchange) {
    if let Some(request) = &mut exchange.request {
        request.headers.clear();
        request.trailers.clear();
        if let Some(body) = &mut request.body {
            body.content = None;
        }
    }
    if let Some(response) = &mut exchange.response {
        response.headers.clear();
        response.trailers.clear();
        if let Some(body) = &mut response.body {
            body.content = None;
        }
    }
}

//! Instants and durations, as nanoseconds in an `i128`: no arithmetic within CEL's range overflows it.

use jiff::Timestamp;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Years 1 to 9999, as CEL bounds a timestamp.
const MIN_SECOND: i64 = -62_135_596_800;
const MAX_SECOND: i64 = 253_402_300_799;

/// CEL's bound for a duration: some 10 000 years.
const MAX_DURATION: i128 = 315_576_000_000 * NANOS_PER_SECOND;

/// RFC 3339, e.g. "2026-01-31T12:00:00Z".
pub(crate) fn parse_timestamp(text: &str) -> Option<i128> {
    let timestamp: Timestamp = text.parse().ok()?;
    checked_timestamp(timestamp.as_nanosecond())
}

pub(crate) fn timestamp_from_seconds(seconds: i64) -> Option<i128> {
    checked_timestamp(i128::from(seconds) * NANOS_PER_SECOND)
}

pub(crate) fn checked_timestamp(nanos: i128) -> Option<i128> {
    (i128::from(MIN_SECOND) * NANOS_PER_SECOND..(i128::from(MAX_SECOND) + 1) * NANOS_PER_SECOND)
        .contains(&nanos)
        .then_some(nanos)
}

pub(crate) fn checked_duration(nanos: i128) -> Option<i128> {
    (-MAX_DURATION..=MAX_DURATION).contains(&nanos).then_some(nanos)
}

/// Decimal numbers with units, e.g. "250ms", "1h30m", "-1.5s".
pub(crate) fn parse_duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit_on) = rest.split_at(digits);
        let letters = unit_on.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit_on.len());
        let (unit, after) = unit_on.split_at(letters);
        let unit: i128 = match unit {
            "h" => 3600 * NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "s" => NANOS_PER_SECOND,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1000,
            "ns" => 1,
            _ => return None,
        };
        total = total.checked_add(scaled(number, unit)?)?;
        rest = after;
        if rest.is_empty() {
            return checked_duration(sign * total);
        }
    }
}

/// `number` of `unit`s; digits below a nanosecond are cut off.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.chars() {
        place /= 10;
        nanos = nanos.checked_add(place * i128::from(digit.to_digit(10)?))?;
    }
    Some(nanos)
}

pub(crate) fn from_proto_timestamp(timestamp: &prost_types::Timestamp) -> i128 {
    i128::from(timestamp.seconds) * NANOS_PER_SECOND + i128::from(timestamp.nanos)
}

pub(crate) fn from_proto_duration(duration: &prost_types::Duration) -> i128 {
    i128::from(duration.seconds) * NANOS_PER_SECOND + i128::from(duration.nanos)
}

/// RFC 3339 in UTC.
pub(crate) fn format_timestamp(nanos: i128) -> Option<String> {
    Timestamp::from_nanosecond(nanos).ok().map(|timestamp| timestamp.to_string())
}

/// The instant's parts in UTC.
pub(crate) fn civil(nanos: i128) -> Option<jiff::civil::DateTime> {
    Timestamp::from_nanosecond(nanos)
        .ok()
        .map(|timestamp| timestamp.to_zoned(jiff::tz::TimeZone::UTC).datetime())
}

/// Whole units of `unit_seconds`, towards zero.
pub(crate) fn whole(nanos: i128, unit_seconds: i128) -> i64 {
    i64::try_from(nanos / (unit_seconds * NANOS_PER_SECOND)).unwrap_or(i64::MAX)
}

/// Seconds since 1970, rounded down.
pub(crate) fn seconds(nanos: i128) -> i64 {
    i64::try_from(nanos.div_euclid(NANOS_PER_SECOND)).unwrap_or(i64::MAX)
}

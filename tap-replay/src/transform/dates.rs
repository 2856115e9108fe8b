//! Moves dates by the time between the recording and the send.
//!
//! Understood are RFC 3339 (`2026-01-31T12:00:00.5Z`, with any offset), the date of HTTP headers (`Sat, 31 Jan
//! 2026 12:00:00 GMT`), a calendar date (`2026-01-31`, by whole days), and seconds or milliseconds since 1970
//! that lie within [`NEAR`] of the recording. Each keeps its form.

use std::{
    borrow::Cow,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp, civil, fmt::rfc2822, tz::Offset};
use regex::{Captures, Regex};

use crate::request::Draft;

/// A number further away is no time.
const NEAR: SignedDuration = SignedDuration::from_hours(366 * 24);

static DATES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        (?<rfc3339>\b\d{4}-\d{2}-\d{2}T\d{2}(?::|%3[Aa])\d{2}(?::|%3[Aa])\d{2}(?:\.\d{1,9})?(?:Z|(?:[+-]|%2[Bb])\d{2}(?::|%3[Aa])\d{2}))
        | (?<http>\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),\x20\d{2}\x20[A-Z][a-z]{2}\x20\d{4}\x20\d{2}:\d{2}:\d{2}\x20GMT\b)
        | (?<date>\b\d{4}-\d{2}-\d{2}\b)
        | (?<epoch>\b(?:\d{10}|\d{13})\b)",
    )
    .ok()
});

/// By how much dates move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shift {
    recorded: Timestamp,
    by: SignedDuration,
}

impl Shift {
    pub(super) fn new(recorded: prost_types::Timestamp, now: SystemTime) -> Option<Self> {
        let recorded = Timestamp::new(recorded.seconds, recorded.nanos).ok()?;
        let now = Timestamp::try_from(now).ok()?;
        Some(Self { recorded, by: now.duration_since(recorded) })
    }

    /// `seconds` since 1970 moved, if they are near the recording.
    pub(super) fn seconds(&self, seconds: i64) -> Option<i64> {
        let time = Timestamp::from_second(seconds).ok()?;
        (time.duration_since(self.recorded).abs() <= NEAR).then(|| seconds.checked_add(self.by.as_secs()))?
    }

    fn millis(&self, millis: i64) -> Option<i64> {
        let time = Timestamp::from_millisecond(millis).ok()?;
        let by = i64::try_from(self.by.as_millis()).ok()?;
        (time.duration_since(self.recorded).abs() <= NEAR).then(|| millis.checked_add(by))?
    }

    fn text(&self, text: &str) -> Option<String> {
        let dates = DATES.as_ref()?;
        match dates.replace_all(text, |found: &Captures<'_>| self.one(found)) {
            Cow::Borrowed(_) => None,
            Cow::Owned(moved) => Some(moved),
        }
    }

    fn one(&self, found: &Captures<'_>) -> String {
        let moved = if let Some(text) = found.name("rfc3339") {
            self.rfc3339(text.as_str())
        } else if let Some(text) = found.name("http") {
            self.http(text.as_str())
        } else if let Some(text) = found.name("date") {
            self.date(text.as_str())
        } else {
            self.epoch(&found[0])
        };
        moved.unwrap_or_else(|| found[0].to_owned())
    }

    fn rfc3339(&self, text: &str) -> Option<String> {
        let escaped = text.contains('%');
        let plain = text.replace("%3A", ":").replace("%3a", ":").replace("%2B", "+").replace("%2b", "+");
        let moved = plain.parse::<Timestamp>().ok()?.checked_add(self.by).ok()?;
        let time = plain.find('T')? + 1;
        let zone = plain[time..].find(['Z', '+', '-'])? + time;
        let offset = match &plain[zone..] {
            "Z" => Offset::UTC,
            offset => {
                let (hours, minutes) = offset[1..].split_once(':')?;
                let seconds = hours.parse::<i32>().ok()? * 3_600 + minutes.parse::<i32>().ok()? * 60;
                Offset::from_seconds(if offset.starts_with('-') { -seconds } else { seconds }).ok()?
            }
        };
        let local = offset.to_datetime(moved);
        let mut written = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        if let Some(point) = plain[..zone].find('.') {
            let nanos = format!("{:09}", local.subsec_nanosecond());
            written.push('.');
            written.push_str(&nanos[..zone - point - 1]);
        }
        written.push_str(&plain[zone..]);
        Some(if escaped { written.replace(':', "%3A").replace('+', "%2B") } else { written })
    }

    fn http(&self, text: &str) -> Option<String> {
        let recorded = rfc2822::parse(text).ok()?.timestamp();
        let moved = recorded.checked_add(self.by).ok()?;
        Some(moved.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }

    fn date(&self, text: &str) -> Option<String> {
        let days = self.by.as_secs().div_euclid(24 * 3_600);
        let moved =
            text.parse::<civil::Date>().ok()?.checked_add(SignedDuration::from_hours(days * 24)).ok()?;
        Some(moved.to_string())
    }

    fn epoch(&self, digits: &str) -> Option<String> {
        let number = digits.parse::<i64>().ok()?;
        let moved = if digits.len() == 10 { self.seconds(number) } else { self.millis(number) };
        moved.map(|moved| moved.to_string())
    }
}

/// Moves the dates of query, headers and a body of text. Paths stay: a date there names a thing.
pub(super) fn put_into(draft: &mut Draft<'_>, shift: &Shift) {
    if shift.by.abs() < SignedDuration::try_from(Duration::from_millis(1)).unwrap_or_default() {
        return;
    }
    if let Some(moved) = shift.text(&draft.query) {
        draft.query = Cow::Owned(moved);
    }
    for (_, value) in &mut draft.headers {
        if let Some(moved) = std::str::from_utf8(value).ok().and_then(|value| shift.text(value)) {
            *value = Cow::Owned(moved.into_bytes());
        }
    }
    if let Some(moved) = std::str::from_utf8(&draft.body).ok().and_then(|body| shift.text(body)) {
        draft.body = Cow::Owned(moved.into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From noon on 31 January 2026, a day and an hour on.
    fn moved(text: &str) -> Option<String> {
        let recorded: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let now = recorded + SignedDuration::from_hours(25);
        let recorded = prost_types::Timestamp { seconds: recorded.as_second(), nanos: 0 };
        Shift::new(recorded, now.into()).unwrap().text(text)
    }

    #[test]
    fn every_form_is_kept() {
        for (text, expected) in [
            ("2026-01-31T12:00:00Z", "2026-02-01T13:00:00Z"),
            ("2026-01-31T12:00:00.250Z", "2026-02-01T13:00:00.250Z"),
            ("2026-01-31T23:30:00+01:00", "2026-02-02T00:30:00+01:00"),
            ("2026-01-31T23:30:00-05:30", "2026-02-02T00:30:00-05:30"),
            ("at=2026-01-31T12%3A00%3A00%2B01%3A00&x", "at=2026-02-01T13%3A00%3A00%2B01%3A00&x"),
            ("Sat, 31 Jan 2026 12:00:00 GMT", "Sun, 01 Feb 2026 13:00:00 GMT"),
            (r#"{"day":"2026-01-31"}"#, r#"{"day":"2026-02-01"}"#),
            ("t=1769860800", "t=1769950800"),
            ("[1769860800123]", "[1769950800123]"),
        ] {
            assert_eq!(moved(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_stays() {
        for text in
            ["2026-13-45", "1234567890", "17698608001", "9999999999", "x2026-01-31T12:00:00Zx", "12:00"]
        {
            let moved = moved(text);
            assert!(moved.as_deref().is_none_or(|moved| moved == text), "{text}: {moved:?}");
        }
    }
}

//! Quantities as they are written in settings: `200ms`, `1m30s`; `64KiB`, `1000`; `50%`.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::CutAt;

/// A duration, not negative.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Span(pub(super) Duration);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub(super) u64);

/// A place in a body: a number of bytes, or a share of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place(pub(super) CutAt);

/// What YAML makes of a quantity: a bare number is none of a string.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a quantity, as 200ms, 64KiB or 50%")]
enum Written {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
        duration
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no duration; 200ms, 1m30s are")))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => bytes(&text)
                .map(Self)
                .ok_or_else(|| D::Error::custom(format!("{text:?} is no number of bytes; 1000, 64KiB are"))),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Some(CutAt::Byte(bytes)),
            Written::Text(text) => match text.strip_suffix('%') {
                Some(percent) => {
                    let percent = percent.trim().parse::<f64>().ok();
                    percent
                        .filter(|percent| (0.0..=100.0).contains(percent))
                        .map(|percent| CutAt::Share(percent / 100.0))
                }
                None => bytes(&text).map(CutAt::Byte),
            },
        };
        place.map(Self).ok_or_else(|| D::Error::custom("no place in a body; 100, 64KiB, 50% are"))
    }
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_written() {
        let span = |text| serde_yaml_ng::from_str::<Span>(text).map(|Span(span)| span).ok();
        assert_eq!(span("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(span("1m30s"), Some(Duration::from_secs(90)));
        for wrong in ["-1s", "5", "soon", "''"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
        let bytes = |text| serde_yaml_ng::from_str::<Bytes>(text).map(|Bytes(bytes)| bytes).ok();
        assert_eq!((bytes("100"), bytes("64KiB"), bytes("2 MB")), (Some(100), Some(65_536), Some(2_000_000)));
        for wrong in ["-1", "KiB", "1.5MiB", "1 XB", "99999999999999 GiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        let place = |text| serde_yaml_ng::from_str::<Place>(text).map(|Place(place)| place).ok();
        assert_eq!((place("50%"), place("7")), (Some(CutAt::Share(0.5)), Some(CutAt::Byte(7))));
        for wrong in ["101%", "-1%", "%", "NaN%"] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}

//! The values of settings, from text.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, time::Duration};

use serde::{Deserializer, de};
use tracing_subscriber::EnvFilter;
use url::Url;

pub(super) const MIB: u64 = 1024 * 1024;
pub(super) const GIB: u64 = 1024 * MIB;
/// Object stores charge per request, and a search opens every file of the newest partition.
const COMMIT_INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be ADDRESS:PORT, as 127.0.0.1:7070 or [::]:7070".to_owned())
}

/// The URL of a store, from one or from a path.
pub fn parse_store(text: &str) -> Result<Url, String> {
    tap_store::parse_store_url(text).map_err(|error| error.to_string())
}

/// A store as it may be shown: users and queries of URLs carry credentials, of URLs that are refused, too.
pub(super) fn without_credentials(store: &str) -> String {
    let Ok(mut url) = Url::parse(store) else { return store.to_owned() };
    if !url.username().is_empty() || url.password().is_some() {
        // Fails only for URLs that can't have them.
        let _ = url.set_username("redacted");
        let _ = url.set_password(None);
    }
    url.set_query(url.query().map(|_| "redacted"));
    url.to_string()
}

pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_duration_within(text, COMMIT_INTERVAL_RANGE)
}

pub(super) fn parse_duration_within(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if range.contains(&duration) {
        Ok(duration)
    } else {
        let shown = humantime::format_duration;
        Err(format!("must be from {} to {}", shown(*range.start()), shown(*range.end())))
    }
}

pub(super) fn parse_size_within(text: &str, range: RangeInclusive<u64>) -> Result<usize, String> {
    let size = parse_size(text)?;
    if range.contains(&size) {
        usize::try_from(size).map_err(|error| error.to_string())
    } else {
        Err(format!("must be from {} to {} bytes", range.start(), range.end()))
    }
}

/// Bytes, with an optional KiB, MiB or GiB.
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => MIB,
        "GiB" => GIB,
        "TiB" => 1024 * GIB,
        _ => return Err("must be a number of bytes, or of KiB, MiB, GiB or TiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "must start with a whole number".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "is too large".to_owned())
}

/// A DNS label or subdomain, which names of objects are.
pub(super) fn parse_kubernetes_name(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err("must be a name of Kubernetes: lower-case letters, digits and '-'".to_owned())
    }
}

pub(super) fn parse_log_filter(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// A size is written as `16777216` or as `16MiB`, which YAML takes for a number and a text.
pub(super) fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct TextOrNumber;

    impl de::Visitor<'_> for TextOrNumber {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of bytes, or of KiB, MiB or GiB")
        }

        fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }
    }

    deserializer.deserialize_any(TextOrNumber)
}

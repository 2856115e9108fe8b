//! What the table keeps: `retention`.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use serde::Deserialize;
use tap_store::Retention;

use super::{
    Errors,
    values::{GIB, MIB, parse_duration_within, parse_kubernetes_name, parse_size_within, text_or_number},
};

const DEFAULT_GRACE: &str = "1d";

const AGE_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(10 * 60)..=Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// A file of a busy second is of a commit's size; less than a few would be no table.
const BYTES_RANGE: RangeInclusive<u64> = 64 * MIB..=(1 << 30) * GIB;
/// Each has files of its own.
const MAX_NAMESPACES: usize = 100;

/// The section of the file, and the flags of its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    pub max_age: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub max_bytes: Option<String>,
    pub grace: Option<String>,
    /// Only in the file.
    pub namespaces: BTreeMap<String, NamespaceSettings>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceSettings {
    pub max_age: Option<String>,
}

impl RetentionSettings {
    /// These settings, and where one is not set, that of `file`.
    pub(super) fn over(self, file: Self) -> Self {
        Self {
            max_age: self.max_age.or(file.max_age),
            max_bytes: self.max_bytes.or(file.max_bytes),
            grace: self.grace.or(file.grace),
            namespaces: if self.namespaces.is_empty() { file.namespaces } else { self.namespaces },
        }
    }

    /// `None` and more errors where one can't be used.
    pub(super) fn check(self, errors: &mut Errors) -> Option<Retention> {
        let Self { max_age, max_bytes, grace, namespaces } = self;
        let before = errors.0.len();
        let parse_age = |text: &str| parse_duration_within(text, AGE_RANGE);
        let max_age = max_age.and_then(|age| errors.take("retention.max_age", Some(age), "", parse_age));
        let max_bytes = max_bytes.and_then(|bytes| {
            let parse = |text: &str| parse_size_within(text, BYTES_RANGE);
            errors.take("retention.max_bytes", Some(bytes), "", parse)
        });
        let grace = errors.take("retention.grace", grace, DEFAULT_GRACE, |text| {
            parse_duration_within(text, Retention::MIN_GRACE..=Retention::MAX_GRACE)
        });
        if namespaces.len() > MAX_NAMESPACES {
            let count = namespaces.len().to_string();
            let _ = errors.take("retention.namespaces", Some(count), "", |_| -> Result<(), String> {
                Err(format!("must be {MAX_NAMESPACES} at most"))
            });
        }
        let mut ages = BTreeMap::new();
        for (name, NamespaceSettings { max_age }) in namespaces {
            let name = errors.take("retention.namespaces", Some(name), "", parse_kubernetes_name);
            // An entry that says nothing is a mistake, not a namespace that is kept for ever.
            let age = errors.take("retention.namespaces.max_age", max_age, "", parse_age);
            ages.extend(name.zip(age));
        }
        let grace = grace.filter(|_| errors.0.len() == before)?;
        let max_bytes = max_bytes.map(|bytes| bytes as u64);
        Some(Retention { max_age, max_bytes, namespaces: ages, grace })
    }
}

/// In the form of the settings.
pub(super) fn show(retention: &Retention) -> String {
    let Retention { max_age, max_bytes, namespaces, grace } = retention;
    let age = |age: &Duration| humantime::format_duration(*age).to_string().replace(' ', "");
    let mut shown = format!("retention.grace={}", age(grace));
    if let Some(max_age) = max_age {
        shown += &format!(" retention.max_age={}", age(max_age));
    }
    if let Some(bytes) = max_bytes {
        shown += &format!(" retention.max_bytes={bytes}");
    }
    if !namespaces.is_empty() {
        let ages: Vec<_> = namespaces.iter().map(|(name, max)| format!("{name}:{}", age(max))).collect();
        shown += &format!(" retention.namespaces=[{}]", ages.join(" "));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str) -> Result<Retention, Vec<String>> {
        let settings: RetentionSettings = serde_yaml_ng::from_str(yaml).unwrap();
        let mut errors = Errors::default();
        let retention = settings.check(&mut errors);
        let errors: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
        if errors.is_empty() { Ok(retention.unwrap()) } else { Err(errors) }
    }

    #[test]
    fn without_bounds_everything_is_kept() {
        assert_eq!(check("{}"), Ok(Retention::default()));
    }

    #[test]
    fn every_bound_can_be_set() {
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        let retention = check(
            "{max_age: 7d, max_bytes: 100GiB, grace: 2h, namespaces: {shop: {max_age: 1d}, logs: {max_age: 10m}}}",
        )
        .unwrap();
        let expected = Retention {
            max_age: Some(hours(7 * 24)),
            max_bytes: Some(100 << 30),
            namespaces: [("shop".to_owned(), hours(24)), ("logs".to_owned(), hours(1) / 6)].into(),
            grace: hours(2),
        };
        assert_eq!(retention, expected);
        assert_eq!(
            show(&retention),
            "retention.grace=2h retention.max_age=7days retention.max_bytes=107374182400 \
             retention.namespaces=[logs:10m shop:1day]"
        );
    }

    #[test]
    fn all_errors_are_reported() {
        let errors = check(
            "{max_age: 1s, max_bytes: 1MiB, grace: 2d, namespaces: {shop: {}, NotAName: {max_age: 1d}, a: {max_age: x}}}",
        )
        .unwrap_err();
        let names: Vec<_> = errors.iter().map(|error| error.split(' ').next().unwrap()).collect();
        let of_namespace = "retention.namespaces.max_age";
        assert_eq!(
            names,
            [
                "retention.max_age",
                "retention.max_bytes",
                "retention.grace",
                "retention.namespaces",
                of_namespace,
                of_namespace
            ],
            "{errors:?}"
        );
    }
}

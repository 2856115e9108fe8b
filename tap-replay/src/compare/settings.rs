//! How answers are compared: one YAML document, checked once. docs/comparison.md describes it.

mod headers;

use serde::Deserialize;

use super::{
    array::Order,
    dynamic::{Class, Classes},
    noise::Thresholds,
    pattern::{Pattern, Step},
};
pub(crate) use headers::HeaderRules;

/// Places, names and templates in one list.
const MAX_ENTRIES: usize = 1_000;
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Settings as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    status: Option<bool>,
    headers: Headers,
    bodies: Bodies,
    json: Documents,
    dynamic: Option<Vec<Class>>,
    endpoints: Vec<String>,
    noise: Noise,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Headers {
    only: Option<Vec<String>>,
    ignore: Vec<String>,
    defaults: Option<bool>,
}

/// What of a body is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bodies {
    #[default]
    Structure,
    Bytes,
    None,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Documents {
    ignore: Vec<String>,
    exact: Vec<String>,
    arrays: Option<String>,
    order: Vec<PlaceOrder>,
    tolerance: Option<RawTolerance>,
    tolerances: Vec<PlaceTolerance>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceOrder {
    path: String,
    #[serde(rename = "as")]
    order: Option<String>,
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawTolerance {
    absolute: f64,
    relative: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceTolerance {
    path: String,
    #[serde(default)]
    absolute: f64,
    #[serde(default)]
    relative: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Noise {
    relative: Option<f64>,
    absolute: Option<f64>,
    sigmas: Option<f64>,
}

/// One mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("comparison: {0}")]
    Document(String),
    #[error("comparison: longer than {MAX_DOCUMENT_BYTES} bytes")]
    TooLong,
    #[error("comparison: {setting} {value:?}: {problem}")]
    Value { setting: &'static str, value: String, problem: &'static str },
    #[error("comparison: {setting}: more than {MAX_ENTRIES} entries")]
    TooMany { setting: &'static str },
}

/// Checked settings.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) status: bool,
    pub(crate) headers: HeaderRules,
    pub(crate) bodies: Bodies,
    pub(crate) classes: Classes,
    pub(crate) endpoints: Vec<String>,
    pub(crate) noise: Thresholds,
    ignore: Vec<Pattern>,
    exact: Vec<Pattern>,
    arrays: Order,
    order: Vec<(Pattern, Order)>,
    tolerance: Tolerance,
    tolerances: Vec<(Pattern, Tolerance)>,
}

/// How far numbers may lie from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) absolute: f64,
    /// Of the larger one.
    pub(crate) relative: f64,
}

impl Settings {
    /// Reads the document; an empty one means the defaults.
    pub fn parse(yaml: &str) -> Result<Self, SettingsError> {
        if yaml.len() > MAX_DOCUMENT_BYTES {
            return Err(SettingsError::TooLong);
        }
        if yaml.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml_ng::from_str(yaml).map_err(|error| SettingsError::Document(error.to_string()))
    }

    /// Checks what the document says; all mistakes are reported together.
    pub(crate) fn rules(&self) -> Result<Rules, Vec<SettingsError>> {
        let Self { status, headers, bodies, json, dynamic, endpoints, noise } = self;
        let mut check = Check { errors: Vec::new() };
        let rules = Rules {
            status: status.unwrap_or(true),
            headers: HeaderRules::new(
                check.names("headers.only", headers.only.as_deref()),
                check.names("headers.ignore", Some(&headers.ignore)).unwrap_or_default(),
                headers.defaults.unwrap_or(true),
            ),
            bodies: *bodies,
            classes: dynamic.as_deref().map_or_else(Classes::all, Classes::of),
            endpoints: check.endpoints(endpoints),
            noise: check.noise(noise),
            ignore: check.places("json.ignore", &json.ignore),
            exact: check.places("json.exact", &json.exact),
            arrays: check.order("json.arrays", json.arrays.as_deref()),
            order: check.orders(&json.order),
            tolerance: check.tolerance("json.tolerance", json.tolerance.unwrap_or_default()),
            tolerances: check.tolerances(&json.tolerances),
        };
        if check.errors.is_empty() { Ok(rules) } else { Err(check.errors) }
    }
}

/// Gathers mistakes.
struct Check {
    errors: Vec<SettingsError>,
}

impl Check {
    fn wrong(&mut self, setting: &'static str, value: &str, problem: &'static str) {
        self.errors.push(SettingsError::Value { setting, value: value.to_owned(), problem });
    }

    fn bounded<'a, T>(&mut self, setting: &'static str, list: &'a [T]) -> &'a [T] {
        if list.len() > MAX_ENTRIES {
            self.errors.push(SettingsError::TooMany { setting });
            return &[];
        }
        list
    }

    fn names(&mut self, setting: &'static str, names: Option<&[String]>) -> Option<Vec<String>> {
        let names = self.bounded(setting, names?).to_vec();
        for name in &names {
            let bare = name.strip_suffix('*').unwrap_or(name);
            if http::HeaderName::from_bytes(bare.as_bytes()).is_err() {
                self.wrong(setting, name, "not a header's name, nor the start of one with `*`");
            }
        }
        Some(names)
    }

    fn endpoints(&mut self, endpoints: &[String]) -> Vec<String> {
        let endpoints = self.bounded("endpoints", endpoints).to_vec();
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.starts_with('/')) {
            self.wrong("endpoints", endpoint, "must be a path, as in /users/{name}/orders");
        }
        endpoints
    }

    fn place(&mut self, setting: &'static str, path: &str) -> Option<Pattern> {
        Pattern::parse(path).map_err(|problem| self.wrong(setting, path, problem)).ok()
    }

    fn places(&mut self, setting: &'static str, paths: &[String]) -> Vec<Pattern> {
        self.bounded(setting, paths).iter().filter_map(|path| self.place(setting, path)).collect()
    }

    fn order(&mut self, setting: &'static str, word: Option<&str>) -> Order {
        match word {
            None | Some("auto") => Order::Auto,
            Some("ordered") => Order::Ordered,
            Some("set") => Order::Set,
            Some(other) => {
                self.wrong(setting, other, "must be auto, ordered or set");
                Order::Auto
            }
        }
    }

    fn orders(&mut self, orders: &[PlaceOrder]) -> Vec<(Pattern, Order)> {
        let mut checked = Vec::new();
        for PlaceOrder { path, order, key } in self.bounded("json.order", orders) {
            let order = match (order, key) {
                (None, Some(key)) => Order::Key(key.clone()),
                (Some(order), None) => self.order("json.order", Some(order)),
                _ => {
                    self.wrong("json.order", path, "needs either `as` or `key`");
                    continue;
                }
            };
            checked.extend(self.place("json.order", path).map(|pattern| (pattern, order)));
        }
        checked
    }

    fn tolerance(&mut self, setting: &'static str, raw: RawTolerance) -> Tolerance {
        let RawTolerance { absolute, relative } = raw;
        for value in [absolute, relative] {
            if !(0.0..=f64::MAX).contains(&value) {
                self.wrong(setting, &value.to_string(), "must be a number from 0");
            }
        }
        Tolerance { absolute, relative }
    }

    fn tolerances(&mut self, tolerances: &[PlaceTolerance]) -> Vec<(Pattern, Tolerance)> {
        let mut checked = Vec::new();
        for &PlaceTolerance { ref path, absolute, relative } in self.bounded("json.tolerances", tolerances) {
            let tolerance = self.tolerance("json.tolerances", RawTolerance { absolute, relative });
            checked.extend(self.place("json.tolerances", path).map(|pattern| (pattern, tolerance)));
        }
        checked
    }

    fn noise(&mut self, noise: &Noise) -> Thresholds {
        let Noise { relative, absolute, sigmas } = *noise;
        let defaults = Thresholds::default();
        let mut percent = |setting, value: Option<f64>, default: f64, limit: f64| {
            let value = value.unwrap_or(default);
            if !(0.0..=limit).contains(&value) {
                self.wrong(setting, &value.to_string(), "out of range");
            }
            value
        };
        Thresholds {
            relative: percent("noise.relative", relative, defaults.relative, 100.0),
            absolute: percent("noise.absolute", absolute, defaults.absolute, 100.0),
            sigmas: percent("noise.sigmas", sigmas, defaults.sigmas, 10.0),
        }
    }
}

impl Rules {
    pub(super) fn ignores(&self, steps: &[Step<'_>]) -> bool {
        self.ignore.iter().any(|pattern| pattern.matches(steps))
    }

    pub(super) fn is_exact(&self, steps: &[Step<'_>]) -> bool {
        self.exact.iter().any(|pattern| pattern.matches(steps))
    }

    pub(super) fn order(&self, steps: &[Step<'_>]) -> &Order {
        let named = self.order.iter().find(|(pattern, _)| pattern.matches(steps));
        named.map_or(&self.arrays, |(_, order)| order)
    }

    pub(super) fn tolerance(&self, steps: &[Step<'_>]) -> Tolerance {
        let named = self.tolerances.iter().find(|(pattern, _)| pattern.matches(steps));
        named.map_or(self.tolerance, |(_, tolerance)| *tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_means_the_defaults() {
        for yaml in ["", " \n", "{}", "bodies: structure"] {
            let rules = Settings::parse(yaml).unwrap().rules().unwrap();
            assert!(rules.status && rules.bodies == Bodies::Structure, "{yaml}");
            assert_eq!(rules.classes, Classes::all());
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_valid() {
        let page = include_str!("../../../docs/comparison.md");
        let example =
            page.split("\n    ").skip(1).take_while(|line| !line.contains("\n\n") || line.starts_with(' '));
        let yaml: Vec<_> = example.collect();
        let yaml = yaml.join("\n");
        let yaml = yaml.split("\n\n").next().unwrap();
        assert!(yaml.contains("tolerances:"), "{yaml}");
        Settings::parse(yaml).unwrap().rules().unwrap();
    }

    #[test]
    fn unknown_names_are_refused_with_their_position() {
        let error = Settings::parse("status: true\nheader: {}").unwrap_err().to_string();
        assert!(error.contains("header") && error.contains("line 2"), "{error}");
        let error = Settings::parse("dynamic: [time]").unwrap_err().to_string();
        assert!(error.contains("time"), "{error}");
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let yaml = "
headers: {only: ['a b'], ignore: ['x-*']}
json:
  ignore: [meta]
  arrays: sorted
  order: [{path: $.a}, {path: $.b, as: set}]
  tolerance: {absolute: -1}
endpoints: [users]
noise: {relative: 120}
";
        let errors = Settings::parse(yaml).unwrap().rules().unwrap_err();
        assert_eq!(errors.len(), 7, "{errors:?}");
    }
}

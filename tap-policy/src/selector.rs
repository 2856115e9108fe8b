//! Label selectors, with the API server's own rules.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// More requirements than this are a mistake.
const MAX_REQUIREMENTS: usize = 64;
/// Values of one requirement.
const MAX_VALUES: usize = 256;

/// A checked label selector; all of its requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Checks the selector; an error is what is wrong and below which field.
    pub fn compile(selector: &LabelSelector) -> Result<Self, (String, String)> {
        let LabelSelector { match_labels, match_expressions } = selector;
        let mut requirements = Vec::new();
        for (key, value) in match_labels.iter().flatten() {
            check_key(key).map_err(|problem| ("matchLabels".to_owned(), problem))?;
            check_value(value).map_err(|problem| (format!("matchLabels[{key}]"), problem))?;
            let test = Test::In(BTreeSet::from([value.clone()]));
            requirements.push(Requirement { key: key.clone(), test });
        }
        for (index, expression) in match_expressions.iter().flatten().enumerate() {
            let requirement =
                requirement(expression).map_err(|problem| (format!("matchExpressions[{index}]"), problem))?;
            requirements.push(requirement);
        }
        if requirements.len() > MAX_REQUIREMENTS {
            let problem = format!("{} requirements; {MAX_REQUIREMENTS} are allowed", requirements.len());
            return Err((String::new(), problem));
        }
        Ok(Self(requirements))
    }

    /// Whether every requirement holds. The empty selector matches everything.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels.get(key);
            match test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                // As the API server has it: what has no such label is not in the set.
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }
}

fn requirement(expression: &LabelSelectorRequirement) -> Result<Requirement, String> {
    let LabelSelectorRequirement { key, operator, values } = expression;
    check_key(key)?;
    let values = values.as_deref().unwrap_or_default();
    if values.len() > MAX_VALUES {
        return Err(format!("{} values; {MAX_VALUES} are allowed", values.len()));
    }
    for value in values {
        check_value(value)?;
    }
    let set = || values.iter().cloned().collect::<BTreeSet<_>>();
    let test = match operator.as_str() {
        "In" | "NotIn" if values.is_empty() => return Err(format!("operator {operator} needs values")),
        "In" => Test::In(set()),
        "NotIn" => Test::NotIn(set()),
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            return Err(format!("operator {operator} takes no values"));
        }
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::DoesNotExist,
        _ => return Err(format!("{operator:?} is no operator: In, NotIn, Exists, DoesNotExist")),
    };
    Ok(Requirement { key: key.clone(), test })
}

/// A qualified name: an optional DNS subdomain and a slash before a name.
pub(crate) fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| {
        (1..=253).contains(&prefix.len())
            && prefix.split('.').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            })
    };
    if name.is_empty() || !is_name(name) || prefix.is_some_and(|prefix| !is_prefix(prefix)) {
        return Err(format!("{key:?} is no label's key"));
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_name(value) { Ok(()) } else { Err(format!("{value:?} is no label's value")) }
}

/// Up to 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit.
fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(yaml: &str) -> Result<Selector, (String, String)> {
        Selector::compile(&serde_yaml_ng::from_str(yaml).unwrap())
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_empty_selector_matches_every_pod() {
        assert!(selector("{}").unwrap().matches(&labels(&[])));
        assert!(selector("{}").unwrap().matches(&labels(&[("a", "b")])));
    }

    #[test]
    fn all_requirements_must_hold() {
        let selector = selector(
            "{matchLabels: {app: cart}, matchExpressions: [
                {key: tier, operator: In, values: [web, api]}, {key: canary, operator: DoesNotExist},
                {key: zone, operator: NotIn, values: [a]}, {key: version, operator: Exists}]}",
        )
        .unwrap();
        let good = [("app", "cart"), ("tier", "web"), ("version", "1")];
        assert!(selector.matches(&labels(&good)));
        for wrong in [("app", "x"), ("tier", "db"), ("canary", ""), ("zone", "a")] {
            let mut labels = labels(&good);
            labels.insert(wrong.0.to_owned(), wrong.1.to_owned());
            assert!(!selector.matches(&labels), "{wrong:?}");
        }
        assert!(!selector.matches(&labels(&good[..2])));
    }

    #[test]
    fn what_the_api_would_refuse_is_refused_with_its_place() {
        for (yaml, place) in [
            ("{matchLabels: {'': x}}", "matchLabels"),
            ("{matchLabels: {'a/b/c': x}}", "matchLabels"),
            ("{matchLabels: {'UPPER.example/a': x}}", "matchLabels"),
            ("{matchLabels: {a: 'b c'}}", "matchLabels[a]"),
            ("{matchLabels: {a: '-b'}}", "matchLabels[a]"),
            (
                "{matchExpressions: [{key: a, operator: Exists}, {key: a, operator: in, values: [b]}]}",
                "matchExpressions[1]",
            ),
            ("{matchExpressions: [{key: a, operator: In}]}", "matchExpressions[0]"),
            ("{matchExpressions: [{key: a, operator: Exists, values: [b]}]}", "matchExpressions[0]"),
        ] {
            assert_eq!(selector(yaml).unwrap_err().0, place, "{yaml}");
        }
        assert!(selector("{matchLabels: {app.kubernetes.io/name: '', a: ''}}").is_ok());
    }
}

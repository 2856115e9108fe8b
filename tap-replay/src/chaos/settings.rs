//! The settings of chaos: a YAML document, checked once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use tap_expr::{Condition, ConditionError};

use super::{
    Counters, EndingRule, ErrorAnswer, Kind, ResetAt, Rule, Side,
    latency::LatencySettings,
    link::Link,
    quantity::{Bytes, Place, Span},
};

/// Each is tried for each exchange.
const MAX_RULES: usize = 200;
/// Of an answer that takes the place of another.
const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;
const MAX_STATUSES: usize = 64;
const MAX_HEADERS: usize = 64;
const MAX_CORRUPT_BYTES: u32 = 4_096;

/// What is to go wrong, and when.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The same seed gives the same faults; 0 where there is none.
    pub seed: Option<u64>,
    #[serde(default)]
    pub rules: Vec<RuleSettings>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// In reports; its faults depend on it. `rule-N` where there is none, N its place from 1.
    pub name: Option<String>,
    /// CEL; every exchange without one.
    #[serde(default)]
    pub when: String,
    /// Since the start of the replay or mock.
    pub from: Option<Span>,
    pub until: Option<Span>,
    /// From 0 to 1; 1 where it is not given.
    pub probability: Option<f64>,
    pub latency: Option<LatencySettings>,
    pub error: Option<ErrorSettings>,
    #[serde(default)]
    pub close: bool,
    pub reset: Option<ResetAt>,
    /// Bytes per second, for each body.
    pub slow_body: Option<Bytes>,
    /// Bytes per second, for all bodies of the rule together.
    pub bandwidth: Option<Bytes>,
    pub truncate: Option<Place>,
    /// How many bytes of the body are changed.
    pub corrupt: Option<u32>,
    pub content_type: Option<String>,
}

/// An answer in the place of another.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorSettings {
    pub status: Option<u16>,
    /// Statuses with their weights, instead of one status.
    #[serde(default)]
    pub statuses: BTreeMap<u16, f64>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: String,
}

/// One setting that can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The document is not YAML, or has a field that there is not.
    #[error("{0}")]
    Document(String),
    #[error("rules: {0} are more than {MAX_RULES}")]
    TooManyRules(usize),
    #[error("rules[{rule}].when: {error}")]
    Condition { rule: usize, error: ConditionError },
    #[error("rules[{rule}].{field}: {problem}")]
    Field { rule: usize, field: &'static str, problem: String },
}

impl Settings {
    /// Reads a YAML document; whether its values can be used is checked by [`super::Chaos::new`].
    pub fn parse(yaml: &str) -> Result<Self, SettingsError> {
        serde_yaml_ng::from_str(yaml).map_err(|error| SettingsError::Document(error.to_string()))
    }

    pub(super) fn rules(&self, side: Side) -> Result<Vec<Rule>, Vec<SettingsError>> {
        let mut errors = Vec::new();
        if self.rules.len() > MAX_RULES {
            errors.push(SettingsError::TooManyRules(self.rules.len()));
        }
        let mut rules: Vec<Rule> = Vec::new();
        for (index, settings) in self.rules.iter().take(MAX_RULES).enumerate() {
            let mut check = Check { rule: index, errors: &mut errors };
            let rule = settings.rule(&mut check, side);
            if rules.iter().any(|earlier| earlier.name == rule.name) {
                check.wrong("name", "another rule has it");
            }
            rules.push(rule);
        }
        if errors.is_empty() { Ok(rules) } else { Err(errors) }
    }
}

/// The errors of one rule.
struct Check<'e> {
    rule: usize,
    errors: &'e mut Vec<SettingsError>,
}

impl Check<'_> {
    fn wrong(&mut self, field: &'static str, problem: impl Into<String>) {
        let error = SettingsError::Field { rule: self.rule, field, problem: problem.into() };
        self.errors.push(error);
    }
}

impl RuleSettings {
    /// The rule as far as it can be used; what can't be is told to `check`.
    fn rule(&self, check: &mut Check<'_>, side: Side) -> Rule {
        let Self {
            name,
            when,
            from,
            until,
            probability,
            latency,
            error,
            close,
            reset,
            slow_body,
            bandwidth,
            truncate,
            corrupt,
            content_type,
        } = self;
        let condition = Condition::parse(when).unwrap_or_else(|error| {
            check.errors.push(SettingsError::Condition { rule: check.rule, error });
            Condition::parse("").expect("the empty condition is one")
        });
        let from = from.map_or(Duration::ZERO, |Span(from)| from);
        let until = until.map_or(Duration::MAX, |Span(until)| until);
        if from >= until {
            check.wrong("until", "must be after `from`");
        }
        let probability = probability.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            check.wrong("probability", "must be between 0 and 1");
        }
        let latency = latency.as_ref().and_then(|latency| {
            latency.check().map_err(|problem| check.wrong(Kind::Latency.as_str(), problem)).ok()
        });
        if usize::from(error.is_some()) + usize::from(*close) + usize::from(reset.is_some()) > 1 {
            check.wrong("error", "`error`, `close` and `reset` exclude each other");
        }
        if side == Side::Client && error.is_some() {
            check.wrong("error", "a replay gives no answers; a mock does");
        }
        let ending = match (error, close, reset) {
            (Some(error), ..) => Some(EndingRule::Error(error.answers(check))),
            (None, true, _) => Some(EndingRule::Close),
            (None, false, Some(at)) => Some(EndingRule::Reset(*at)),
            (None, false, None) => None,
        };
        let mut rate = |rate: &Option<Bytes>, kind: Kind| {
            if *rate == Some(Bytes(0)) {
                check.wrong(kind.as_str(), "must be more than 0 bytes a second");
            }
            rate.map(|Bytes(rate)| rate).filter(|rate| *rate > 0)
        };
        let slow_body = rate(slow_body, Kind::SlowBody);
        let bandwidth = rate(bandwidth, Kind::Bandwidth);
        if corrupt.is_some_and(|bytes| bytes == 0 || bytes > MAX_CORRUPT_BYTES) {
            check.wrong(Kind::Corrupt.as_str(), format!("must be between 1 and {MAX_CORRUPT_BYTES} bytes"));
        }
        let content_type = content_type.as_ref().and_then(|value| {
            let value = HeaderValue::try_from(value.as_str());
            value.map_err(|_| check.wrong(Kind::ContentType.as_str(), "no value of a header")).ok()
        });
        let rule = Rule {
            name: name.clone().unwrap_or_else(|| format!("rule-{}", check.rule + 1)),
            condition,
            from,
            until,
            probability,
            latency,
            ending,
            rate: slow_body,
            link: bandwidth.map(|rate| Arc::new(Link::new(rate))),
            cut: truncate.map(|Place(place)| place),
            corrupt: *corrupt,
            content_type,
            counters: Arc::new(Counters::default()),
        };
        if rule.does_nothing() {
            check.wrong("name", "the rule has no fault");
        }
        rule
    }
}

impl Rule {
    fn does_nothing(&self) -> bool {
        let Self { latency, ending, rate, link, cut, corrupt, content_type, .. } = self;
        latency.is_none()
            && ending.is_none()
            && rate.is_none()
            && link.is_none()
            && cut.is_none()
            && corrupt.is_none()
            && content_type.is_none()
    }
}

impl ErrorSettings {
    fn answers(&self, check: &mut Check<'_>) -> Vec<(f64, Arc<ErrorAnswer>)> {
        let Self { status, statuses, headers, body } = self;
        let mut wrong = |problem: String| check.wrong("error", problem);
        let weights: Vec<(u16, f64)> = match (status, statuses.is_empty()) {
            (Some(status), true) => vec![(*status, 1.0)],
            (None, false) => statuses.iter().map(|(status, weight)| (*status, *weight)).collect(),
            _ => {
                wrong("either `status` or `statuses` must be given".to_owned());
                vec![(500, 1.0)]
            }
        };
        if weights.len() > MAX_STATUSES || headers.len() > MAX_HEADERS || body.len() > MAX_ERROR_BODY_BYTES {
            wrong(format!(
                "at most {MAX_STATUSES} statuses, {MAX_HEADERS} headers and a body of {MAX_ERROR_BODY_BYTES} bytes"
            ));
        }
        let mut answer_headers = HeaderMap::new();
        for (name, value) in headers {
            match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
                (Ok(name), Ok(value)) if !is_framing(&name) => {
                    answer_headers.insert(name, value);
                }
                _ => wrong(format!("{name:?}: no header that can be set")),
            }
        }
        let mut answers = Vec::new();
        for (status, weight) in weights {
            if !weight.is_finite() || weight <= 0.0 {
                wrong(format!("the weight of {status} must be above 0"));
            }
            match StatusCode::from_u16(status) {
                Ok(status) if !status.is_informational() => {
                    let (headers, body) = (answer_headers.clone(), body.clone().into());
                    answers.push((weight, Arc::new(ErrorAnswer { status, headers, body })));
                }
                _ => wrong(format!("{status} is no final status")),
            }
        }
        answers
    }
}

/// Set by who frames the message.
fn is_framing(name: &HeaderName) -> bool {
    [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING, http::header::CONNECTION].contains(name)
}

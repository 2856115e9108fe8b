//! The document of a transformation.

use std::collections::BTreeMap;

use serde::Deserialize;
use tap_expr::Condition;

use super::{
    Transform, Variable,
    jwt::Signer,
    place::Place,
    rule::{PathRewrite, Rule},
};
use crate::{plan::Files, request::is_token};

/// Far more than anybody writes by hand.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_RULES: usize = 1_000;

/// How requests are changed, as it is written in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Keep a jar of the target's cookies for each session.
    pub cookies: bool,
    /// Put the target's values where a later request sends a value that an earlier recorded answer had.
    pub correlate: bool,
    /// Move dates by the time between the recording and the send.
    pub shift_time: bool,
    pub variables: Vec<RawVariable>,
    pub rules: Vec<RawRule>,
}

/// A value of answers: exactly one of the places.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawVariable {
    pub name: String,
    /// Of which exchanges: a condition; empty for all.
    pub when: String,
    /// `$.user.token` or `/user/token`.
    pub json: Option<String>,
    pub header: Option<String>,
    pub cookie: Option<String>,
    /// Of the body: the first group, or all that matches.
    pub regex: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRule {
    /// For which exchanges: a condition; empty for all.
    pub when: String,
    pub host: Option<String>,
    pub path: Option<RawPath>,
    pub headers: RawEdit,
    pub query: RawEdit,
    pub json: RawJson,
    pub jwt: Option<RawJwt>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPath {
    #[serde(rename = "match")]
    pub pattern: String,
    /// With `$1` or `${name}` for the groups.
    pub replace: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEdit {
    pub set: BTreeMap<String, String>,
    pub remove: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawJson {
    /// By place: `$.user.name` or `/user/name`.
    pub set: BTreeMap<String, serde_json::Value>,
    /// RFC 6902.
    pub patch: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawJwt {
    /// Where the token stands, after `Bearer` or alone; `Authorization` where it is not said.
    pub header: Option<String>,
    /// HS256, HS384, HS512, RS256, RS384, RS512 or ES256.
    pub algorithm: String,
    /// The key: PKCS #8 in PEM, or the secret itself for HS…
    pub key: Option<String>,
    /// A file with the key, where the replay runs.
    pub key_file: Option<std::path::PathBuf>,
    /// Claims beside or instead of the recorded ones.
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// One setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transform: {path}{problem}")]
pub struct SettingsError {
    path: String,
    problem: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cookies: true, correlate: false, shift_time: false, variables: Vec::new(), rules: Vec::new() }
    }
}

impl Settings {
    /// Reads the YAML; the empty document is the default.
    pub fn parse(document: &str) -> Result<Self, SettingsError> {
        let error = |problem: String| SettingsError { path: String::new(), problem };
        if document.len() > MAX_BYTES {
            return Err(error(format!("longer than {MAX_BYTES} bytes")));
        }
        if document.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml_ng::from_str(document).map_err(|cause| error(cause.to_string()))
    }

    /// Checks everything; all errors are reported together. Rules whose keys are elsewhere come without them.
    pub(crate) fn compile(self, files: Files) -> Result<Transform, Vec<SettingsError>> {
        let Self { cookies, correlate, shift_time, variables, rules } = self;
        let mut errors = Errors::default();
        if variables.len() > MAX_RULES || rules.len() > MAX_RULES {
            errors.add("", format!("more than {MAX_RULES} rules"));
            return Err(errors.0);
        }
        let variables: Vec<_> = variables
            .into_iter()
            .enumerate()
            .filter_map(|(index, raw)| variable(raw, &format!("variables[{index}]"), &mut errors))
            .collect();
        let rules: Vec<_> = rules
            .into_iter()
            .enumerate()
            .filter_map(|(index, raw)| rule(raw, &format!("rules[{index}]"), files, &mut errors))
            .collect();
        if errors.0.is_empty() {
            Ok(Transform { cookies, correlate, shift_time, variables, rules })
        } else {
            Err(errors.0)
        }
    }
}

#[derive(Default)]
struct Errors(Vec<SettingsError>);

impl Errors {
    fn add(&mut self, path: &str, problem: impl Into<String>) {
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        self.0.push(SettingsError { path, problem: problem.into() });
    }

    fn condition(&mut self, path: &str, source: &str) -> Option<Condition> {
        Condition::parse(source).map_err(|error| self.add(&format!("{path}.when"), error.to_string())).ok()
    }

    fn place(&mut self, path: &str, text: &str) -> Option<Vec<String>> {
        let parsed = super::place::path(text);
        if parsed.is_none() {
            self.add(path, format!("{text:?}: must be like $.user.names[0] or /user/names/0"));
        }
        parsed
    }
}

fn variable(raw: RawVariable, path: &str, errors: &mut Errors) -> Option<Variable> {
    let RawVariable { name, when, json, header, cookie, regex } = raw;
    let named = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if !named {
        errors.add(&format!("{path}.name"), format!("{name:?}: must be letters, digits, '_' and '-'"));
    }
    let when = errors.condition(path, &when);
    let place = match (json, header, cookie, regex) {
        (Some(json), None, None, None) => errors.place(&format!("{path}.json"), &json).map(Place::Json),
        (None, Some(header), None, None) => Some(Place::Header(header)),
        (None, None, Some(cookie), None) => Some(Place::Cookie(cookie)),
        (None, None, None, Some(pattern)) => regex::Regex::new(&pattern)
            .map_err(|error| errors.add(&format!("{path}.regex"), error.to_string()))
            .ok()
            .map(Place::Regex),
        _ => {
            errors.add(path, "needs exactly one of json, header, cookie, regex");
            None
        }
    };
    Some(Variable { name, when: when?, place: place? })
}

fn rule(raw: RawRule, path: &str, files: Files, errors: &mut Errors) -> Option<Rule> {
    let RawRule { when, host, path: rewrite, headers, query, json, jwt } = raw;
    let when = errors.condition(path, &when);
    let rewrite = rewrite.and_then(|RawPath { pattern, replace }| {
        regex::Regex::new(&pattern)
            .map_err(|error| errors.add(&format!("{path}.path.match"), error.to_string()))
            .ok()
            .map(|pattern| PathRewrite { pattern, replace })
    });
    for name in headers.set.keys().chain(&headers.remove) {
        if !is_token(name) {
            errors.add(&format!("{path}.headers"), format!("{name:?}: not a header's name"));
        } else if name.eq_ignore_ascii_case(crate::MARKER) {
            errors.add(&format!("{path}.headers"), "the marker of a replay can't be changed");
        }
    }
    let RawJson { set, patch } = json;
    let set = set
        .into_iter()
        .filter_map(|(place, value)| Some((errors.place(&format!("{path}.json.set"), &place)?, value)))
        .collect();
    let patch = patch.and_then(|patch| {
        serde_json::from_value(patch)
            .map_err(|error| errors.add(&format!("{path}.json.patch"), error.to_string()))
            .ok()
    });
    let jwt = jwt.and_then(|jwt| signer(jwt, &format!("{path}.jwt"), files, errors));
    Some(Rule { when: when?, host, path: rewrite, headers, query, json_set: set, json_patch: patch, jwt })
}

fn signer(raw: RawJwt, path: &str, files: Files, errors: &mut Errors) -> Option<Signer> {
    let RawJwt { header, algorithm, key, key_file, claims } = raw;
    let key = match (key, key_file) {
        (Some(key), None) => match files {
            Files::Refused | Files::Read => key.into_bytes(),
            Files::Elsewhere(directory) => {
                let problem =
                    format!("settings that are passed on are no place for it: key_file, below {directory}");
                errors.add(&format!("{path}.key"), problem);
                return None;
            }
        },
        (None, Some(file)) => match files {
            Files::Read => std::fs::read(&file)
                .map_err(|error| {
                    errors.add(&format!("{path}.key_file"), format!("{}: {error}", file.display()))
                })
                .ok()?,
            Files::Refused => {
                errors.add(&format!("{path}.key_file"), "no files are read where the collector replays");
                return None;
            }
            Files::Elsewhere(directory) => {
                if !file.starts_with(directory) {
                    let problem = format!("{}: not below {directory}", file.display());
                    errors.add(&format!("{path}.key_file"), problem);
                }
                return None;
            }
        },
        _ => {
            errors.add(path, "needs exactly one of key, key_file");
            return None;
        }
    };
    let header = header.unwrap_or_else(|| "Authorization".to_owned());
    Signer::new(&algorithm, &key, header, claims).map_err(|problem| errors.add(path, problem)).ok()
}

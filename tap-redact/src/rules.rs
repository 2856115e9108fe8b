//! What redaction replaces: rules as they are written, and their check.

use serde::Deserialize;

use crate::names;

/// Most names of each kind beside the standard ones.
const MAX_NAMES: usize = 1000;

/// What is redacted beside the standard profile, which is always on. The default adds nothing and is safe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Header fields whose value is replaced.
    pub headers: Vec<String>,
    /// Query parameters whose value is replaced, in targets and in the URLs of headers.
    pub query: Vec<String>,
    /// Fields of JSON, form and multipart bodies whose value is replaced, at any depth.
    pub fields: Vec<String>,
    /// What becomes of bodies of opaque types: images, protobuf, unknown ones.
    pub opaque_bodies: OpaqueBodies,
}

/// What becomes of a body that is of no type which redaction reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpaqueBodies {
    #[default]
    Drop,
    /// Passes it as it is, whatever it holds.
    Keep,
}

/// Everything that is wrong with [`Rules`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct RulesError(pub Vec<RuleError>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("{setting}[{index}]: {name:?} is not a header's name")]
    HeaderName { setting: &'static str, index: usize, name: String },
    #[error("{setting}[{index}]: {name:?} has no letter or digit to compare")]
    FieldName { setting: &'static str, index: usize, name: String },
    #[error("{setting}: {count} names are more than {MAX_NAMES}")]
    TooMany { setting: &'static str, count: usize },
}

impl Rules {
    /// Checks everything; reports everything that is wrong.
    pub(crate) fn check(&self) -> Result<(), RulesError> {
        let Self { headers, query, fields, opaque_bodies: _ } = self;
        let mut errors = Vec::new();
        for (setting, names) in [("headers", headers), ("query", query), ("fields", fields)] {
            if names.len() > MAX_NAMES {
                errors.push(RuleError::TooMany { setting, count: names.len() });
            }
            for (index, name) in names.iter().enumerate() {
                let name = name.clone();
                if setting == "headers" && !is_header_name(&name) {
                    errors.push(RuleError::HeaderName { setting, index, name });
                } else if !names::is_comparable(&name) {
                    errors.push(RuleError::FieldName { setting, index, name });
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(RulesError(errors)) }
    }
}

/// A token of RFC 9110.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

//! What redaction does, as it is written: in the agent's file, in a TapPolicy, in a file of rules.
//!
//! The shape alone is here; [`crate::Redactor::new`] checks the content and reports everything that is wrong. The
//! default is the profile `standard` without additions, and is safe. docs/redaction.md explains every field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod error;

pub use error::{SettingsError, SettingsErrors};

/// How to redact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `standard`, `strict`, or the name of one of `profiles`. Default: `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Profiles of one's own. Each extends another.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, ProfileSettings>,
    /// In the order in which they are tried, before those of the profile. The first that fits a value decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSettings>,
    /// Header fields whose value is replaced, beside those of the profile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Query parameters whose value is replaced, beside those of the profile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    /// Fields of bodies whose value is replaced at any depth, beside those of the profile: members of JSON objects,
    /// fields of forms and multipart bodies, XML elements and attributes, columns of CSV.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// What `strict` treats as `standard` does.
    #[serde(skip_serializing_if = "AllowSettings::is_empty")]
    pub allow: AllowSettings,
    /// Bodies that can't be read as a whole.
    #[serde(skip_serializing_if = "BodySettings::is_empty")]
    pub bodies: BodySettings,
    /// The former name of `bodies.opaque`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub opaque_bodies: Option<OpaqueBodies>,
}

/// A profile of one's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ProfileSettings {
    /// `standard`, `strict`, or the name of another profile. Default: `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// Tried before those of what it extends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSettings>,
    /// As in the settings, beside those of what it extends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    #[serde(skip_serializing_if = "AllowSettings::is_empty")]
    pub allow: AllowSettings,
    /// Where one is left out, what it extends decides.
    #[serde(skip_serializing_if = "BodySettings::is_empty")]
    pub bodies: BodySettings,
}

/// One rule: where, on which exchanges, and what is done there. It names at least one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RuleSettings {
    /// How the record of an exchange calls it. Default: `rule-` and its number, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A condition (CEL) on the exchange as it was captured. Default: every exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Only in this message. Default: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// A header or trailer field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A cookie, of `Cookie` and `Set-Cookie`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// A query parameter, in the target and in the URLs of headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Segments of the target's path: those in braces of a template such as `/users/{id}/orders/**`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A field of a body, at any depth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// A place of a JSON body: `$.users[*].name`, `$..nick`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// The body as a whole: `true`. For the actions `drop` and `keep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<bool>,
    /// Only what matches this regular expression: in the place that the rule names, or in every value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Only what this detector finds: in the place that the rule names, or in every value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<String>,
    /// What is done there. Default: `token`.
    pub action: Action,
}

/// A message of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Message {
    Request,
    Response,
}

/// What is done to a value. In the order of strictness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Passes as it is.
    Keep,
    /// Replaced by a keyed token of the same format.
    #[default]
    Token,
    /// Replaced by a keyed hash, without a format.
    Hash,
    /// Replaced by `***`; a number by 0.
    Mask,
    /// Taken out: a field, parameter or cookie with its name; a JSON value becomes null.
    Drop,
}

/// What `strict` treats as `standard` does: values there are searched, not replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AllowSettings {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// What becomes of bodies that can't be read as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BodySettings {
    /// Bodies of types that redaction can't read: images, protobuf, unknown ones. Default: `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opaque: Option<OpaqueBodies>,
    /// Bodies of which the end was not captured. Default: `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<UnsureBodies>,
    /// Files in multipart bodies. Default: `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<UnsureBodies>,
}

/// What becomes of a body that is of no type which redaction reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OpaqueBodies {
    /// Passes it as it is, whatever it holds.
    Keep,
    #[default]
    Drop,
}

/// What becomes of a body that can be read, but where more may hide than elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum UnsureBodies {
    /// Redacts what is there, up to the last value that is whole.
    Redact,
    #[default]
    Drop,
}

impl Action {
    /// The word in settings and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Token => "token",
            Self::Hash => "hash",
            Self::Mask => "mask",
            Self::Drop => "drop",
        }
    }
}

impl AllowSettings {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl BodySettings {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

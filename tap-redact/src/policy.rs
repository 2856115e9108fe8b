//! A policy: settings, checked and compiled, as an answer to one question: what becomes of the value that stands
//! here?
//!
//! The first that applies decides: the settings' rules in their order, then the profile's and those of what it
//! extends; names, given and built in; the profile `strict`, which replaces what is not allowed. What nothing
//! decides is searched for parts, by the rules for parts and by the detectors.

mod header_names;
mod json_path;
mod resolve;
mod rule;
mod template;

use std::collections::HashSet;

use crate::{
    detect::Detector,
    names::Names,
    settings::{Action, Message, OpaqueBodies, Settings, SettingsErrors, UnsureBodies},
    trail::Trail,
};

pub(crate) use header_names::{URLS, is_embedding};
pub(crate) use json_path::{JsonPlace, JsonStep};
pub use resolve::check;
pub(crate) use rule::{Active, Parts, Rule, matches};
pub(crate) use template::path_parts;

/// What kind of place a value stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A segment of a path.
    Path,
    /// A parameter of a query.
    Query,
    /// A header or trailer field.
    Header,
    Cookie,
    /// A named field of a body.
    Field,
    /// Text without a name.
    Text,
}

/// Where a value stands.
#[derive(Clone, Copy)]
pub(crate) struct Site<'s> {
    pub(crate) kind: Kind,
    /// Of the field, parameter, header, … that holds it, without encoding; empty for none.
    pub(crate) name: &'s [u8],
    pub(crate) trail: Trail<'s>,
    /// Where in a JSON body.
    pub(crate) json: Option<&'s JsonPlace<'s>>,
    /// A path that a template names.
    pub(crate) segment: Option<Segment<'s>>,
}

/// A segment of a target's path.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'s> {
    pub(crate) path: &'s [u8],
    pub(crate) index: usize,
}

/// What is done to a value as a whole. In the order of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict<'p> {
    /// Passes unseen.
    Keep,
    /// Searched for parts that must not pass.
    Search,
    /// Replaced.
    Replace(Action, RuleName<'p>),
    /// Reduced to its type and length.
    Shape,
}

/// As records call a rule: "field" and "password".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleName<'p> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'p str,
}

/// What `strict` lets through to be searched.
#[derive(Debug)]
struct Allowed {
    headers: HashSet<String>,
    query: HashSet<Box<[u8]>>,
    fields: HashSet<Box<[u8]>>,
}

/// What is checked and compiled of settings.
#[derive(Debug)]
pub(crate) struct Policy {
    whole: Vec<Rule>,
    parts: Vec<Rule>,
    /// Off for an audit, which asks what detectors find where names did not.
    by_name: bool,
    /// In lower case.
    headers: HashSet<String>,
    query: Names,
    fields: Names,
    /// Of the profile `strict`.
    allowed: Option<Allowed>,
    pub(crate) opaque: OpaqueBodies,
    pub(crate) truncated: UnsureBodies,
    pub(crate) files: UnsureBodies,
}

impl Policy {
    /// Checks settings and compiles them; all that is wrong is in the error. Conditional rules take numbers from
    /// `next_condition` on.
    pub(crate) fn new(settings: &Settings, next_condition: &mut usize) -> Result<Self, SettingsErrors> {
        resolve::policy(settings, next_condition)
    }

    /// One that knows no names and keeps what it can't read: only detectors find something.
    pub(crate) fn of_detectors() -> Self {
        Self {
            whole: Vec::new(),
            parts: Vec::new(),
            by_name: false,
            headers: HashSet::new(),
            query: Names::standard_and(std::iter::empty()),
            fields: Names::standard_and(std::iter::empty()),
            allowed: None,
            opaque: OpaqueBodies::Keep,
            truncated: UnsureBodies::Redact,
            files: UnsureBodies::Redact,
        }
    }

    pub(crate) fn goes_by_names(&self) -> bool {
        self.by_name
    }

    /// Whether a verdict depends on more than kind and name.
    pub(crate) fn looks_at_places(&self) -> bool {
        self.whole.iter().any(Rule::looks_at_place)
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.allowed.is_some()
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.whole.iter().chain(&self.parts)
    }

    pub(crate) fn part_rules(&self) -> &[Rule] {
        &self.parts
    }

    /// What becomes of a value.
    pub(crate) fn verdict(&self, site: &Site<'_>, message: Message, active: &Active) -> Verdict<'_> {
        let rule = self.whole.iter().find(|rule| active.is_on(rule) && rule.fits(site, message));
        if let Some(rule) = rule {
            return rule.verdict();
        }
        // The server's own name: without it an exchange can't be found or replayed.
        if site.kind == Kind::Header && site.name.eq_ignore_ascii_case(b"host") {
            return Verdict::Keep;
        }
        let name = if self.by_name { self.name_rule(site) } else { None };
        match (name, &self.allowed) {
            (Some(name), _) => Verdict::Replace(Action::Token, name),
            (None, Some(allowed)) if !allowed.contains(site) => match site.kind {
                Kind::Field | Kind::Text => Verdict::Shape,
                Kind::Path | Kind::Query | Kind::Header | Kind::Cookie => {
                    Verdict::Replace(Action::Token, RuleName { kind: "profile", name: "strict" })
                }
            },
            (None, _) => Verdict::Search,
        }
    }

    /// What becomes of a body as a whole, if a rule says so.
    pub(crate) fn body_verdict(&self, message: Message, active: &Active) -> Option<Verdict<'_>> {
        let rule = self.whole.iter().find(|rule| active.is_on(rule) && rule.is_about_body(message));
        rule.map(Rule::verdict)
    }

    fn name_rule(&self, site: &Site<'_>) -> Option<RuleName<'_>> {
        let name = site.name;
        match site.kind {
            Kind::Query => self.query.find(name).map(|name| RuleName { kind: "field", name }),
            Kind::Field => self.fields.find(name).map(|name| RuleName { kind: "field", name }),
            Kind::Cookie => Some(RuleName { kind: "header", name: "cookie" }),
            Kind::Header => self.header_rule(name),
            Kind::Path | Kind::Text => None,
        }
    }

    fn header_rule(&self, name: &[u8]) -> Option<RuleName<'_>> {
        let lower = name.to_ascii_lowercase();
        let known = std::str::from_utf8(&lower).unwrap_or_default();
        if let Some(name) = self.headers.get(known) {
            return Some(RuleName { kind: "header", name });
        }
        // `…-credentials: true` is no credential.
        if known.starts_with("access-control-") || header_names::is_protocol(known) {
            return None;
        }
        self.fields.find(&lower).map(|name| RuleName { kind: "header", name })
    }
}

impl Allowed {
    fn contains(&self, site: &Site<'_>) -> bool {
        match site.kind {
            Kind::Header => {
                let lower = site.name.to_ascii_lowercase();
                let known = std::str::from_utf8(&lower).unwrap_or_default();
                header_names::is_protocol(known) || self.headers.contains(known)
            }
            Kind::Query => self.query.contains(rule::comparable(site.name).as_slice()),
            Kind::Field => {
                !self.fields.is_empty() && self.fields.contains(rule::comparable(site.name).as_slice())
            }
            Kind::Path => site.segment.is_some_and(|segment| is_plain_word(segment.name())),
            Kind::Cookie | Kind::Text => false,
        }
    }
}

impl<'s> Segment<'s> {
    fn name(&self) -> &'s [u8] {
        path_parts(self.path).nth(self.index).unwrap_or_default()
    }
}

/// Longest segment of a path that `strict` takes for a word of the API's own.
const MAX_WORD_BYTES: usize = 32;

/// A word of an API's path: `cart`, `order-items`, `v2`, `index.html`. Anything with more digits is an id.
fn is_plain_word(segment: &[u8]) -> bool {
    let digits = segment.iter().filter(|byte| byte.is_ascii_digit()).count();
    segment.len() <= MAX_WORD_BYTES
        && (digits == 0 || (segment.len() <= 3 && segment.starts_with(b"v")))
        && segment.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// What a finding of a detector is called in records.
pub(crate) fn detector_name(detector: Detector) -> RuleName<'static> {
    RuleName { kind: "detector", name: detector.name() }
}

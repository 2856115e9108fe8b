//! One rule: its place, the part of the value that it is about, and what it does.

use std::{cell::Cell, ops::Range, sync::Arc};

use regex::{Regex, RegexBuilder};
use tap_expr::{Condition, View};

use super::{Kind, RuleName, Site, Verdict, json_path::JsonPath, template::Template};
use crate::{
    detect::Detector,
    settings::{Action, Message, RuleSettings},
};

/// Largest compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// Longest source of a pattern, a path or a name, in bytes.
const MAX_SOURCE_BYTES: usize = 1024;

/// A checked rule.
#[derive(Debug)]
pub(crate) struct Rule {
    name: Arc<str>,
    /// The number of its condition among those of all policies.
    condition: Option<(usize, Condition)>,
    message: Option<Message>,
    place: Option<Place>,
    part: Option<Part>,
    action: Action,
}

#[derive(Debug)]
enum Place {
    /// In lower case.
    Header(String),
    Cookie(String),
    /// As [`comparable`].
    Query(Vec<u8>),
    Field(Vec<u8>),
    Path(Template),
    Json(JsonPath),
    Body,
}

#[derive(Debug)]
enum Part {
    Pattern(Regex),
    Detector(Detector),
}

/// Which conditions an exchange meets.
#[derive(Debug, Default)]
pub(crate) struct Active(Vec<bool>);

/// What part of a value a rule is about.
pub(crate) enum Parts<'p> {
    Pattern(&'p Regex),
    Detector(Detector),
}

impl Active {
    /// Evaluates the conditions of these rules.
    pub(crate) fn of<'p>(rules: impl Iterator<Item = &'p Rule>, exchange: &dyn View) -> Self {
        let mut met = Vec::new();
        for (number, condition) in rules.filter_map(|rule| rule.condition.as_ref()) {
            if met.len() <= *number {
                met.resize(number + 1, false);
            }
            met[*number] = condition.matches(exchange);
        }
        Self(met)
    }

    pub(crate) fn is_on(&self, rule: &Rule) -> bool {
        rule.condition.as_ref().is_none_or(|(number, _)| self.0.get(*number) == Some(&true))
    }
}

impl Rule {
    /// Checks a rule; `wrong` is told what is wrong with it, by field. `None` where something is.
    pub(super) fn new(
        settings: &RuleSettings,
        default_name: String,
        next_condition: &mut usize,
        mut wrong: impl FnMut(&str, String),
    ) -> Option<Self> {
        let RuleSettings {
            name,
            when,
            message,
            header,
            cookie,
            query,
            path,
            field,
            json,
            body,
            pattern,
            detector,
            action,
        } = settings;
        let is_right = Cell::new(true);
        let mut wrong = |field: &str, problem: String| {
            is_right.set(false);
            wrong(field, problem);
        };
        let name = name.clone().unwrap_or(default_name);
        if !is_rule_name(&name) {
            wrong("name", "must be 1 to 64 letters, digits, `_`, `-` and `.`".to_owned());
        }
        let condition = when
            .as_deref()
            .filter(|when| !when.trim().is_empty())
            .and_then(|when| Condition::parse(when).map_err(|error| wrong("when", error.to_string())).ok());
        let condition = condition.map(|condition| {
            *next_condition += 1;
            (*next_condition - 1, condition)
        });

        let mut places = Vec::new();
        for (setting, text) in [
            ("header", header),
            ("cookie", cookie),
            ("query", query),
            ("path", path),
            ("field", field),
            ("json", json),
        ] {
            let Some(text) = text else { continue };
            if text.len() > MAX_SOURCE_BYTES {
                wrong(setting, format!("is longer than {MAX_SOURCE_BYTES} bytes"));
                continue;
            }
            match place(setting, text) {
                Ok(place) => places.push(place),
                Err(problem) => wrong(setting, problem),
            }
        }
        if *body == Some(true) {
            places.push(Place::Body);
        }
        let part = match (pattern, detector) {
            (Some(_), Some(_)) => {
                wrong("pattern", "and `detector` exclude each other".to_owned());
                None
            }
            (Some(pattern), None) => compile(pattern).map_err(|problem| wrong("pattern", problem)).ok(),
            (None, Some(name)) => {
                let detector = Detector::from_name(name);
                if detector.is_none() {
                    wrong("detector", format!("there is no detector {name:?}; docs/detectors.md lists them"));
                }
                detector.map(Part::Detector)
            }
            (None, None) => None,
        };
        let about_body = places.iter().any(|place| matches!(place, Place::Body));
        if about_body && !matches!(action, Action::Drop | Action::Keep) {
            wrong("action", "of a whole body must be drop or keep".to_owned());
        }
        if about_body && (pattern.is_some() || detector.is_some()) {
            wrong(
                "body",
                "stands alone: without a place, `pattern` and `detector` search everything".to_owned(),
            );
        }
        if places.len() > 1 {
            wrong("place", "name one of header, cookie, query, path, field, json and body".to_owned());
        }
        if is_right.get() && places.is_empty() && part.is_none() {
            wrong(
                "place",
                "name one of header, cookie, query, path, field, json, body, pattern and detector".to_owned(),
            );
        }
        is_right.get().then(|| Self {
            name: name.into(),
            condition,
            message: *message,
            place: places.pop(),
            part,
            action: *action,
        })
    }

    pub(crate) fn name(&self) -> RuleName<'_> {
        RuleName { kind: "rule", name: &self.name }
    }

    pub(crate) fn has_condition(&self) -> bool {
        self.condition.is_some()
    }

    pub(crate) fn action(&self) -> Action {
        self.action
    }

    pub(super) fn verdict(&self) -> Verdict<'_> {
        match self.action {
            Action::Keep => Verdict::Keep,
            action => Verdict::Replace(action, self.name()),
        }
    }

    pub(super) fn is_about_part(&self) -> bool {
        self.part.is_some()
    }

    /// Whether it depends on more of the place than its kind and name.
    pub(super) fn looks_at_place(&self) -> bool {
        matches!(self.place, Some(Place::Json(_)))
    }

    /// The part of a value in this place that it is about.
    pub(crate) fn part(&self, site: &Site<'_>, message: Message) -> Option<Parts<'_>> {
        if !self.fits(site, message) {
            return None;
        }
        self.part.as_ref().map(|part| match part {
            Part::Pattern(pattern) => Parts::Pattern(pattern),
            Part::Detector(detector) => Parts::Detector(*detector),
        })
    }

    pub(super) fn is_about_body(&self, message: Message) -> bool {
        matches!(self.place, Some(Place::Body)) && self.message.is_none_or(|only| only == message)
    }

    /// Whether a value stands where the rule applies.
    pub(super) fn fits(&self, site: &Site<'_>, message: Message) -> bool {
        if self.message.is_some_and(|only| only != message) {
            return false;
        }
        match (&self.place, site.kind) {
            (None, _) => true,
            (Some(Place::Header(name)), Kind::Header) => site.name.eq_ignore_ascii_case(name.as_bytes()),
            (Some(Place::Cookie(name)), Kind::Cookie) => site.name == name.as_bytes(),
            (Some(Place::Query(name)), Kind::Query) | (Some(Place::Field(name)), Kind::Field) => {
                is_same_name(name, site.name)
            }
            (Some(Place::Path(template)), Kind::Path) => {
                site.segment.is_some_and(|segment| template.marks(segment.path, segment.index))
            }
            (Some(Place::Json(path)), Kind::Field | Kind::Text) => {
                site.json.is_some_and(|place| path.leads_to(place))
            }
            _ => false,
        }
    }
}

fn place(setting: &str, text: &str) -> Result<Place, String> {
    let without_comparable = || format!("{text:?} has no letter or digit to compare");
    let comparable = |text: &str| {
        let name = comparable(text.as_bytes());
        if name.is_empty() { Err(without_comparable()) } else { Ok(name) }
    };
    match setting {
        "header" if is_header_name(text) => Ok(Place::Header(text.to_ascii_lowercase())),
        "header" => Err(format!("{text:?} is not a header's name")),
        "cookie" if is_header_name(text) => Ok(Place::Cookie(text.to_owned())),
        "cookie" => Err(format!("{text:?} is not a cookie's name")),
        "query" => comparable(text).map(Place::Query),
        "field" => comparable(text).map(Place::Field),
        "path" => Template::parse(text).map(Place::Path),
        _ => JsonPath::parse(text).map(Place::Json),
    }
}

fn compile(pattern: &str) -> Result<Part, String> {
    if pattern.len() > MAX_SOURCE_BYTES {
        return Err(format!("is longer than {MAX_SOURCE_BYTES} bytes"));
    }
    let regex = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build();
    let regex = regex.map_err(|error| position(pattern, &error.to_string()))?;
    if regex.is_match("") {
        return Err("matches the empty text, so it would match everywhere".to_owned());
    }
    Ok(Part::Pattern(regex))
}

/// The error of a pattern on one line. Its text draws the pattern with a caret below the place.
fn position(pattern: &str, error: &str) -> String {
    let column = error.lines().find_map(|line| {
        let caret = line.find('^')?;
        line.trim_matches([' ', '^']).is_empty().then_some(caret)
    });
    let indent = error.lines().find_map(|line| line.find(pattern)).unwrap_or(0);
    let problem = error.lines().last().unwrap_or(error).trim_start_matches("error: ");
    match column {
        Some(column) => format!("column {}: {problem}", column.saturating_sub(indent) + 1),
        None => problem.to_owned(),
    }
}

fn is_rule_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// A token of RFC 9110.
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// What counts of a name: letters and digits, in lower case, and bytes beyond ASCII.
pub(super) fn comparable(name: &[u8]) -> Vec<u8> {
    comparable_bytes(name).collect()
}

fn comparable_bytes(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii()).map(u8::to_ascii_lowercase)
}

/// Whether a name, or the last part of one such as `user[email]`, is the comparable one.
fn is_same_name(comparable: &[u8], name: &[u8]) -> bool {
    let last = name.split(|byte| b".[]/:$".contains(byte)).rfind(|part| !part.is_empty()).unwrap_or_default();
    comparable_bytes(name).eq(comparable.iter().copied())
        || comparable_bytes(last).eq(comparable.iter().copied())
}

/// Where a pattern matches, without empty matches.
pub(crate) fn matches<'t>(pattern: &'t Regex, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
    pattern.find_iter(text).map(|found| found.range()).filter(|range| !range.is_empty())
}

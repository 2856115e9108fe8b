//! The order in which an exchange is gone through.

use std::borrow::Cow;

use tap_flow::{Exchange, Request, Response};

use crate::{
    Key, Redacted, Settings, SettingsError, SettingsErrors,
    body::{BodyScope, DropReason},
    headers::{HeaderRules, HeaderScope},
    names::{self, Names},
    pairs::Scope,
    record::Record,
    settings::{AllowSettings, BodySettings, OpaqueBodies},
};

/// Applies a set of rules with one key.
#[derive(Debug)]
pub struct Redactor {
    key: Key,
    headers: HeaderRules,
    query: Names,
    fields: Names,
    opaque_bodies: OpaqueBodies,
}

impl Redactor {
    /// Checks the settings; all that is wrong with them is in the error.
    pub fn new(settings: &Settings, key: Key) -> Result<Self, SettingsErrors> {
        check(settings)?;
        let Settings { headers, query, fields, bodies, opaque_bodies, .. } = settings;
        Ok(Self {
            key,
            headers: HeaderRules::standard_and(headers),
            query: Names::standard_and(query.iter().map(String::as_str)),
            fields: Names::standard_and(fields.iter().map(String::as_str)),
            opaque_bodies: bodies.opaque.or(*opaque_bodies).unwrap_or_default(),
        })
    }

    /// Redacts one exchange.
    pub fn redact(&self, exchange: Exchange) -> Redacted<Exchange> {
        let Exchange { flow, cgroup, flow_serial, index, role, mut request, mut response, wire_bytes } =
            exchange;
        let mut record = Record::default();
        let request_dropped = request.as_mut().and_then(|request| self.request(request, &mut record));
        let response_dropped = response.as_mut().and_then(|response| self.response(response, &mut record));
        Redacted {
            value: Exchange { flow, cgroup, flow_serial, index, role, request, response, wire_bytes },
            redactions: record.into_entries(),
            request_dropped,
            response_dropped,
        }
    }

    fn request(&self, request: &mut Request, record: &mut Record) -> Option<DropReason> {
        let Request { method, target, version: _, headers, body, trailers, completeness, span: _ } = request;
        let mut scope = Scope { key: &self.key, names: &self.query, record, place: "request.target" };
        let redacted =
            if method.as_ref() == b"CONNECT" { scope.credentials(target) } else { scope.url(target) };
        if let Cow::Owned(redacted) = redacted {
            *target = redacted.into();
        }
        // The body's type is read before anything can be replaced in it.
        let dropped = self.body(record, "request.body").redact(body, headers, completeness);
        self.headers.redact(headers, &mut self.header_scope(record, "request.headers"));
        self.headers.redact(trailers, &mut self.header_scope(record, "request.trailers"));
        dropped
    }

    fn response(&self, response: &mut Response, record: &mut Record) -> Option<DropReason> {
        let Response {
            status: _,
            reason: _,
            version: _,
            headers,
            body,
            trailers,
            completeness,
            span: _,
            interim: _,
        } = response;
        let dropped = self.body(record, "response.body").redact(body, headers, completeness);
        self.headers.redact(headers, &mut self.header_scope(record, "response.headers"));
        self.headers.redact(trailers, &mut self.header_scope(record, "response.trailers"));
        dropped
    }

    fn body<'r>(&'r self, record: &'r mut Record, place: &'static str) -> BodyScope<'r> {
        BodyScope { key: &self.key, fields: &self.fields, opaque_bodies: self.opaque_bodies, record, place }
    }

    fn header_scope<'r>(&'r self, record: &'r mut Record, place: &'static str) -> HeaderScope<'r> {
        HeaderScope { key: &self.key, fields: &self.fields, query: &self.query, record, place }
    }
}

/// Most names of each kind beside the standard ones.
const MAX_NAMES: usize = 1000;

/// Checks settings without a key; reports everything that is wrong.
pub fn check(settings: &Settings) -> Result<(), SettingsErrors> {
    let Settings { profile, profiles, rules, headers, query, fields, allow, bodies, opaque_bodies: _ } =
        settings;
    let mut errors = Vec::new();
    let mut wrong = |setting: String, problem: String| errors.push(SettingsError { setting, problem });
    for (setting, names) in [("headers", headers), ("query", query), ("fields", fields)] {
        if names.len() > MAX_NAMES {
            wrong(setting.to_owned(), format!("{} names are more than {MAX_NAMES}", names.len()));
        }
        for (index, name) in names.iter().enumerate() {
            if setting == "headers" && !is_header_name(name) {
                wrong(format!("{setting}[{index}]"), format!("{name:?} is not a header's name"));
            } else if !names::is_comparable(name) {
                wrong(format!("{setting}[{index}]"), format!("{name:?} has no letter or digit to compare"));
            }
        }
    }
    let BodySettings { opaque: _, truncated, files } = bodies;
    for (setting, is_set) in [
        ("profile", profile.as_deref().is_some_and(|profile| profile != "standard")),
        ("profiles", !profiles.is_empty()),
        ("rules", !rules.is_empty()),
        ("allow", *allow != AllowSettings::default()),
        ("bodies.truncated", truncated.is_some()),
        ("bodies.files", files.is_some()),
    ] {
        if is_set {
            wrong(setting.to_owned(), "is not supported yet".to_owned());
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(SettingsErrors(errors)) }
}

/// A token of RFC 9110.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

//! The order in which an exchange is gone through.

use std::borrow::Cow;

use tap_flow::{Exchange, Request, Response};

use crate::{
    Captured, Keyring, Redacted, Settings, SettingsErrors, Subject,
    body::{self, DropReason},
    detect::{Detector, DetectorSet, Detectors},
    headers as fields,
    policy::{Active, Kind, Policy, Rule, Site},
    record::Record,
    session::{Change, Session},
    settings::{Action, Message},
    trail::Trail,
    url::{self, Hosts},
    value::NESTING,
};

/// Applies settings with the keys of one owner.
#[derive(Debug)]
pub struct Redactor {
    policies: Vec<Policy>,
    keys: Keyring,
    detectors: Detectors,
}

impl Redactor {
    /// Checks the settings; all that is wrong with them is in the error.
    pub fn new(settings: &Settings, keys: impl Into<Keyring>) -> Result<Self, SettingsErrors> {
        Self::strictest(&[settings], keys)
    }

    /// Of several settings, the strictest for each value: what one of them replaces is replaced. Of none, the
    /// default.
    pub fn strictest(settings: &[&Settings], keys: impl Into<Keyring>) -> Result<Self, SettingsErrors> {
        let default = Settings::default();
        let settings = if settings.is_empty() { &[&default][..] } else { settings };
        let mut next_condition = 0;
        let (mut policies, mut errors) = (Vec::new(), Vec::new());
        for settings in settings {
            match Policy::new(settings, &mut next_condition) {
                Ok(policy) => policies.push(policy),
                Err(SettingsErrors(problems)) => errors.extend(problems),
            }
        }
        if !errors.is_empty() {
            return Err(SettingsErrors(errors));
        }
        Ok(Self { policies, keys: keys.into(), detectors: Detectors::new(&DetectorSet::all()) })
    }

    /// One for what was redacted: it knows no names, keeps what it can't read, and so records what detectors find where
    /// redaction left it. Dates of birth are not among that: their tokens are dates of birth, too.
    pub fn for_audit(keys: impl Into<Keyring>) -> Self {
        let mut detectors = DetectorSet::all();
        detectors.remove(Detector::DateOfBirth);
        Self {
            policies: vec![Policy::of_detectors()],
            keys: keys.into(),
            detectors: Detectors::new(&detectors),
        }
    }

    /// The names of the rules that let something pass: whoever runs this should know of them.
    pub fn keep_rules(&self) -> impl Iterator<Item = &str> {
        let keeps = |rule: &&Rule| rule.action() == Action::Keep;
        self.policies.iter().flat_map(Policy::rules).filter(keeps).map(|rule| rule.name().name)
    }

    /// Redacts one exchange.
    pub fn redact(&self, exchange: Exchange) -> Redacted<Exchange> {
        self.redact_of(exchange, Subject::default())
    }

    /// Redacts one exchange of this subject, which rules can ask for.
    pub fn redact_of(&self, mut exchange: Exchange, subject: Subject<'_>) -> Redacted<Exchange> {
        let has_conditions = self.policies.iter().flat_map(Policy::rules).any(Rule::has_condition);
        let active = if has_conditions {
            let rules = self.policies.iter().flat_map(Policy::rules);
            Active::of(rules, &Captured::new(&exchange, subject))
        } else {
            Active::default()
        };
        let mut record = Record::default();
        let mut session = self.session(&active, Message::Request);
        let request = exchange.request.as_mut();
        let request_dropped = request.and_then(|request| self::request(request, &mut session));
        record.append(session.record);
        let mut session = self.session(&active, Message::Response);
        let response = exchange.response.as_mut();
        let response_dropped = response.and_then(|response| self::response(response, &mut session));
        record.append(session.record);
        Redacted {
            value: exchange,
            redactions: record.into_entries(),
            request_dropped,
            response_dropped,
            key_id: self.keys.current().shared_id(),
        }
    }

    fn session<'r>(&'r self, active: &'r Active, message: Message) -> Session<'r> {
        Session::new(&self.policies, active, self.keys.current(), &self.detectors, message)
    }
}

fn request(request: &mut Request, session: &mut Session<'_>) -> Option<DropReason> {
    let Request { method, target, version: _, headers, body, trailers, completeness, span: _ } = request;
    let trail = Trail::root("request.target");
    let redacted = if method.as_ref() == b"CONNECT" {
        url::authority(target, session, &trail, Hosts::Kept)
    } else {
        url::redact(target, session, &trail, Hosts::Kept, NESTING)
    };
    if let Cow::Owned(redacted) = redacted {
        *target = redacted.into();
    }
    // The body's type is read before anything can be replaced in it.
    let dropped = body::redact(body, headers, completeness, session, "request.body");
    fields::redact(headers, session, "request.headers");
    fields::redact(trailers, session, "request.trailers");
    dropped
}

fn response(response: &mut Response, session: &mut Session<'_>) -> Option<DropReason> {
    let Response {
        status: _,
        reason,
        version: _,
        headers,
        body,
        trailers,
        completeness,
        span: _,
        interim: _,
    } = response;
    let dropped = body::redact(body, headers, completeness, session, "response.body");
    fields::redact(headers, session, "response.headers");
    fields::redact(trailers, session, "response.trailers");
    let trail = Trail::root("response.reason");
    let site = Site::new(Kind::Text, b"", trail);
    match session.value(&site, &String::from_utf8_lossy(reason), NESTING) {
        Change::None => {}
        Change::Text(new) => *reason = new.into(),
        Change::Gone => *reason = bytes::Bytes::new(),
    }
    dropped
}

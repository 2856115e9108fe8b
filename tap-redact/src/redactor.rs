//! The order in which an exchange is gone through.

use std::borrow::Cow;

use tap_flow::{Exchange, Request, Response};

use crate::{
    Key, Redacted, Rules, RulesError,
    body::{BodyScope, DropReason},
    headers::{HeaderRules, HeaderScope},
    names::Names,
    pairs::Scope,
    record::Record,
    rules::OpaqueBodies,
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
    /// Checks the rules; all that is wrong with them is in the error.
    pub fn new(rules: &Rules, key: Key) -> Result<Self, RulesError> {
        rules.check()?;
        let Rules { headers, query, fields, opaque_bodies } = rules;
        Ok(Self {
            key,
            headers: HeaderRules::standard_and(headers),
            query: Names::standard_and(query.iter().map(String::as_str)),
            fields: Names::standard_and(fields.iter().map(String::as_str)),
            opaque_bodies: *opaque_bodies,
        })
    }

    /// Redacts one exchange.
    pub fn redact(&self, exchange: Exchange) -> Redacted<Exchange> {
        let Exchange { flow, flow_serial, index, role, mut request, mut response, wire_bytes } = exchange;
        let mut record = Record::default();
        let request_dropped = request.as_mut().and_then(|request| self.request(request, &mut record));
        let response_dropped = response.as_mut().and_then(|response| self.response(response, &mut record));
        Redacted {
            value: Exchange { flow, flow_serial, index, role, request, response, wire_bytes },
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

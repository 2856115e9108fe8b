//! What is done to the values and names of a document.

use std::{borrow::Cow, ops::Range};

use super::{Scanner, Stop, text};
use crate::{
    detect::{Detectors, Survey},
    names,
    policy::{Kind, Site, Verdict},
    record,
    session::Change,
    settings::Action,
    token, value,
};

/// Numbers shorter than this are searched only where their field may give them a meaning (a coordinate, a year).
const MIN_NUMBER_BYTES: usize = 4;

impl<'r> Scanner<'_, 'r, '_> {
    /// The string from `start` up to here, with its quotes.
    pub(super) fn string_value(&mut self, start: usize, is_escaped: bool) -> Result<(), Stop> {
        let verdict = self.current();
        let content = start + 1..self.at - 1;
        if verdict == Verdict::Keep || content.is_empty() {
            return Ok(());
        }
        let raw = &self.input[content.clone()];
        let nesting = self.nesting;
        if let (Verdict::Search, false, Some(survey)) = (verdict, is_escaped, self.survey) {
            let may_find = Detectors::may_find(survey, raw);
            let new = match (may_find, value::is_flat(raw)) {
                (false, true) => None,
                (false, false) => self.at_place(|session, site| session.beneath(site, raw, nesting)),
                (true, true) => self.at_place(|session, site| session.parts_in(survey, site, raw)),
                (true, false) => self.at_place(|session, site| session.search(site, raw, nesting)),
            };
            self.put(content, new);
            return Ok(());
        }
        let unescaped = text::unescape(raw.as_bytes()).ok_or(Stop::Malformed)?;
        let value = match unescaped {
            Cow::Borrowed(_) => Cow::Borrowed(raw),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).map_err(|_| Stop::Malformed)?),
        };
        match self.at_place(|session, site| session.treat(verdict, site, &value, nesting)) {
            Change::None => {}
            Change::Text(new) => self.put(content, Some(new)),
            Change::Gone => self.splice.replace(start..self.at, b"null"),
        }
        Ok(())
    }

    /// Whether detectors or rules may find anything in a text that stands there as it reads.
    fn may_find(&self, text: &str) -> bool {
        self.survey.is_none_or(|survey| Detectors::may_find(survey, text))
    }

    /// Puts a text in the place of what a string says.
    fn put(&mut self, content: Range<usize>, new: Option<String>) {
        if let Some(new) = new {
            let mut escaped = Vec::with_capacity(new.len());
            text::escape(&new, &mut escaped);
            self.splice.replace(content, &escaped);
        }
    }

    /// The number from `start` up to here.
    pub(super) fn number_value(&mut self, start: usize) {
        let literal = &self.input[start..self.at];
        let new = match self.current() {
            Verdict::Keep => return,
            Verdict::Search if literal.len() < MIN_NUMBER_BYTES || !self.may_find(literal) => return,
            Verdict::Search => {
                let claim = self.at_place(|session, site| {
                    session.claims(Survey::UNKNOWN, site, literal).into_iter().next()
                });
                let Some(claim) = claim else { return };
                let new = match (claim.action, claim.detector) {
                    (Action::Token, Some(detector)) => {
                        token::render_number(self.session.key(), detector, literal.as_bytes())
                    }
                    (action, _) => self.number_token(action, literal),
                };
                if new == literal {
                    return;
                }
                self.at_place(|session, site| session.note(site, claim.rule, claim.action));
                new
            }
            Verdict::Shape => {
                let new = number_shape(literal);
                if new == literal {
                    return;
                }
                self.at_place(|session, site| session.note_shape(site));
                new
            }
            Verdict::Replace(action, rule) => {
                let new = match (action, names::holds(rule.name)) {
                    (Action::Token, Some(detector)) => {
                        token::render_number(self.session.key(), detector, literal.as_bytes())
                    }
                    _ => self.number_token(action, literal),
                };
                if new == literal {
                    return;
                }
                self.at_place(|session, site| session.note(site, rule, action));
                new
            }
        };
        self.splice.replace(start..self.at, new.as_bytes());
    }

    fn number_token(&self, action: Action, literal: &str) -> String {
        match action {
            Action::Keep => literal.to_owned(),
            Action::Token => token::number(self.session.key(), literal.as_bytes()),
            Action::Hash => format!("\"{}\"", token::hash(self.session.key(), literal.as_bytes())),
            Action::Mask => "0".to_owned(),
            Action::Drop => "null".to_owned(),
        }
    }

    /// `true`, `false` or `null` from `start` up to here. A token of one would be one of two values: it stays.
    pub(super) fn literal_value(&mut self, start: usize) {
        let is_null = self.bytes[start] == b'n';
        let (new, verdict) = match self.current() {
            _ if is_null => return,
            Verdict::Keep | Verdict::Search | Verdict::Replace(Action::Token | Action::Keep, _) => return,
            verdict @ (Verdict::Shape | Verdict::Replace(Action::Mask, _)) => (&b"false"[..], verdict),
            verdict @ Verdict::Replace(Action::Hash | Action::Drop, _) => (&b"null"[..], verdict),
        };
        if &self.bytes[start..self.at] == new {
            return;
        }
        self.at_place(|session, site| match verdict {
            Verdict::Replace(action, rule) => session.note(site, rule, action),
            Verdict::Keep | Verdict::Search | Verdict::Shape => session.note_shape(site),
        });
        self.splice.replace(start..self.at, new);
    }

    /// Replaces what must not pass of a name; whether anything was. Keys of lookup tables may be addresses or
    /// numbers of persons.
    pub(super) fn name_changes(&mut self, span: Range<usize>, name: &[u8]) -> bool {
        let name = String::from_utf8_lossy(name);
        let is_word = record::is_name(name.as_bytes());
        if name.is_empty() || is_word && (self.session.is_strict() || !self.may_find(&name)) {
            return false;
        }
        let site = Site::new(Kind::Text, b"", *self.trail);
        let new = if self.session.is_strict() {
            self.session.note_shape(&site);
            Some(self.session.replacement(Action::Token, name.as_bytes()))
        } else {
            self.session.search(&site, &name, self.nesting)
        };
        let Some(new) = new else { return false };
        self.put(span, Some(new));
        true
    }
}

/// As many digits, all 1; sign and point stay, an exponent does not.
fn number_shape(literal: &str) -> String {
    literal
        .chars()
        .take_while(|c| !matches!(c, 'e' | 'E'))
        .map(|c| if c.is_ascii_digit() { '1' } else { c })
        .collect()
}

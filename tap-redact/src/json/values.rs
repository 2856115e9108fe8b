//! What is done to the values and names of a document.

use std::{borrow::Cow, ops::Range};

use super::{Scanner, Stop, Walk, text};
use crate::{
    detect::{self, Detectors, Survey},
    names,
    policy::{Kind, Site, Verdict},
    record,
    session::{Change, MIN_TEXT_BYTES},
    settings::Action,
    signs::Signs,
    token, value,
};

impl Scanner<'_, '_, '_, '_> {
    /// The string from `start` up to here, with its quotes.
    pub(super) fn string_value(&mut self, start: usize, string: text::Text) -> Result<(), Stop> {
        let verdict = self.current();
        let content = start + 1..self.at - 1;
        if verdict == Verdict::Keep || content.is_empty() {
            return Ok(());
        }
        if verdict == Verdict::Search && !string.is_escaped && !self.searches_all {
            self.plain_text(content, string.signs);
            return Ok(());
        }
        let raw = &self.input[content.clone()];
        let nesting = self.nesting;
        let unescaped = text::unescape(raw.as_bytes()).ok_or(Stop::Malformed)?;
        let value = match unescaped {
            Cow::Borrowed(_) => Cow::Borrowed(raw),
            Cow::Owned(bytes) => {
                // Once it is spelt out, it may hold nothing, as most texts do.
                if verdict == Verdict::Search && !self.searches_all && self.holds_nothing(&bytes) {
                    return Ok(());
                }
                Cow::Owned(String::from_utf8(bytes).map_err(|_| Stop::Malformed)?)
            }
        };
        match self.at_place(|session, site| session.treat(verdict, site, &value, nesting)) {
            Change::None => {}
            Change::Text(new) => self.put(content, Some(new)),
            Change::Gone => self.splice.replace(start..self.at, b"null"),
        }
        Ok(())
    }

    /// Searches a text that reads as it stands.
    fn plain_text(&mut self, content: Range<usize>, signs: Signs) {
        if content.len() < MIN_TEXT_BYTES {
            return;
        }
        let bytes = &self.bytes[content.clone()];
        if detect::is_time(bytes) && !self.is_announced() {
            return;
        }
        let literals = self.has_literal(content.clone());
        let may_find = literals || Detectors::may_find(bytes, signs, || self.is_announced());
        let is_flat = value::is_flat(bytes, signs);
        if !may_find && is_flat {
            return;
        }
        let (raw, nesting) = (&self.input[content.clone()], self.nesting);
        let new = match (may_find, is_flat) {
            (true, true) => self.at_place(|session, site| session.parts_in(Survey { literals }, site, raw)),
            (true, false) => self.at_place(|session, site| session.search(site, raw, nesting)),
            (false, _) => self.at_place(|session, site| session.beneath(site, raw, nesting)),
        };
        self.put(content, new);
    }

    /// Whether nothing can be found in a text, nor beneath it.
    fn holds_nothing(&mut self, text: &[u8]) -> bool {
        let signs = Signs::of(text);
        text.len() < MIN_TEXT_BYTES
            || value::is_flat(text, signs)
                && !Detectors::may_find(text, signs, || self.is_announced())
                && !self.session.has_literal(text)
    }

    /// Whether detectors or rules may find anything in a name or a number that stands there as it reads.
    fn may_find(&self, text: &str, is_announced: bool) -> bool {
        let bytes = text.as_bytes();
        self.searches_all
            || Detectors::may_find(bytes, Signs::of(bytes), || is_announced)
            || self.session.has_literal(bytes)
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
            Verdict::Search
                if !self.searches_all
                    && !detect::may_be_number(literal.as_bytes(), || self.is_announced()) =>
            {
                return;
            }
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
        if name.is_empty() || is_word && !self.may_find(&name, false) {
            return false;
        }
        let Self { bytes, frames, session, trail, nesting, .. } = self;
        let walk = Walk { frames, bytes };
        let site = Site::new(Kind::Text, b"", trail.within(&walk));
        let new = if session.is_strict() && !is_word {
            session.note_shape(&site);
            Some(session.replacement(Action::Token, name.as_bytes()))
        } else {
            session.search(&site, &name, *nesting)
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

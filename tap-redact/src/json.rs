//! JSON: values of named fields are replaced, everything else is copied byte by byte.
//!
//! A scanner of our own: a parser that builds a tree would lose the spelling of numbers, the order of
//! duplicate names and the start of a document whose end was not captured. It takes any root, and several in a
//! row (NDJSON). What it can't follow is an error, and the caller drops the body.

use std::borrow::Cow;

use crate::{
    body::DropReason,
    key::Key,
    names::Names,
    record::{Action, Place, Record},
    token,
};

mod text;

/// Deepest nesting. Documents of applications have some ten levels.
const MAX_DEPTH: usize = 128;

/// What a document is redacted with, and where it is.
pub(crate) struct JsonScope<'r> {
    pub(crate) key: &'r Key,
    pub(crate) names: &'r Names,
    pub(crate) record: &'r mut Record,
    /// Of the document: "request.body".
    pub(crate) place: &'r str,
}

/// Redacts a document. Where its end was not captured, `truncated`, what is incomplete at the end is cut off.
pub(crate) fn redact<'i>(
    input: &'i [u8],
    truncated: bool,
    scope: &mut JsonScope<'_>,
) -> Result<Cow<'i, [u8]>, DropReason> {
    let mut scanner = Scanner {
        input,
        at: text::prefix(input),
        copied: 0,
        output: Vec::new(),
        frames: Vec::new(),
        truncated,
        scope,
    };
    let end = match scanner.run() {
        Ok(()) => input.len(),
        Err(Stop::Cut(at)) => at,
        Err(Stop::Malformed) => return Err(DropReason::Malformed),
        Err(Stop::TooDeep) => return Err(DropReason::TooDeep),
    };
    let Scanner { copied, mut output, .. } = scanner;
    if copied == 0 && output.is_empty() {
        return Ok(Cow::Borrowed(&input[..end]));
    }
    output.extend_from_slice(&input[copied..end.max(copied)]);
    Ok(Cow::Owned(output))
}

/// Why the scan ended before the input did.
enum Stop {
    /// The input ends within what begins here, and is known to be truncated.
    Cut(usize),
    Malformed,
    TooDeep,
}

/// An object or array around the scanner.
struct Frame<'n> {
    kind: Kind,
    /// The rule under which everything below falls.
    rule: Option<&'n str>,
    /// The name of the member that is being read, in the input, without quotes.
    name: (usize, usize),
    /// The rule under which that member falls.
    member_rule: Option<&'n str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
}

/// What may come next.
#[derive(Clone, Copy)]
enum Next {
    /// A document, or the end.
    Document,
    Value,
    /// A value, or the end of an array that is still empty.
    FirstElement,
    /// A name, or the end of an object that is still empty.
    FirstName,
    Name,
    /// A comma, or the end of what is around.
    Comma,
}

struct Scanner<'i, 'r, 's> {
    input: &'i [u8],
    at: usize,
    /// The input up to here is in `output`.
    copied: usize,
    output: Vec<u8>,
    frames: Vec<Frame<'r>>,
    truncated: bool,
    scope: &'s mut JsonScope<'r>,
}

impl Scanner<'_, '_, '_> {
    fn run(&mut self) -> Result<(), Stop> {
        let mut next = Next::Document;
        loop {
            self.at += text::white_space(&self.input[self.at..]);
            let Some(&byte) = self.input.get(self.at) else {
                return match next {
                    Next::Document => Ok(()),
                    _ => Err(self.end_within(self.at)),
                };
            };
            next = match (next, byte) {
                (Next::FirstElement, b']') | (Next::FirstName, b'}') => self.leave(byte)?,
                (Next::Comma, b']' | b'}') => self.leave(byte)?,
                (Next::Comma, b',') => {
                    self.at += 1;
                    match self.frames.last().map(|frame| frame.kind) {
                        Some(Kind::Object) => Next::Name,
                        _ => Next::Value,
                    }
                }
                (Next::FirstName | Next::Name, b'"') => self.name()?,
                (Next::Document | Next::Value | Next::FirstElement, _) => self.value(byte)?,
                _ => return Err(Stop::Malformed),
            };
        }
    }

    /// The input ended within what began at `start`.
    fn end_within(&self, start: usize) -> Stop {
        if self.truncated { Stop::Cut(start) } else { Stop::Malformed }
    }

    /// A name and the colon after it.
    fn name(&mut self) -> Result<Next, Stop> {
        let start = self.at;
        let (name_start, name_end) = self.string()?;
        self.at += text::white_space(&self.input[self.at..]);
        match self.input.get(self.at) {
            Some(b':') => self.at += 1,
            Some(_) => return Err(Stop::Malformed),
            None => return Err(self.end_within(start)),
        }
        let name = text::unescape(&self.input[name_start..name_end]).ok_or(Stop::Malformed)?;
        let names = self.scope.names;
        let Some(frame) = self.frames.last_mut() else { return Err(Stop::Malformed) };
        frame.name = (name_start, name_end);
        frame.member_rule = frame.rule.or_else(|| names.find(&name));
        Ok(Next::Value)
    }

    fn value(&mut self, first: u8) -> Result<Next, Stop> {
        match first {
            b'{' => return self.enter(Kind::Object),
            b'[' => return self.enter(Kind::Array),
            b'"' => {
                let start = self.at;
                let (content_start, content_end) = self.string()?;
                if let Some(rule) = self.rule()
                    && content_start < content_end
                {
                    let content =
                        text::unescape(&self.input[content_start..content_end]).ok_or(Stop::Malformed)?;
                    let token = token::text(self.scope.key, &content);
                    self.replace(start + 1, content_end, &token, rule);
                }
            }
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                let length = text::number(&self.input[start..]).ok_or(Stop::Malformed)?;
                self.at += length;
                // More digits may have followed.
                if self.at == self.input.len() && self.truncated {
                    return Err(Stop::Cut(start));
                }
                if let Some(rule) = self.rule() {
                    let token = token::number(self.scope.key, &self.input[start..self.at]);
                    self.replace(start, self.at, &token, rule);
                }
            }
            _ => {
                let rest = &self.input[self.at..];
                match text::literal(rest) {
                    Some(length) => self.at += length,
                    None if text::may_become_literal(rest) => return Err(self.end_within(self.at)),
                    None => return Err(Stop::Malformed),
                }
            }
        }
        Ok(self.after_value())
    }

    fn after_value(&self) -> Next {
        if self.frames.is_empty() { Next::Document } else { Next::Comma }
    }

    /// Passes a string; where its content is.
    fn string(&mut self) -> Result<(usize, usize), Stop> {
        let start = self.at;
        match text::string(&self.input[start..]) {
            Some(length) => {
                self.at += length;
                Ok((start + 1, start + length - 1))
            }
            None => Err(self.end_within(start)),
        }
    }

    fn enter(&mut self, kind: Kind) -> Result<Next, Stop> {
        if self.frames.len() == MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        let rule = self.rule();
        self.frames.push(Frame { kind, rule, name: (0, 0), member_rule: rule });
        self.at += 1;
        Ok(if kind == Kind::Object { Next::FirstName } else { Next::FirstElement })
    }

    fn leave(&mut self, byte: u8) -> Result<Next, Stop> {
        let closes = if byte == b'}' { Kind::Object } else { Kind::Array };
        match self.frames.pop() {
            Some(frame) if frame.kind == closes => {
                self.at += 1;
                Ok(self.after_value())
            }
            _ => Err(Stop::Malformed),
        }
    }
}

impl<'r> Scanner<'_, 'r, '_> {
    /// The rule under which the value that comes falls.
    fn rule(&self) -> Option<&'r str> {
        self.frames.last().and_then(|frame| frame.member_rule)
    }

    fn replace(&mut self, start: usize, end: usize, token: &str, rule: &str) {
        self.output.extend_from_slice(&self.input[self.copied..start]);
        self.output.extend_from_slice(token.as_bytes());
        self.copied = end;
        let mut place = Place::new(&format!("{}.$", self.scope.place));
        for frame in &self.frames {
            place = match frame.kind {
                Kind::Object => place.name(&self.input[frame.name.0..frame.name.1]),
                Kind::Array => place.element(),
            };
        }
        self.scope.record.add("field", rule, place.build(), Action::Token);
    }
}

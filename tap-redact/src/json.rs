//! JSON: values are replaced where they must be, everything else is copied byte by byte.
//!
//! A scanner of our own: a parser that builds a tree would lose the spelling of numbers, the order of
//! duplicate names and the start of a document whose end was not captured. It takes any root, and several in a
//! row (NDJSON). What it can't follow is an error, and the caller drops the body.

use std::{borrow::Cow, ops::Range};

use crate::{
    body::DropReason,
    detect,
    policy::{JsonPlace, JsonStep, Kind, Site, Verdict},
    record::Place,
    session::Session,
    splice::Splice,
    trail::{Steps, Trail},
};

mod names;
mod text;
mod values;

use names::{Known, NameCache};

pub(crate) use text::escape;

/// Deepest nesting. Documents of applications have some ten levels.
const MAX_DEPTH: usize = 128;

/// What the content of a string says; `None` where it says no text.
pub(crate) fn unescape(content: &str) -> Option<String> {
    String::from_utf8(text::unescape(content.as_bytes())?.into_owned()).ok()
}

/// Redacts a document. Where its end was not captured, `truncated`, what is incomplete at the end is cut off. `outer`
/// is where in another document the string stands that it is the text of. `nesting` is how many levels of content within its strings are looked at.
pub(crate) fn redact<'i>(
    input: &'i str,
    truncated: bool,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    outer: Option<&JsonPlace<'_>>,
    nesting: u8,
) -> Result<Cow<'i, [u8]>, DropReason> {
    let bytes = input.as_bytes();
    // Where rules look for parts of their own, each text has to be looked at.
    let searches_all = session.has_part_rules();
    let literal = session.next_literal(bytes, 0);
    let looks_at_places = session.looks_at_places();
    let root = session.verdict(&Site::new(Kind::Text, b"", *trail));
    let mut scanner = Scanner {
        input,
        bytes,
        at: text::prefix(bytes),
        splice: Splice::new(bytes),
        frames: Vec::new(),
        truncated,
        searches_all,
        literal,
        looks_at_places,
        nesting,
        root,
        names: NameCache::default(),
        session,
        trail,
        outer,
    };
    let end = match scanner.run() {
        Ok(()) => bytes.len(),
        Err(Stop::Cut(at)) => at,
        Err(Stop::Malformed) => return Err(DropReason::Malformed),
        Err(Stop::TooDeep) => return Err(DropReason::TooDeep),
    };
    Ok(scanner.splice.finish(end))
}

/// Why the scan ended before the input did.
enum Stop {
    /// The input ends within what begins here, and is known to be truncated.
    Cut(usize),
    Malformed,
    TooDeep,
}

/// An object or array around the scanner.
struct Frame<'r> {
    kind: Container,
    /// What becomes of everything below that no rule names itself.
    inherited: Option<Verdict<'r>>,
    /// The name of the member that is being read, in the input, without quotes; of an array, that of the
    /// member that it is.
    name: (usize, usize),
    known: Option<Known>,
    /// Something of the name was replaced: no record may show it.
    is_hidden: bool,
    /// Of the element that is being read.
    index: u64,
    /// What becomes of the member or element.
    member: Verdict<'r>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
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

struct Scanner<'i, 'r, 's, 'o> {
    input: &'i str,
    /// The same.
    bytes: &'i [u8],
    at: usize,
    splice: Splice<'i>,
    frames: Vec<Frame<'r>>,
    truncated: bool,
    /// Rules may find something in any text.
    searches_all: bool,
    /// Where the next text is that may be a secret by how it begins; `None` for none from here on.
    literal: Option<usize>,
    looks_at_places: bool,
    nesting: u8,
    /// What becomes of a value without a name.
    root: Verdict<'r>,
    names: NameCache<'r>,
    session: &'s mut Session<'r>,
    trail: &'s Trail<'s>,
    /// Where the string stands that this document is the text of.
    outer: Option<&'s JsonPlace<'o>>,
}

impl<'r> Scanner<'_, 'r, '_, '_> {
    fn run(&mut self) -> Result<(), Stop> {
        let mut next = Next::Document;
        loop {
            let byte = match self.bytes.get(self.at) {
                // Most tokens follow one another at once.
                Some(byte) if *byte > b' ' => Some(byte),
                _ => {
                    self.at += text::white_space(&self.bytes[self.at..]);
                    self.bytes.get(self.at)
                }
            };
            let Some(&byte) = byte else {
                return match next {
                    Next::Document => Ok(()),
                    _ => Err(self.end_within(self.at)),
                };
            };
            next = match (next, byte) {
                (Next::Comma, b',') => {
                    self.at += 1;
                    match self.frames.last_mut() {
                        Some(Frame { kind: Container::Object, .. }) => Next::Name,
                        Some(frame) => {
                            frame.index += 1;
                            self.element();
                            Next::Value
                        }
                        None => return Err(Stop::Malformed),
                    }
                }
                (Next::FirstName | Next::Name, b'"') => self.name()?,
                (Next::FirstElement, b']') | (Next::FirstName, b'}') => self.leave(byte)?,
                (Next::Comma, b']' | b'}') => self.leave(byte)?,
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
        let Self { bytes, frames, names, looks_at_places, .. } = self;
        let Some(frame) = frames.last_mut() else { return Err(Stop::Malformed) };
        if let Some((known, end, verdict)) = names.expected(bytes, start + 1)
            && bytes.get(end + 1) == Some(&b':')
            && !*looks_at_places
        {
            frame.name = (start + 1, end);
            frame.known = Some(known);
            frame.is_hidden = false;
            // Without a copy of the whole verdict, which is large.
            frame.member = match (verdict, &frame.inherited) {
                (Verdict::Search, None) => Verdict::Search,
                (own, inherited) => member_of(*own, *inherited),
            };
            self.at = end + 2;
            return Ok(Next::Value);
        }
        let string = self.string()?;
        let name = (start + 1, self.at - 1);
        self.at += text::white_space(&self.bytes[self.at..]);
        match self.bytes.get(self.at) {
            Some(b':') => self.at += 1,
            Some(_) => return Err(Stop::Malformed),
            None => return Err(self.end_within(start)),
        }
        let Some(frame) = self.frames.last_mut() else { return Err(Stop::Malformed) };
        frame.name = name;
        // Until it is known what is in it.
        frame.is_hidden = true;
        let (known, own) = self.name_verdict(name, string.is_escaped)?;
        if let Some(frame) = self.frames.last_mut() {
            frame.known = known;
        }
        let own =
            if self.looks_at_places { self.at_place(|session, site| session.verdict(site)) } else { own };
        if let Some(frame) = self.frames.last_mut() {
            frame.member = member_of(own, frame.inherited);
        }
        Ok(Next::Value)
    }

    fn value(&mut self, first: u8) -> Result<Next, Stop> {
        match first {
            b'{' => return self.enter(Container::Object),
            b'[' => return self.enter(Container::Array),
            b'"' => {
                let start = self.at;
                let string = self.string()?;
                self.string_value(start, string)?;
            }
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                let length = text::number(&self.bytes[start..]).ok_or(Stop::Malformed)?;
                self.at += length;
                // More digits may have followed.
                if self.at == self.bytes.len() && self.truncated {
                    return Err(Stop::Cut(start));
                }
                self.number_value(start);
            }
            _ => {
                let rest = &self.bytes[self.at..];
                match text::literal(rest) {
                    Some(length) => {
                        self.at += length;
                        self.literal_value(self.at - length);
                    }
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

    /// Passes a string.
    fn string(&mut self) -> Result<text::Text, Stop> {
        match text::string(&self.bytes[self.at..]) {
            Some(string) => {
                self.at += string.length;
                Ok(string)
            }
            None => Err(self.end_within(self.at)),
        }
    }

    fn enter(&mut self, kind: Container) -> Result<Next, Stop> {
        if self.frames.len() == MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        let verdict = self.current();
        let inherited = match verdict {
            Verdict::Replace(..) => Some(verdict),
            // Each member has a name of its own to be allowed or kept by.
            Verdict::Keep | Verdict::Search | Verdict::Shape => None,
        };
        let (name, known) = self.frames.last().map_or(((0, 0), None), |frame| (frame.name, frame.known));
        self.frames.push(Frame { kind, inherited, name, known, is_hidden: false, index: 0, member: verdict });
        self.at += 1;
        if kind == Container::Object {
            return Ok(Next::FirstName);
        }
        self.element();
        Ok(Next::FirstElement)
    }

    fn leave(&mut self, byte: u8) -> Result<Next, Stop> {
        let closes = if byte == b'}' { Container::Object } else { Container::Array };
        match self.frames.pop() {
            Some(frame) if frame.kind == closes => {
                self.at += 1;
                Ok(self.after_value())
            }
            _ => Err(Stop::Malformed),
        }
    }

    /// What becomes of the value that comes.
    fn current(&self) -> Verdict<'r> {
        self.frames.last().map_or(self.root, |frame| frame.member)
    }

    /// An element is the value of the member that its array is, unless rules ask for places.
    fn element(&mut self) {
        if !self.looks_at_places {
            return;
        }
        let verdict = self.at_place(|session, site| session.verdict(site));
        if let Some(frame) = self.frames.last_mut() {
            frame.member = member_of(verdict, frame.inherited);
        }
    }

    /// What becomes of the member of this name, were it not for what holds it and where it stands.
    fn name_verdict(
        &mut self,
        (start, end): (usize, usize),
        is_escaped: bool,
    ) -> Result<(Option<Known>, Verdict<'r>), Stop> {
        let raw = &self.bytes[start..end];
        if !is_escaped && let Some((known, verdict)) = self.names.get(self.bytes, raw) {
            self.show_name(true);
            return Ok((Some(known), verdict));
        }
        let name = text::unescape(raw).ok_or(Stop::Malformed)?;
        let changes = self.name_changes(start..end, &name);
        self.show_name(!changes);
        let verdict = self.session.verdict(&Site::new(Kind::Field, &name, *self.trail));
        // What changes is not remembered, so that it is replaced each time.
        let known =
            if !changes && !is_escaped { self.names.put(self.bytes, start..end, verdict) } else { None };
        Ok((known, verdict))
    }

    fn show_name(&mut self, is_shown: bool) {
        if let Some(frame) = self.frames.last_mut() {
            frame.is_hidden = !is_shown;
        }
    }

    /// Whether the name of the value that comes says what it may be.
    fn is_announced(&self) -> bool {
        match self.frames.last() {
            Some(Frame { known: Some(known), .. }) => {
                self.names.announces(self.bytes, *known, detect::is_announced)
            }
            // A name that is spelt with escapes or was replaced.
            Some(Frame { name: (start, end), .. }) => start < end,
            None => false,
        }
    }

    /// Whether what begins like a secret begins in this span; spans come in order.
    fn has_literal(&mut self, span: Range<usize>) -> bool {
        if self.literal.is_some_and(|literal| literal < span.start) {
            self.literal = self.session.next_literal(self.bytes, span.start);
        }
        self.literal.is_some_and(|literal| literal < span.end)
    }

    /// Calls `body` with the place of the value that comes.
    fn at_place<T>(&mut self, body: impl FnOnce(&mut Session<'r>, &Site<'_>) -> T) -> T {
        let outer = self.outer;
        let Self { bytes, frames, session, trail, .. } = self;
        let walk = Walk { frames, bytes };
        let document = outer.map_or(0, |outer| outer.depth);
        let level = |at: usize| match outer {
            Some(outer) if at < document => (outer.level)(at),
            _ => walk.step(at - document),
        };
        let place = JsonPlace { level: &level, depth: document + frames.len(), document };
        let name = frames.last().map_or(&[][..], |frame| &bytes[frame.name.0..frame.name.1]);
        // An escape that means nothing was refused where the name was read.
        let name = text::unescape(name).unwrap_or(Cow::Borrowed(name));
        let kind = if name.is_empty() { Kind::Text } else { Kind::Field };
        let site = Site { json: Some(&place), ..Site::new(kind, &name, trail.within(&walk)) };
        body(session, &site)
    }
}

/// What becomes of a member, of which its name and what it is in have a say.
fn member_of<'r>(own: Verdict<'r>, inherited: Option<Verdict<'r>>) -> Verdict<'r> {
    match (own, inherited) {
        (own, None) => own,
        // What a rule says about the member itself counts more than what was said about what holds it.
        (own @ Verdict::Keep, Some(_)) => own,
        (own @ Verdict::Replace(_, rule), Some(_)) if rule.kind == "rule" => own,
        (_, Some(inherited)) => inherited,
    }
}

/// The way down to the value that is being read.
struct Walk<'w, 'r> {
    frames: &'w [Frame<'r>],
    bytes: &'w [u8],
}

impl<'w> Walk<'w, '_> {
    fn step(&self, at: usize) -> JsonStep<'w> {
        let frame = &self.frames[at];
        match frame.kind {
            Container::Array => JsonStep::Index(frame.index),
            Container::Object => {
                let name = &self.bytes[frame.name.0..frame.name.1];
                JsonStep::Name(text::unescape(name).unwrap_or(Cow::Borrowed(name)))
            }
        }
    }
}

impl Steps for Walk<'_, '_> {
    fn append_to(&self, place: Place) -> Place {
        self.frames.iter().fold(place.known(".$"), |place, frame| match frame.kind {
            Container::Object if frame.is_hidden => place.name(b""),
            Container::Object => place.name(&self.bytes[frame.name.0..frame.name.1]),
            Container::Array => place.element(),
        })
    }
}

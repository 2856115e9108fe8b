//! XML and HTML: text and attributes by the names of elements and attributes, comments and scripts as text.
//!
//! One lenient scanner for both: what one parser takes for a tag another may take for text, so that everything
//! outside of names is looked into. Text that tags split is looked at in pieces.

use std::{borrow::Cow, ops::Range};

use crate::{
    body::DropReason,
    policy::{Kind, Site, Verdict},
    session::{Change, Session},
    splice::Splice,
    trail::Trail,
};

mod entities;

/// Deepest nesting of elements that are open.
const MAX_DEPTH: usize = 128;

/// Most attributes of an element that are looked at together. Each is looked at, but what comes later is not known
/// to give its element a name.
const MAX_ATTRIBUTES: usize = 64;

/// Elements of HTML without an end.
const VOID: &[&str] =
    &["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"];

/// Elements of HTML that end where the next of them begins.
const UNCLOSED: &[&str] = &["dd", "dt", "li", "option", "p", "td", "th", "tr"];

/// Elements of HTML whose content is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];

/// Attributes whose value belongs to what another attribute names: `<input name="email" value="…">`.
const VALUES: &[&str] = &["value", "content"];
const NAMES: &[&str] = &["name", "property", "itemprop", "id", "key"];

/// Redacts a document.
pub(crate) fn redact<'i>(
    input: &'i str,
    truncated: bool,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Result<Cow<'i, [u8]>, DropReason> {
    // What follows the last tag may be a part of something.
    let end = if truncated { input.rfind('>').map_or(0, |end| end + 1) } else { input.len() };
    let input = &input[..end];
    let trail = trail.known("<>");
    let mut walker =
        Walker { input, splice: Splice::new(input.as_bytes()), open: Vec::new(), session, trail, nesting };
    walker.run()?;
    Ok(walker.splice.finish(end))
}

/// An element that is open.
struct Element<'i, 'r> {
    name: &'i str,
    verdict: Verdict<'r>,
}

struct Attribute<'i> {
    name: &'i str,
    value: Range<usize>,
}

struct Walker<'i, 'r, 's> {
    input: &'i str,
    splice: Splice<'i>,
    open: Vec<Element<'i, 'r>>,
    session: &'s mut Session<'r>,
    trail: Trail<'s>,
    nesting: u8,
}

impl<'i, 'r> Walker<'i, 'r, '_> {
    fn run(&mut self) -> Result<(), DropReason> {
        let bytes = self.input.as_bytes();
        let mut text_start = 0;
        let mut at = 0;
        while let Some(next) = bytes.get(at..).and_then(|rest| memchr::memchr(b'<', rest)) {
            let tag = at + next;
            let Some(content) = self.construct(tag) else {
                // A `<` that begins nothing.
                at = tag + 1;
                continue;
            };
            self.text(text_start..tag);
            at = match content {
                Construct::Text { content, end } => {
                    self.as_is(content);
                    end
                }
                Construct::Close { name, end } => {
                    let known = self.open.iter().rposition(|open| open.name.eq_ignore_ascii_case(name));
                    self.open.truncate(known.unwrap_or(self.open.len()));
                    end
                }
                Construct::Open { name, end } => self.element(name, tag + 1 + name.len(), end)?,
            };
            text_start = at;
        }
        self.text(text_start..bytes.len());
        Ok(())
    }

    /// What begins at a `<`.
    fn construct(&self, tag: usize) -> Option<Construct<'i>> {
        let rest = &self.input[tag..];
        let until = |from: usize, mark: &str| {
            let found = rest[from..].find(mark);
            let content = found.map_or(rest.len(), |at| from + at);
            let end = found.map_or(rest.len(), |at| from + at + mark.len());
            Some(Construct::Text { content: tag + from..tag + content, end: tag + end })
        };
        if rest.starts_with("<!--") {
            return until(4, "-->");
        }
        if rest.starts_with("<![CDATA[") {
            return until(9, "]]>");
        }
        if rest.starts_with("<!") || rest.starts_with("<?") {
            return until(2, ">");
        }
        let is_close = rest.starts_with("</");
        let after = &rest[1 + usize::from(is_close)..];
        let is_name = |c: char| c.is_alphabetic() || c == '_' || c == ':';
        if !after.starts_with(is_name) {
            return None;
        }
        let length = after.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '<'));
        let name = &after[..length.unwrap_or(after.len())];
        if is_close {
            let end = rest.find('>').map_or(rest.len(), |end| end + 1);
            return Some(Construct::Close { name, end: tag + end });
        }
        Some(Construct::Open { name, end: tag + tag_end(rest) })
    }

    /// The attributes of an element from `at` to the end of its tag, and what it means for what follows; where to
    /// go on.
    fn element(&mut self, name: &'i str, at: usize, end: usize) -> Result<usize, DropReason> {
        let attributes = self.attributes(at, end);
        let names = |attribute: &&Attribute<'i>| is_one_of(NAMES, attribute.name);
        let named = attributes.iter().take(MAX_ATTRIBUTES).find(names).map(|it| it.value.clone());
        for Attribute { name: attribute, value } in &attributes {
            let by_other = is_one_of(VALUES, attribute).then(|| named.clone()).flatten();
            self.attribute(attribute, value.clone(), by_other);
        }
        let closes_itself = self.input[..end].ends_with("/>");
        if closes_itself || is_one_of(VOID, name) {
            return Ok(end);
        }
        if is_one_of(UNCLOSED, name)
            && self.open.last().is_some_and(|open| open.name.eq_ignore_ascii_case(name))
        {
            self.open.pop();
        }
        if self.open.len() == MAX_DEPTH {
            return Err(DropReason::TooDeep);
        }
        let own = self.verdict(name.as_bytes());
        let verdict = match (own, self.open.last().map(|open| open.verdict)) {
            (Verdict::Replace(_, rule), _) if rule.kind == "rule" => own,
            (Verdict::Keep, _) => own,
            (_, Some(outer @ Verdict::Replace(..))) => outer,
            _ => own,
        };
        self.open.push(Element { name, verdict });
        if is_one_of(RAW, name) {
            let close = find_close(&self.input[end..], name).map_or(self.input.len(), |at| end + at);
            self.text(end..close);
            return Ok(close);
        }
        Ok(end)
    }

    fn attributes(&self, mut at: usize, end: usize) -> Vec<Attribute<'i>> {
        let bytes = self.input.as_bytes();
        let mut attributes = Vec::new();
        let skip = |mut at: usize, of: fn(u8) -> bool| {
            while at < end && of(bytes[at]) {
                at += 1;
            }
            at
        };
        loop {
            at = skip(at, |byte| byte.is_ascii_whitespace() || byte == b'/' || byte == b'>');
            if at >= end {
                return attributes;
            }
            let name_end = skip(at + 1, |byte| !byte.is_ascii_whitespace() && !b"=/>".contains(&byte));
            let name = self.input.get(at..name_end).unwrap_or_default();
            let equals = skip(name_end, |byte| byte.is_ascii_whitespace());
            if equals >= end || bytes[equals] != b'=' {
                // A name without a value, or a piece of a value whose quotes are odd.
                attributes.push(Attribute { name: "", value: at..name_end });
                at = name_end;
                continue;
            }
            let start = skip(equals + 1, |byte| byte.is_ascii_whitespace());
            let quote = bytes.get(start).copied().filter(|byte| start < end && matches!(byte, b'"' | b'\''));
            let value = match quote {
                Some(quote) => {
                    let close = memchr::memchr(quote, &bytes[start + 1..end]);
                    start + 1..close.map_or(end, |close| start + 1 + close)
                }
                None => start..skip(start, |byte| !byte.is_ascii_whitespace() && byte != b'>'),
            };
            at = (value.end + usize::from(quote.is_some())).max(name_end + 1);
            attributes.push(Attribute { name, value });
        }
    }

    /// What becomes of text in an element or attribute of this name.
    fn verdict(&self, name: &[u8]) -> Verdict<'r> {
        let kind = if name.is_empty() { Kind::Text } else { Kind::Field };
        self.session.verdict(&Site::new(kind, name, self.trail))
    }

    fn attribute(&mut self, name: &str, value: Range<usize>, by_other: Option<Range<usize>>) {
        let mut name = name.as_bytes();
        let mut verdict = self.verdict(name);
        if let (Verdict::Search, Some(other)) = (verdict, by_other) {
            let other = self.input[other].as_bytes();
            verdict = self.verdict(other);
            name = other;
        }
        self.replace(value, name, verdict, true);
    }

    /// Text between tags.
    fn text(&mut self, range: Range<usize>) {
        let (name, verdict) = match self.open.last() {
            Some(Element { name, verdict }) => (name.as_bytes(), *verdict),
            None => (&b""[..], self.verdict(b"")),
        };
        self.replace(range, name, verdict, true);
    }

    /// Text in which entities mean nothing: CDATA, comments, declarations.
    fn as_is(&mut self, range: Range<usize>) {
        let (name, verdict) = match self.open.last() {
            Some(Element { name, verdict }) => (name.as_bytes(), *verdict),
            None => (&b""[..], self.verdict(b"")),
        };
        self.replace(range, name, verdict, false);
    }

    fn replace(&mut self, range: Range<usize>, name: &[u8], verdict: Verdict<'r>, has_entities: bool) {
        let Some(raw) = self.input.get(range.clone()) else { return };
        let trimmed = raw.trim();
        if trimmed.is_empty() || verdict == Verdict::Keep {
            return;
        }
        let start = range.start + (raw.len() - raw.trim_start().len());
        let decoded = if has_entities { entities::decode(trimmed) } else { Cow::Borrowed(trimmed) };
        let below = self.trail.name(name);
        let kind = if name.is_empty() { Kind::Text } else { Kind::Field };
        let site = Site::new(kind, name, if name.is_empty() { self.trail } else { below });
        let change = self.session.treat(verdict, &site, &decoded, self.nesting);
        let new = match change {
            Change::None => return,
            Change::Text(new) => new,
            Change::Gone => String::new(),
        };
        let new = if has_entities { entities::encode(&new) } else { Cow::Borrowed(new.as_str()) };
        self.splice.replace(start..start + trimmed.len(), new.as_bytes());
    }
}

/// What begins at a `<`, and where it ends.
enum Construct<'i> {
    Text { content: Range<usize>, end: usize },
    Close { name: &'i str, end: usize },
    Open { name: &'i str, end: usize },
}

/// The length of a tag, past quotes.
fn tag_end(tag: &str) -> usize {
    let bytes = tag.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'>' => return at + 1,
            // Only after `=` does a quote open a value.
            b'"' | b'\'' if tag[..at].trim_end().ends_with('=') => {
                match memchr::memchr(*byte, &bytes[at + 1..]) {
                    Some(close) => at += close + 2,
                    None => return tag.find('>').map_or(tag.len(), |end| end + 1),
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where the end tag of an element begins.
fn find_close(text: &str, name: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find("</") {
        let at = from + at;
        let after = text.as_bytes().get(at + 2..at + 2 + name.len());
        if after.is_some_and(|after| after.eq_ignore_ascii_case(name.as_bytes())) {
            return Some(at);
        }
        from = at + 2;
    }
    None
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

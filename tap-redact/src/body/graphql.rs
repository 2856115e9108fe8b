//! GraphQL documents: literals by the names of arguments and fields of input objects.
//!
//! Variables are JSON beside the document and need nothing of this.

use std::borrow::Cow;

use crate::{
    detect::Survey,
    policy::{Kind, Site, Verdict},
    session::{Change, Session},
    settings::Action,
    splice::Splice,
    token,
    trail::Trail,
};

/// Deepest nesting of brackets that names are kept of; within deeper ones literals are searched alone.
const MAX_DEPTH: usize = 64;

/// Whether a text is a document, by the name of its field and its first word.
pub(crate) fn is_document(field: &[u8], text: &str) -> bool {
    const WORDS: &[&str] = &["query", "mutation", "subscription", "fragment"];
    if !text.ends_with('}') {
        return false;
    }
    let begins = WORDS.iter().any(|word| {
        text.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', '\t', '\n', '\r', '{', '(']))
    });
    begins || text.starts_with('{') && matches!(field, b"query" | b"mutation" | b"document")
}

/// Redacts the literals of a document; `None` where nothing changes.
pub(crate) fn redact(input: &str, session: &mut Session<'_>, trail: &Trail<'_>) -> Option<String> {
    let mut walker = Walker {
        input,
        splice: Splice::new(input.as_bytes()),
        name: "",
        around: Vec::new(),
        beyond: 0,
        session,
        trail,
    };
    walker.run();
    walker.splice.into_text()
}

/// A bracket that is open: the name to which its content belongs, and what becomes of all of it.
struct Around<'i, 'r> {
    name: &'i str,
    inherited: Option<Verdict<'r>>,
}

struct Walker<'i, 'r, 's> {
    input: &'i str,
    splice: Splice<'i>,
    /// Of the argument whose value comes.
    name: &'i str,
    around: Vec<Around<'i, 'r>>,
    /// Open brackets beyond [`MAX_DEPTH`].
    beyond: usize,
    session: &'s mut Session<'r>,
    trail: &'s Trail<'s>,
}

impl<'r> Walker<'_, 'r, '_> {
    fn run(&mut self) {
        let bytes = self.input.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at = match byte {
                b'"' => self.string(at),
                b'#' => memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end),
                b'-' | b'0'..=b'9' => self.number(at),
                b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$' => self.word(at),
                b'{' | b'[' | b'(' => {
                    self.open(*byte);
                    at + 1
                }
                b'}' | b']' | b')' => {
                    if self.beyond > 0 {
                        self.beyond -= 1;
                    } else {
                        self.around.pop();
                    }
                    self.name = "";
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    /// A name; with a colon after it, that of an argument.
    fn word(&mut self, start: usize) -> usize {
        let bytes = self.input.as_bytes();
        let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte == b'$';
        let end = start + bytes[start..].iter().take_while(is_word).count();
        let rest = &bytes[end..];
        let spaces = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match rest.get(spaces) {
            Some(b':') => self.name = &self.input[start..end],
            // The type of a variable, before its default.
            Some(b'=' | b'!') => {}
            _ => self.name = "",
        }
        end
    }

    fn open(&mut self, bracket: u8) {
        if self.around.len() == MAX_DEPTH {
            self.beyond += 1;
            return;
        }
        let verdict = self.verdict(self.name);
        let inherited = match verdict {
            Verdict::Replace(..) => Some(verdict),
            Verdict::Keep | Verdict::Search | Verdict::Shape => {
                self.around.last().and_then(|around| around.inherited)
            }
        };
        // Elements of a list are the values of what the list is.
        let name = if bracket == b'[' { self.name } else { "" };
        self.around.push(Around { name, inherited });
        self.name = "";
    }

    fn string(&mut self, start: usize) -> usize {
        let bytes = self.input.as_bytes();
        let rest = &self.input[start..];
        let (content, end) = if let Some(block) = rest.strip_prefix("\"\"\"") {
            let close = block.find("\"\"\"").map_or(rest.len(), |at| at + 3);
            (start + 3..start + close, (start + close + 3).min(bytes.len()))
        } else {
            let mut at = start + 1;
            while let Some(next) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                at += next;
                if bytes[at] == b'"' {
                    break;
                }
                at += 2;
            }
            let close = at.min(bytes.len());
            let close = if bytes.get(close) == Some(&b'"') { close } else { bytes.len() };
            (start + 1..close, (close + 1).min(bytes.len()))
        };
        let raw = self.input.get(content.clone()).unwrap_or_default();
        let value: Cow<'_, str> = if raw.contains('\\') {
            // What is no escape of JSON is none of GraphQL either: it reads as it stands.
            crate::json::unescape(raw).map_or(Cow::Borrowed(raw), Cow::Owned)
        } else {
            Cow::Borrowed(raw)
        };
        self.literal(
            |session, verdict, site| session.treat(verdict, site, &value, 1),
            |splice, change| match change {
                Change::None => {}
                Change::Text(new) => {
                    let mut escaped = Vec::new();
                    crate::json::escape(&new, &mut escaped);
                    splice.replace(content.clone(), &escaped);
                }
                Change::Gone => splice.replace(content.clone(), b""),
            },
        );
        end
    }

    fn number(&mut self, start: usize) -> usize {
        let bytes = self.input.as_bytes();
        let is_part = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let end = start + bytes[start..].iter().take_while(is_part).count().max(1);
        let literal = &self.input[start..end];
        self.literal(
            |session, verdict, site| match verdict {
                Verdict::Replace(Action::Token, rule) => {
                    let new = token::number(session.key(), literal.as_bytes());
                    session.note(site, rule, Action::Token);
                    Change::Text(new)
                }
                Verdict::Replace(action, rule) => {
                    session.note(site, rule, action);
                    Change::Text("0".to_owned())
                }
                Verdict::Search => match session.claims(Survey::UNKNOWN, site, literal).first() {
                    Some(claim) => {
                        session.note(site, claim.rule, claim.action);
                        Change::Text(token::number(session.key(), literal.as_bytes()))
                    }
                    None => Change::None,
                },
                Verdict::Shape => {
                    session.note_shape(site);
                    Change::Text("1".to_owned())
                }
                Verdict::Keep => Change::None,
            },
            |splice, change| {
                if let Change::Text(new) = change {
                    splice.replace(start..end, new.as_bytes());
                }
            },
        );
        end
    }

    /// What becomes of the literal of an argument of this name.
    fn verdict(&self, name: &str) -> Verdict<'r> {
        let name = name.trim_start_matches('$').as_bytes();
        let kind = if name.is_empty() { Kind::Text } else { Kind::Field };
        self.session.verdict(&Site::new(kind, name, *self.trail))
    }

    /// Decides on a literal, and does it.
    fn literal(
        &mut self,
        decide: impl FnOnce(&mut Session<'r>, Verdict<'r>, &Site<'_>) -> Change,
        apply: impl FnOnce(&mut Splice<'_>, Change),
    ) {
        let around = self.around.last();
        let name = if self.name.is_empty() { around.map_or("", |around| around.name) } else { self.name };
        let inherited = around.and_then(|around| around.inherited);
        let verdict = match (self.verdict(name), inherited) {
            (Verdict::Search | Verdict::Shape, Some(inherited)) => inherited,
            (own, _) => own,
        };
        let below = self.trail.name(name.as_bytes());
        let site = if name.is_empty() {
            Site::new(Kind::Text, b"", *self.trail)
        } else {
            Site::new(Kind::Field, name.as_bytes(), below)
        };
        let change = decide(self.session, verdict, &site);
        apply(&mut self.splice, change);
        self.name = "";
    }
}

//! From text to the `cel` crate's syntax tree, within limits that are checked before its parser runs.

use std::{borrow::Cow, thread};

use cel::{Env, IdedExpr, ParseErrors, common::ast::SourceInfo};

use crate::{ConditionError, MAX_SOURCE_BYTES};

/// Deepest nesting of brackets. The parser recurses through some twenty functions for each.
const MAX_BRACKETS: usize = 24;

/// Most operators, dots, commas and brackets. Chains of them become as deep a tree.
const MAX_OPERATORS: usize = 640;

/// Stack of the parser's thread: an unoptimised build uses up to 80 KiB for each level of brackets and
/// for each operator of a chain. Only the pages that are touched take memory.
const PARSER_STACK_BYTES: usize = 128 << 20;

/// `namespace` is what everyone calls it, and a reserved word of CEL's. The parser is given a name of the same
/// length instead, so that positions stay.
pub(crate) const NAMESPACE: &str = "namespace";
pub(crate) const NAMESPACE_ALIAS: &str = "__namesp_";

/// A syntax tree and what finds positions in its source.
pub(crate) struct Syntax<'a> {
    pub(crate) root: &'a IdedExpr,
    positions: &'a SourceInfo,
    source: &'a str,
}

/// Parses `source` and hands its tree to `check`; `None` where the source is blank.
///
/// The parser recurses deeply and is not ours, so it runs on a thread of its own: there is stack enough for
/// whatever passes the limits, and a panic of it is an error here.
pub(crate) fn with_ast<T: Send>(
    source: &str,
    check: impl FnOnce(&Syntax<'_>) -> Result<T, ConditionError> + Send,
) -> Result<Option<T>, ConditionError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(ConditionError::TooLong { length: source.len() });
    }
    if source.trim().is_empty() {
        return Ok(None);
    }
    let prepared = prepare(source)?;
    let failed = |message: &str| ConditionError::Parser { message: message.to_owned() };
    thread::scope(|scope| {
        thread::Builder::new()
            .name("condition-parser".to_owned())
            .stack_size(PARSER_STACK_BYTES)
            .spawn_scoped(scope, || {
                // The empty environment has no macros: `exists` and the like stay calls, and are checked here.
                let (root, positions) = Env::default()
                    .parser()
                    .enable_optional_syntax(false)
                    .parse_with_source_info(&prepared)
                    .map_err(|errors| explain(source, &errors))?;
                check(&Syntax { root: &root, positions: &positions, source })
            })
            .map_err(|error| failed(&error.to_string()))?
            .join()
            .unwrap_or_else(|_| Err(failed("not a valid expression")))
    })
    .map(Some)
}

impl Syntax<'_> {
    /// An error at the node `id`.
    pub(crate) fn error(&self, id: u64, message: impl Into<String>) -> ConditionError {
        let offset = self.positions.offset_for(id).map_or(0, |(start, _)| start as usize);
        let (line, column) = position(self.source, offset);
        ConditionError::Invalid { line, column, message: one_line(&message.into()) }
    }

    /// An error at the name that follows the dot of the selection `id`.
    pub(crate) fn field_error(&self, id: u64, message: impl Into<String>) -> ConditionError {
        let offset = self.positions.offset_for(id).map_or(0, |(start, _)| start as usize);
        let rest = self.source.get(offset..).unwrap_or_default();
        let name = rest.strip_prefix('.').map_or(rest, |after| after.trim_start());
        let (line, column) = position(self.source, offset + rest.len() - name.len());
        ConditionError::Invalid { line, column, message: one_line(&message.into()) }
    }
}

/// Refuses what would take the parser too deep; gives [`NAMESPACE`] the name under which it parses.
fn prepare(source: &str) -> Result<Cow<'_, str>, ConditionError> {
    let refuse = |offset: usize, message: &str| {
        let (line, column) = position(source, offset);
        Err(ConditionError::Syntax { line, column, message: message.to_owned() })
    };
    let bytes = source.as_bytes();
    let (mut depth, mut operators, mut at) = (0, 0, 0);
    let mut prepared = Cow::Borrowed(source);
    // The last byte that was neither white space nor part of a comment.
    let mut before = b' ';
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = end_of_string(bytes, at);
                before = byte;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'(' | b'[' | b'{' => {
                depth += 1;
                if depth > MAX_BRACKETS {
                    return refuse(at, &format!("brackets are nested deeper than {MAX_BRACKETS}"));
                }
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let word =
                    bytes[at..].iter().take_while(|&&b| b.is_ascii_alphanumeric() || b == b'_').count();
                // A string's prefix, such as r"…", is left to the string.
                if word > 2 {
                    if before != b'.' && &source[at..at + word] == NAMESPACE {
                        prepared.to_mut().replace_range(at..at + word, NAMESPACE_ALIAS);
                    }
                    at += word;
                    before = b'a';
                    continue;
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        if byte.is_ascii_punctuation() && byte != b'_' {
            operators += 1;
            if operators > MAX_OPERATORS {
                return refuse(at, &format!("the condition has more than {MAX_OPERATORS} operators"));
            }
        }
        at += 1;
    }
    Ok(prepared)
}

/// Where the string literal that opens at `at` ends: past its closing quote, or the end of the source.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let raw = at > 0 && matches!(bytes[at - 1], b'r' | b'R');
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let closing: &[u8] = if triple { &[quote; 3] } else { &[quote; 1] };
    let mut end = at + closing.len();
    while end < bytes.len() {
        if bytes[end..].starts_with(closing) {
            return end + closing.len();
        }
        match bytes[end] {
            b'\\' if !raw => end += 2,
            // The literal is not closed: the parser sees the rest as tokens.
            b'\n' if !triple => return end,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// The first error of the parser, in plain words.
fn explain(source: &str, errors: &ParseErrors) -> ConditionError {
    let Some(first) = errors.errors.first() else {
        return ConditionError::Parser { message: "not a valid expression".to_owned() };
    };
    let text = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let text = text.split(" expecting ").next().unwrap_or(text);
    let quoted = text.split_once('\'').map(|(_, rest)| rest.strip_suffix('\'').unwrap_or(rest));
    let message = match quoted {
        _ if text.contains("OtherError") => "the condition is nested too deeply".to_owned(),
        Some(token) if token.contains("<EOF>") => "unexpected end of the condition".to_owned(),
        Some(token) if token.starts_with(['"', '\'']) && text.starts_with("token recognition") => {
            "the string is not closed".to_owned()
        }
        Some(token) if text.contains("input") || text.contains("token") => format!("unexpected `{token}`"),
        _ => text.to_owned(),
    };
    let message = message.replace(NAMESPACE_ALIAS, NAMESPACE);
    let line = u32::try_from(first.pos.0).unwrap_or(1).max(1);
    let column = u32::try_from(first.pos.1).unwrap_or(1).max(1);
    // Past the end of the source for a condition that stops short: stay on its last line.
    let last_line = u32::try_from(source.lines().count()).unwrap_or(1).max(1);
    ConditionError::Syntax { line: line.min(last_line), column, message: one_line(&message) }
}

/// Line and column of a byte offset, from 1, in characters.
fn position(source: &str, offset: usize) -> (u32, u32) {
    let before = &source[..source.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Without control characters, and no longer than a line of a terminal or two.
fn one_line(message: &str) -> String {
    const MAX_CHARACTERS: usize = 240;
    let clean = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = clean.clone().take(MAX_CHARACTERS).collect();
    if clean.count() > MAX_CHARACTERS {
        line.push('…');
    }
    line
}

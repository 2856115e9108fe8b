//! Server-sent events: the `data` of an event is JSON or text, on one line or several.

use std::{borrow::Cow, ops::Range};

use super::{DropReason, text};
use crate::{
    json,
    policy::{Kind, Site},
    session::Session,
    splice::Splice,
    trail::Trail,
};

/// Redacts a stream of events.
pub(super) fn redact<'i>(
    input: &'i str,
    truncated: bool,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Result<Cow<'i, [u8]>, DropReason> {
    // The last event may have lost its end.
    let end = if truncated { whole_events(input) } else { input.len() };
    let input = &input[..end];
    let mut splice = Splice::new(input.as_bytes());
    let mut pending: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for line in input.split_inclusive(['\n', '\r']) {
        let text = line.trim_end_matches(['\n', '\r']);
        let field = text.find(':').map_or(text, |colon| &text[..colon]);
        let value = text.get(field.len() + 1..).unwrap_or_default();
        let padding = usize::from(value.starts_with(' '));
        let start = at + (field.len() + 1).min(text.len()) + padding;
        let value = start..at + text.len();
        match field {
            "data" => pending.push(value),
            // A `\r\n` is two line ends here.
            "" if text.is_empty() && !line.starts_with('\n') => {}
            _ => {
                if text.is_empty() {
                    event(input, &std::mem::take(&mut pending), &mut splice, session, trail, nesting)?;
                } else if pending.is_empty() {
                    other(input, value, &mut splice, session, trail);
                } else {
                    // Spans are replaced in order: what stands among the lines of data ends the event's text.
                    event(input, &std::mem::take(&mut pending), &mut splice, session, trail, nesting)?;
                    other(input, value, &mut splice, session, trail);
                }
            }
        }
        at += line.len();
    }
    event(input, &pending, &mut splice, session, trail, nesting)?;
    Ok(splice.finish(end))
}

/// The length of the events that are whole.
fn whole_events(input: &str) -> usize {
    [("\n\n", 2), ("\r\n\r\n", 4), ("\r\r", 2)]
        .iter()
        .filter_map(|(mark, length)| input.rfind(mark).map(|at| at + length))
        .max()
        .unwrap_or(0)
}

/// The data of one event.
fn event(
    input: &str,
    lines: &[Range<usize>],
    splice: &mut Splice<'_>,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Result<(), DropReason> {
    let joined: Cow<'_, str> = match lines {
        [] => return Ok(()),
        [line] => Cow::Borrowed(&input[line.clone()]),
        lines => Cow::Owned(lines.iter().map(|line| &input[line.clone()]).collect::<Vec<_>>().join("\n")),
    };
    let trail = trail.known("data");
    let outer = std::mem::take(&mut session.record);
    let as_json = if joined.trim_start().starts_with(['{', '[']) {
        json::redact(&joined, false, session, &trail, None, nesting).ok()
    } else {
        None
    };
    let inner = std::mem::replace(&mut session.record, outer);
    let redacted = match as_json {
        Some(redacted) => {
            session.record.append(inner);
            redacted
        }
        None => text::redact(&joined, false, session, &trail, nesting)?,
    };
    if let Cow::Owned(redacted) = redacted {
        let redacted = String::from_utf8_lossy(&redacted).into_owned();
        let mut new = redacted.split('\n');
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            let text = new.next().unwrap_or_default();
            // Replacing adds no line ends, but if it did, they would begin lines of their own.
            let rest: String = if index == last { new.by_ref().collect() } else { String::new() };
            splice.replace(line.clone(), format!("{text}{rest}").as_bytes());
        }
    }
    Ok(())
}

/// An id, a name of an event, a comment.
fn other(
    input: &str,
    value: Range<usize>,
    splice: &mut Splice<'_>,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
) {
    let site = Site::new(Kind::Text, b"", *trail);
    if let Some(new) = session.parts(&site, &input[value.clone()]) {
        splice.replace(value, new.as_bytes());
    }
}

//! Multipart bodies: fields by name, file names, and the contents of files as the policy says.

use std::{borrow::Cow, ops::Range};

use super::{DropReason, media, of_type};
use crate::{
    policy::{Kind, RuleName, Site, Verdict},
    session::{Change, Session},
    settings::{Action, UnsureBodies},
    splice::Splice,
    token,
    trail::Trail,
};

/// Most parts of a body.
const MAX_PARTS: usize = 1000;

/// Longest ending of a file's name that is kept, in bytes.
const MAX_ENDING_BYTES: usize = 8;

/// Redacts a body. Where its end was not captured, the part that is not whole is cut off.
pub(super) fn redact<'i>(
    input: &'i [u8],
    boundary: &[u8],
    truncated: bool,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Result<Cow<'i, [u8]>, DropReason> {
    let delimiter = [b"--", boundary].concat();
    let mut splice = Splice::new(input);
    let mut marks = Delimiters { input, delimiter: &delimiter, at: 0 };
    // What stands before the first part is for readers that know no parts.
    match marks.next() {
        Some(first) if input[..first.start].trim_ascii().is_empty() => {
            let mut part_start = first.end;
            let mut is_last = first.closes;
            for _ in 0..MAX_PARTS {
                if is_last {
                    return epilogue(input, part_start, splice);
                }
                match marks.next() {
                    Some(mark) => {
                        part(input, part_start..mark.start, &mut splice, session, trail, nesting)?;
                        part_start = mark.end;
                        is_last = mark.closes;
                    }
                    None if truncated => return Ok(splice.finish(part_start)),
                    None => {
                        part(input, part_start..input.len(), &mut splice, session, trail, nesting)?;
                        return Ok(splice.finish(input.len()));
                    }
                }
            }
            Err(DropReason::Malformed)
        }
        _ => Err(DropReason::Malformed),
    }
}

/// What follows the last delimiter is for nobody, and does not pass.
fn epilogue<'i>(input: &'i [u8], end: usize, splice: Splice<'i>) -> Result<Cow<'i, [u8]>, DropReason> {
    let kept = if input[end..].trim_ascii().is_empty() { input.len() } else { end };
    Ok(splice.finish(kept))
}

/// A line of the delimiter.
struct Delimiter {
    /// Of the line end before it.
    start: usize,
    /// After its own line end.
    end: usize,
    closes: bool,
}

struct Delimiters<'i> {
    input: &'i [u8],
    delimiter: &'i [u8],
    at: usize,
}

impl Iterator for Delimiters<'_> {
    type Item = Delimiter;

    fn next(&mut self) -> Option<Delimiter> {
        loop {
            let found = self.at + memchr::memmem::find(self.input.get(self.at..)?, self.delimiter)?;
            let after = found + self.delimiter.len();
            self.at = after;
            let before = &self.input[..found];
            let line_start = before.is_empty() || before.ends_with(b"\n");
            let rest = &self.input[after..];
            let closes = rest.starts_with(b"--");
            let rest = rest.strip_prefix(b"--").unwrap_or(rest);
            let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
            let line_end = match rest.get(padding) {
                Some(b'\n') => padding + 1,
                None => padding,
                // A longer word that begins as the delimiter does.
                Some(_) => continue,
            };
            if !line_start {
                continue;
            }
            let start = before
                .strip_suffix(b"\n")
                .map_or(0, |before| before.strip_suffix(b"\r").unwrap_or(before).len());
            self.at = self.input.len() - rest.len() + line_end;
            return Some(Delimiter { start, end: self.at, closes });
        }
    }
}

/// One part: its header fields and its content.
fn part(
    input: &[u8],
    range: Range<usize>,
    splice: &mut Splice<'_>,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Result<(), DropReason> {
    // A part of two lines shares the line end between delimiters.
    let part = input.get(range.start.min(range.end)..range.end).unwrap_or_default();
    let (head, content_start) = match [(&b"\r\n\r\n"[..], 4), (b"\n\n", 2)]
        .iter()
        .filter_map(|(mark, length)| memchr::memmem::find(part, mark).map(|at| (at, at + length)))
        .min()
    {
        Some((head, content)) => (&part[..head], content),
        None if part.starts_with(b"\r\n") => (&part[..0], 2),
        None if part.starts_with(b"\n") => (&part[..0], 1),
        None => return Err(DropReason::Malformed),
    };
    let content = range.start + content_start..range.end;
    let (mut name, mut file, mut declared) = (Vec::new(), None, None);
    let mut at = range.start;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        let colon = text.iter().position(|byte| *byte == b':').ok_or(DropReason::Malformed)?;
        let (field, value) = (&text[..colon], &text[colon + 1..]);
        if field.eq_ignore_ascii_case(b"content-disposition") {
            name = media::parameter(value, b"name").unwrap_or_default();
            file = media::parameter(value, b"filename").or_else(|| media::parameter(value, b"filename*"));
            disposition(value, at + colon + 1, file.as_deref(), &name, splice, session, trail);
        } else if field.eq_ignore_ascii_case(b"content-type") {
            declared = Some(value.trim_ascii().to_vec());
        } else {
            other_field(value, at + colon + 1, splice, session, trail);
        }
        at += line.len();
    }
    let below = trail.name(&name);
    let site = Site::new(Kind::Field, &name, below);
    let verdict = session.verdict(&site);
    let bytes = &input[content.clone()];
    if verdict == Verdict::Keep || bytes.is_empty() {
        return Ok(());
    }
    let text = std::str::from_utf8(bytes);
    let is_file = file.is_some();
    match (file, text) {
        (None, Ok(text)) if declared.is_none() || verdict != Verdict::Search => {
            match session.treat(verdict, &site, text, nesting) {
                Change::None => {}
                Change::Text(new) => splice.replace(content, new.as_bytes()),
                Change::Gone => splice.replace(content, b""),
            }
            return Ok(());
        }
        _ => {}
    }
    let dropped = match verdict {
        Verdict::Replace(..) | Verdict::Shape => Err(DropReason::Policy),
        _ if nesting == 0 => Err(DropReason::TooDeep),
        _ if is_file && session.strictest(|policy| policy.files) == UnsureBodies::Drop => {
            Err(DropReason::Policy)
        }
        _ => Ok(()),
    };
    let redacted = dropped.and_then(|()| {
        let declared = declared.unwrap_or_else(|| b"text/plain".to_vec());
        of_type(&media::named(&declared, bytes)?, bytes, false, session, &below, nesting - 1)
    });
    match redacted {
        Ok(Cow::Borrowed(_)) => {}
        Ok(Cow::Owned(new)) => splice.replace(content, &new),
        Err(reason) => {
            session.note(&site, RuleName { kind: "body", name: reason.as_str() }, Action::Drop);
            splice.replace(content, b"");
        }
    }
    Ok(())
}

/// Replaces the name of a file, but for its ending.
fn disposition(
    value: &[u8],
    at: usize,
    file: Option<&[u8]>,
    name: &[u8],
    splice: &mut Splice<'_>,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
) {
    let below = trail.name(name);
    let below = below.known("filename");
    let site = Site::new(Kind::Field, name, below);
    let file = match file {
        Some(file)
            if !file.is_empty() && session.goes_by_names() && session.verdict(&site) != Verdict::Keep =>
        {
            file
        }
        _ => return other_field(value, at, splice, session, trail),
    };
    let file = String::from_utf8_lossy(file);
    let (stem, ending) = file.rsplit_once('.').unwrap_or((&file, ""));
    let is_ending = (1..=MAX_ENDING_BYTES).contains(&ending.len())
        && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (stem, ending) = if is_ending { (stem, format!(".{ending}")) } else { (&*file, String::new()) };
    let new = token::opaque(session.key(), stem.as_bytes());
    if new == stem {
        return;
    }
    session.note(&site, RuleName { kind: "body", name: "filename" }, Action::Token);
    let name = String::from_utf8_lossy(name);
    let name = session.parts(&Site::new(Kind::Text, b"", *trail), &name).unwrap_or_else(|| name.into_owned());
    let quoted = name.replace('"', "%22").replace(['\r', '\n'], " ");
    let field = format!(" form-data; name=\"{quoted}\"; filename=\"{new}{ending}\"");
    splice.replace(at..at + value.len(), field.as_bytes());
}

fn other_field(
    value: &[u8],
    at: usize,
    splice: &mut Splice<'_>,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
) {
    let site = Site::new(Kind::Text, b"", *trail);
    if let Some(new) = session.parts(&site, &String::from_utf8_lossy(value)) {
        splice.replace(at..at + value.len(), new.as_bytes());
    }
}

//! Comma-separated values: columns by the names in the first row.

use std::{borrow::Cow, ops::Range};

use crate::{
    body::DropReason,
    policy::{Kind, Site, Verdict},
    session::{Change, Session},
    splice::Splice,
    trail::Trail,
};

/// Most columns that are known by name. The cells of others are searched, and dropped by `strict`.
const MAX_COLUMNS: usize = 1024;

/// Redacts a table. The first row is taken for names, and is searched as well, in case it is none.
pub(super) fn redact<'i>(
    input: &'i str,
    truncated: bool,
    session: &mut Session<'_>,
    trail: &Trail<'_>,
    nesting: u8,
) -> Result<Cow<'i, [u8]>, DropReason> {
    let end = if truncated { input.rfind('\n').map_or(0, |end| end + 1) } else { input.len() };
    let input = &input[..end];
    let first_line = input.lines().next().unwrap_or_default();
    let count = |delimiter: &u8| first_line.bytes().filter(|byte| byte == delimiter).count();
    let delimiter = b",;\t|".iter().copied().max_by_key(|delimiter| (count(delimiter), *delimiter == b','));
    let delimiter = delimiter.unwrap_or(b',');
    let mut splice = Splice::new(input.as_bytes());
    let mut columns: Vec<Column<'_>> = Vec::new();
    let unnamed = session.verdict(&Site::new(Kind::Text, b"", *trail));
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut at = 0;
    while at < input.len() {
        let Cell { content, next, ends_row } = cell(input, at, delimiter);
        let value = unquote(&input[content.clone()]);
        let change = if row == 0 {
            let name = value.trim().as_bytes().to_vec();
            let verdict = session.verdict(&Site::new(Kind::Field, &name, *trail));
            let header = Site::new(Kind::Text, b"", *trail);
            let change = session.search(&header, &value, nesting).map_or(Change::None, Change::Text);
            if columns.len() < MAX_COLUMNS {
                let is_hidden = !matches!(change, Change::None);
                columns.push(Column { name, verdict, is_hidden });
            }
            change
        } else {
            let (name, verdict, is_hidden) = match columns.get(column) {
                Some(Column { name, verdict, is_hidden }) => (name.as_slice(), *verdict, *is_hidden),
                None => (&b""[..], unnamed, true),
            };
            let place = trail.name(if is_hidden { b"" } else { name });
            let site = Site::new(Kind::Field, name, place);
            session.treat(verdict, &site, &value, nesting)
        };
        match change {
            Change::None => {}
            Change::Text(new) => splice.replace(content, quote(&new, delimiter).as_bytes()),
            Change::Gone => splice.replace(content, b""),
        }
        (row, column) = if ends_row { (row + 1, 0) } else { (row, column + 1) };
        at = next;
    }
    Ok(splice.finish(end))
}

struct Column<'r> {
    name: Vec<u8>,
    verdict: Verdict<'r>,
    /// Something of the name was replaced: no record may show it.
    is_hidden: bool,
}

struct Cell {
    /// With its quotes.
    content: Range<usize>,
    next: usize,
    ends_row: bool,
}

/// The cell that begins at `start`.
fn cell(input: &str, start: usize, delimiter: u8) -> Cell {
    let bytes = input.as_bytes();
    let mut at = start;
    if bytes[at] == b'"' {
        at += 1;
        while let Some(quote) = memchr::memchr(b'"', &bytes[at..]) {
            at += quote + 1;
            if bytes.get(at) != Some(&b'"') {
                break;
            }
            at += 1;
        }
    }
    let rest = &bytes[at..];
    let length = rest.iter().position(|byte| *byte == delimiter || *byte == b'\n').unwrap_or(rest.len());
    let end = at + length;
    let ends_row = bytes.get(end) != Some(&delimiter);
    let content_end = if ends_row && end > start && bytes[end - 1] == b'\r' { end - 1 } else { end };
    Cell { content: start..content_end, next: (end + 1).min(bytes.len().max(end)), ends_row }
}

fn unquote(cell: &str) -> Cow<'_, str> {
    match cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')) {
        Some(inner) if inner.contains("\"\"") => Cow::Owned(inner.replace("\"\"", "\"")),
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(cell),
    }
}

fn quote(value: &str, delimiter: u8) -> Cow<'_, str> {
    if value.contains([char::from(delimiter), '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", value.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(value)
    }
}

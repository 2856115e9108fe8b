//! Stored exchanges as records.

use std::io::{self, Write};

use memchr::memmem;
use tap_proto::v1;

use super::SEPARATOR;
use crate::{
    fit::{Fit, Unfit},
    http1,
    stored::Times,
};

/// Writes a file that `gor --input-file` reads.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes the request and, where it is whole, the response.
    pub fn write(&mut self, exchange: &v1::Exchange) -> io::Result<Fit> {
        let Some(request) = &exchange.request else { return Ok(Fit::Not(Unfit::NoRequest)) };
        let wire = match http1::request(request) {
            Ok(wire) => wire,
            Err(unfit) => return Ok(Fit::Not(unfit)),
        };
        if !wire.is_whole() {
            return Ok(Fit::Not(Unfit::RequestIncomplete));
        }
        if holds_separator(&wire.bytes) {
            return Ok(Fit::Not(Unfit::Separator));
        }
        let times = Times::of(exchange);
        self.record('1', &exchange.id, times.request, &wire.bytes)?;
        let Some(response) = &exchange.response else { return Ok(Fit::Whole) };
        let wire = match http1::response(response, &request.method) {
            Ok(wire) => wire,
            Err(unfit) => return Ok(Fit::Partly(unfit)),
        };
        if !wire.is_whole() {
            return Ok(Fit::Partly(Unfit::ResponseIncomplete));
        }
        if holds_separator(&wire.bytes) {
            return Ok(Fit::Partly(Unfit::Separator));
        }
        self.record('2', &exchange.id, times.response, &wire.bytes)?;
        Ok(Fit::Whole)
    }

    /// Everything is written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn record(&mut self, kind: char, id: &str, span: tap_flow::Span, message: &[u8]) -> io::Result<()> {
        // Ids end at a space; one that is not ours could hold anything.
        let id: String = id.chars().filter(char::is_ascii_graphic).collect();
        let id = if id.is_empty() { "0" } else { &id };
        write!(self.out, "{kind} {id} {}", span.start)?;
        if span.end != 0 {
            write!(self.out, " {}", span.end.saturating_sub(span.start))?;
        }
        self.out.write_all(b"\n")?;
        self.out.write_all(message)?;
        self.out.write_all(b"\n")?;
        self.out.write_all(SEPARATOR)
    }
}

/// Whether a line of the message is what ends a record.
fn holds_separator(message: &[u8]) -> bool {
    memmem::find_iter(message, SEPARATOR).any(|at| at == 0 || message[at - 1] == b'\n')
        // The message's end is followed by a line feed, which could make it one.
        || message.ends_with(&SEPARATOR[..SEPARATOR.len() - 1])
}

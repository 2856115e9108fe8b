//! Errors of reading: where, and what kind; never what is there.

use std::{fmt, io};

/// Where in a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Line(u64),
    /// Of a HAR.
    Entry(u64),
    /// Of a GoReplay file.
    Record(u64),
    Packet(u64),
}

/// Why a file can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{place}: read: {error}")]
    Read { place: Place, error: io::Error },
    #[error("{place}: {problem}")]
    Malformed { place: Place, problem: &'static str },
    #[error("{place}: longer than {limit} bytes")]
    TooLong { place: Place, limit: usize },
    /// Whoever takes the exchanges wants no more.
    #[error("stopped")]
    Stopped,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Entry(entry) => write!(f, "entry {entry}"),
            Self::Record(record) => write!(f, "record {record}"),
            Self::Packet(packet) => write!(f, "packet {packet}"),
        }
    }
}

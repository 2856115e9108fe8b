//! Protobuf's JSON, as `tapctl search -o jsonl` and `-o json` print it: everything that is stored of an exchange.
//!
//! Objects are read one by one, so that the file may be of any length. One object has at most
//! [`MAX_OBJECT_BYTES`]. Errors say where, and nothing of what is there: it was captured.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use tap_proto::v1::Exchange;

use crate::{
    protobuf_json::{self, NoDescriptor},
    terminal,
};

/// An exchange with the largest bodies that an agent keeps is far below.
const MAX_OBJECT_BYTES: usize = 64 * 1024 * 1024;
/// How the document of `-o json` begins, without white space.
const DOCUMENT: &[u8] = br#"{"exchanges":["#;

/// The exchanges of a file, in its order.
pub struct Captures {
    input: Box<dyn BufRead + Send>,
    /// Of the byte that comes next, from 1.
    line: u64,
    /// Within the list of a document.
    in_document: bool,
    failed: bool,
}

/// Why a file could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum CaptureFileError {
    #[error("line {line}: read: {error}")]
    Read { line: u64, error: io::Error },
    #[error("line {line}: no JSON object begins there")]
    NoObject { line: u64 },
    #[error("line {line}: the object that begins there has no end")]
    Unfinished { line: u64 },
    #[error("line {line}: the object that begins there is longer than {MAX_OBJECT_BYTES} bytes")]
    TooLong { line: u64 },
    #[error("line {line}: the object that begins there is no exchange in protobuf's JSON")]
    NoExchange { line: u64 },
}

/// Where in an object the reader is.
#[derive(Default)]
struct Nesting {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Captures {
    /// Opens `path`, or standard input where it is `-`.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::new(BufReader::new(io::stdin())));
        }
        Ok(Self::new(BufReader::with_capacity(256 * 1024, File::open(path)?)))
    }

    pub fn new(input: impl BufRead + Send + 'static) -> Self {
        Self { input: Box::new(input), line: 1, in_document: false, failed: false }
    }

    /// Of the byte that comes next, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The text of the next object, with the line where it begins; `None` at the end.
    fn object(&mut self) -> Result<Option<(u64, Vec<u8>)>, CaptureFileError> {
        let mut object = Vec::new();
        let mut begins = self.line;
        let mut nesting = Nesting::default();
        loop {
            let available =
                self.input.fill_buf().map_err(|error| CaptureFileError::Read { line: self.line, error })?;
            if available.is_empty() {
                return match (object.is_empty(), self.in_document) {
                    (true, false) => Ok(None),
                    _ => Err(CaptureFileError::Unfinished { line: begins }),
                };
            }
            let mut used = 0;
            let mut complete = false;
            for &byte in available {
                used += 1;
                self.line += u64::from(byte == b'\n');
                if object.is_empty() {
                    match byte {
                        b'{' => begins = self.line,
                        // Between objects; the end of a document's list, and of the document.
                        b' ' | b'\t' | b'\r' | b'\n' => continue,
                        b',' if self.in_document => continue,
                        b']' if self.in_document => {
                            self.in_document = false;
                            continue;
                        }
                        b'}' if !self.in_document => continue,
                        _ => return Err(CaptureFileError::NoObject { line: self.line }),
                    }
                }
                object.push(byte);
                complete = nesting.ends_with(byte);
                if complete {
                    break;
                }
                if byte == b'[' && nesting.depth == 2 && is_document(&object) {
                    self.in_document = true;
                    object.clear();
                    nesting = Nesting::default();
                }
            }
            self.input.consume(used);
            if complete {
                return Ok(Some((begins, object)));
            }
            if object.len() > MAX_OBJECT_BYTES {
                return Err(CaptureFileError::TooLong { line: begins });
            }
        }
    }
}

/// One exchange, as a line. Nothing in it can harm a terminal.
pub fn line(exchange: &Exchange) -> Result<String, NoDescriptor> {
    let json = serde_json::to_string(&protobuf_json::serializable(exchange)?);
    // It fails for a map whose keys are no strings alone, and there is none.
    Ok(terminal::json(&json.unwrap_or_default()) + "\n")
}

impl fmt::Debug for Captures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Captures").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Iterator for Captures {
    type Item = Result<Exchange, CaptureFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let exchange = match self.object() {
            Ok(None) => return None,
            Ok(Some((line, object))) => {
                protobuf_json::parse::<Exchange>(&object).ok_or(CaptureFileError::NoExchange { line })
            }
            Err(error) => Err(error),
        };
        self.failed = exchange.is_err();
        Some(exchange)
    }
}

impl Nesting {
    /// Takes one byte of an object; whether it is the object's last.
    fn ends_with(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0
    }
}

fn is_document(object: &[u8]) -> bool {
    // Its beginning is short, however much white space a person put there.
    object.len() < 1_024 && object.iter().filter(|byte| !byte.is_ascii_whitespace()).eq(DOCUMENT.iter())
}

#[cfg(test)]
mod tests {
    use tap_proto::v1::{Body, Request, body::Content};

    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        // A small buffer: every cut is met.
        let input = BufReader::with_capacity(3, io::Cursor::new(text.to_owned()));
        Captures::new(input)
            .map(|exchange| exchange.map(|exchange| exchange.id).map_err(|error| error.to_string()))
            .collect()
    }

    #[test]
    fn lines_documents_and_anything_between_are_read() {
        let ids = Ok(vec!["a".to_owned(), "}\\\"{".to_owned()]);
        assert_eq!(read("{\"id\":\"a\"}\n{\"id\":\"}\\\\\\\"{\"}\n"), ids);
        assert_eq!(read("{\n \"id\": \"a\"\n}{\"id\":\"}\\\\\\\"{\"}"), ids);
        assert_eq!(read("{ \"exchanges\" : [\n{\"id\":\"a\"},\n{\"id\":\"}\\\\\\\"{\"}\n]\n}\n"), ids);
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("\n\n"), Ok(vec![]));
        assert_eq!(read("{\"exchanges\":[]}"), Ok(vec![]));
        assert_eq!(read("{}"), Ok(vec![String::new()]));
    }

    #[test]
    fn an_error_says_where_and_nothing_of_what_is_there() {
        let error = |text: &str| read(text).unwrap_err();
        assert!(error("{}\nx").starts_with("line 2: no JSON object"));
        assert!(error("{}\n\n{\"id\":\n").starts_with("line 3: the object that begins there has no end"));
        assert!(error("{\"exchanges\":[{}").contains("no end"));
        let wrong_type = error("{\"id\":{\"token\":\"s3cret\"}}");
        assert!(wrong_type.contains("no exchange") && !wrong_type.contains("s3cret"), "{wrong_type}");
        assert!(error("{\"id\":}").contains("no exchange"));
    }

    #[test]
    fn nothing_is_read_after_an_error() {
        let mut captures = Captures::new(io::Cursor::new("x {}"));
        assert!(captures.next().unwrap().is_err());
        assert!(captures.next().is_none());
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let exchange = Exchange {
            id: "x".into(),
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            wire_bytes: u64::MAX,
            request: Some(Request {
                body: Some(Body {
                    content: Some(Content::Binary(vec![0xff, 0].into())),
                    size: 2,
                    ..Body::default()
                }),
                ..Request::default()
            }),
            ..Exchange::default()
        };
        let printed = line(&exchange).unwrap();
        let read: Vec<Exchange> = Captures::new(io::Cursor::new(printed)).map(Result::unwrap).collect();
        assert_eq!(read, std::slice::from_ref(&exchange));
    }

    #[test]
    fn unknown_fields_of_a_later_version_are_skipped() {
        assert_eq!(read("{\"id\":\"a\",\"fromTheFuture\":{\"x\":[1]}}"), Ok(vec!["a".into()]));
    }
}

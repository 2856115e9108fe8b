//! Reports for a log that others may read.
//!
//! A report quotes captures and answers of the target, and what pods print is gathered where many can read it. So a
//! replay whose report goes through its log prints it compressed and encrypted, with a key of whoever started it, and
//! cut into lines that no runtime breaks up.
//!
//! Layout: `podtap-report I/N TEXT`, I from 1 to N. All texts joined are base64 of nonce (12 bytes), ciphertext and tag
//! (ChaCha20-Poly1305); the plain text is a `tap.v1.Replay` in protobuf, through zlib. A report that breaks off, or of which
//! anything was changed, is not opened.

use std::{
    fmt,
    io::{Read as _, Write as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use prost::Message as _;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use tap_proto::v1::{Replay, ReplayReport};

/// At the beginning of each line.
const PREFIX: &str = "podtap-report ";
/// Of one line: container runtimes break lines up at 16 KiB.
const LINE: usize = 8 * 1024;
/// Of a sealed report: kubelets keep 10 MiB of a log.
const MAX_SEALED: usize = 8 * 1024 * 1024;
/// Of a report that was opened: what is kept of a report in a file, too.
const MAX_OPENED: u64 = 64 * 1024 * 1024;
const KEY_LENGTH: usize = 32;
/// Ties a text to this layout.
const CONTEXT: &[u8] = b"podtap replay report 1";

/// Who has it reads the reports. Made for one run.
#[derive(Clone)]
pub struct SealKey([u8; KEY_LENGTH]);

/// A sealed report under way, line by line; other lines are none of its business.
#[derive(Debug, Default)]
pub struct SealedLines {
    text: String,
    seen: usize,
    of: usize,
}

/// Why a report can't be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("not a key of sealed reports: it has 64 hexadecimal digits")]
    Key,
    #[error("this machine gives no random numbers")]
    Random,
    #[error("the report can't be encrypted")]
    Encrypt,
    #[error("there is no report")]
    Missing,
    #[error("the report breaks off")]
    Incomplete,
    #[error("the report was sealed with another key, or changed on its way")]
    Foreign,
    #[error("the report can't be read")]
    Unreadable,
}

impl SealKey {
    pub fn generate() -> Result<Self, SealError> {
        let mut key = [0; KEY_LENGTH];
        SystemRandom::new().fill(&mut key).map_err(|_| SealError::Random)?;
        Ok(Self(key))
    }

    /// Reads what [`SealKey::to_text`] gave; white space around it does not count.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let digits = text.trim().as_bytes();
        let mut key = [0; KEY_LENGTH];
        if digits.len() != 2 * KEY_LENGTH {
            return Err(SealError::Key);
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(SealError::Key);
            };
            *byte = (high << 4) | low;
        }
        Ok(Self(key))
    }

    pub fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The lines of a replay that has ended. One that is too long loses its examples, then its endpoints, and says so.
    pub fn seal(&self, mut replay: Replay) -> Result<Vec<String>, SealError> {
        let mut text = self.encrypt(&replay)?;
        for shorten in [without_examples, without_endpoints] {
            if text.len() <= MAX_SEALED {
                break;
            }
            if let Some(report) = &mut replay.report {
                shorten(report);
            }
            text = self.encrypt(&replay)?;
        }
        let count = text.len().div_ceil(LINE);
        // Base64 is ASCII: every position is between characters.
        let parts = (0..count).map(|part| &text[part * LINE..text.len().min((part + 1) * LINE)]);
        Ok(parts.enumerate().map(|(index, part)| format!("{PREFIX}{}/{count} {part}", index + 1)).collect())
    }

    pub fn open(&self, lines: &SealedLines) -> Result<Replay, SealError> {
        match lines {
            SealedLines { of: 0, .. } => return Err(SealError::Missing),
            SealedLines { seen, of, .. } if seen < of => return Err(SealError::Incomplete),
            SealedLines { .. } => {}
        }
        let mut sealed = STANDARD_NO_PAD.decode(&lines.text).map_err(|_| SealError::Unreadable)?;
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Unreadable)?;
        let plain =
            self.cipher()?.open_in_place(nonce, Aad::from(CONTEXT), text).map_err(|_| SealError::Foreign)?;
        let mut encoded = Vec::new();
        let mut decoder = ZlibDecoder::new(&*plain).take(MAX_OPENED);
        decoder.read_to_end(&mut encoded).map_err(|_| SealError::Unreadable)?;
        Replay::decode(&*encoded).map_err(|_| SealError::Unreadable)
    }

    fn encrypt(&self, replay: &Replay) -> Result<String, SealError> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&replay.encode_to_vec()).map_err(|_| SealError::Encrypt)?;
        let mut text = encoder.finish().map_err(|_| SealError::Encrypt)?;
        // A key seals as many reports as there are shards: random nonces do not meet.
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Random)?;
        self.cipher()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(CONTEXT), &mut text)
            .map_err(|_| SealError::Encrypt)?;
        Ok(STANDARD_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.0).map(LessSafeKey::new).map_err(|_| SealError::Encrypt)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealKey")
    }
}

impl SealedLines {
    /// Takes a line of a log; whether it was part of a report. A report that begins anew replaces what was there.
    pub fn push(&mut self, line: &str) -> bool {
        let Some((index, of, text)) = line.strip_prefix(PREFIX).and_then(part) else {
            return false;
        };
        if index == 1 {
            *self = Self { text: String::new(), seen: 0, of };
        }
        // What does not go on where the last line ended is not whole, and is not opened.
        if of == self.of && index == self.seen + 1 && self.text.len() + text.len() <= MAX_SEALED {
            self.text += text;
            self.seen = index;
        }
        true
    }

    pub fn is_complete(&self) -> bool {
        self.of > 0 && self.seen == self.of
    }
}

/// `I/N TEXT`.
fn part(line: &str) -> Option<(usize, usize, &str)> {
    let (position, text) = line.split_once(' ')?;
    let (index, of) = position.split_once('/')?;
    let (index, of) = (index.parse().ok()?, of.parse().ok()?);
    let possible = (1..=of).contains(&index) && of <= MAX_SEALED / LINE + 1;
    possible.then(|| (index, of, text.trim_end()))
}

fn without_examples(report: &mut ReplayReport) {
    let fields = report.endpoints.iter_mut().flat_map(|endpoint| &mut endpoint.fields);
    fields.for_each(|field| field.examples.clear());
    report.warnings.push("the report of a shard was too long: it comes without examples".to_owned());
}

fn without_endpoints(report: &mut ReplayReport) {
    report.endpoints.clear();
    report.warnings.push("the report of a shard was too long: it comes without its endpoints".to_owned());
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, distr::Alphanumeric};
    use rand_chacha::ChaCha8Rng;
    use tap_proto::v1::{DifferenceExample, EndpointComparison, FieldDifference};

    use super::*;

    fn replay(endpoints: usize, example: usize) -> Replay {
        // What compresses badly, as the worst report does.
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut text = |length: usize| -> String {
            (&mut random).sample_iter(Alphanumeric).take(length).map(char::from).collect()
        };
        let endpoints = (0..endpoints)
            .map(|index| EndpointComparison {
                path: format!("/{index}"),
                fields: vec![FieldDifference {
                    field: text(16),
                    examples: vec![DifferenceExample {
                        expected: text(example),
                        ..DifferenceExample::default()
                    }],
                    ..FieldDifference::default()
                }],
                ..EndpointComparison::default()
            })
            .collect();
        let report = ReplayReport { sent: 7, answered: 7, endpoints, ..ReplayReport::default() };
        Replay { id: "x".to_owned(), report: Some(report), ..Replay::default() }
    }

    fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> SealedLines {
        let mut sealed = SealedLines::default();
        for line in lines {
            sealed.push(line);
        }
        sealed
    }

    #[test]
    fn a_report_comes_through_a_log_between_other_lines() {
        let key = SealKey::generate().unwrap();
        let key = SealKey::parse(&format!(" {}\n", key.to_text())).unwrap();
        let sent = replay(40, 2_000);
        let lines = key.seal(sent.clone()).unwrap();
        assert!(lines.len() > 3, "{}", lines.len());
        assert!(lines.iter().all(|line| line.len() < 16 * 1024));

        let mut log: Vec<&str> = lines.iter().map(String::as_str).collect();
        log.insert(2, "warning: something else");
        assert_eq!(key.open(&read(log.iter().copied())), Ok(sent.clone()));
        // As it is where a log is read from its beginning a second time.
        let again = log[..3].iter().chain(&log).copied();
        assert_eq!(key.open(&read(again)), Ok(sent));
    }

    #[test]
    fn what_is_not_whole_or_not_ours_is_not_opened() {
        let key = SealKey::generate().unwrap();
        let lines = key.seal(replay(40, 2_000)).unwrap();
        let open = |lines: &[String]| key.open(&read(lines.iter().map(String::as_str)));
        assert_eq!(open(&[]), Err(SealError::Missing));
        assert_eq!(open(&lines[..lines.len() - 1]), Err(SealError::Incomplete));
        assert_eq!(open(&lines[1..]), Err(SealError::Missing));
        let mut swapped = lines.clone();
        swapped.remove(1);
        assert_eq!(open(&swapped), Err(SealError::Incomplete));
        let mut changed = lines.clone();
        changed[0] = changed[0].replace('A', "B");
        assert_eq!(open(&changed), Err(SealError::Foreign));
        let other = SealKey::generate().unwrap();
        assert_eq!(other.open(&read(lines.iter().map(String::as_str))), Err(SealError::Foreign));
        for line in [
            "podtap-report 1/99999999999 AAAA",
            "podtap-report 0/1 A",
            "podtap-report 2/1 A",
            "podtap-report x",
        ] {
            assert!(!SealedLines::default().push(line), "{line}");
        }
        assert_eq!(open(&["podtap-report 1/1 AAAA".to_owned()]), Err(SealError::Unreadable));
        assert_eq!(open(&["podtap-report 1/1 !".to_owned()]), Err(SealError::Unreadable));
        for wrong in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(SealKey::parse(wrong).err(), Some(SealError::Key), "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "SealKey");
    }

    #[test]
    fn a_report_that_is_too_long_comes_without_its_examples_and_says_so() {
        let key = SealKey::generate().unwrap();
        let lines = key.seal(replay(500, 20_000)).unwrap();
        assert!(lines.iter().map(String::len).sum::<usize>() < MAX_SEALED);
        let report = key.open(&read(lines.iter().map(String::as_str))).unwrap().report.unwrap();
        assert_eq!((report.sent, report.endpoints.len()), (7, 500));
        assert!(report.endpoints.iter().all(|endpoint| endpoint.fields[0].examples.is_empty()));
        assert!(report.warnings[0].contains("without examples"), "{:?}", report.warnings);
    }
}

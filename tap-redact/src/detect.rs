//! Detectors: values that give themselves away by what they are, whatever the field is called.
//!
//! A detector is a named unit with a validation of its own (a check digit, a range, a grammar), so that a match is
//! more than a pattern; where digits alone are ambiguous it also wants a [context](context) word, in the field's
//! name or just before the value. `docs/detectors.md` describes each, `vectors/` has what each finds and leaves.
//!
//! A text is looked at in one pass that only sorts its bytes into classes; most texts end there, and most others at the
//! [prefilter]. What is left goes through an automaton for literal beginnings (`AKIA`, `eyJ`, …) and a walk over its words. Each word is tried
//! against a bounded number of grammars of bounded length, so that time is linear in the text, whatever it is;
//! nothing is allocated before something is found.

mod api_key;
mod card;
mod catalogue;
pub(crate) mod check_digits;
mod context;
mod digits;
mod email;
mod geo;
mod iban;
mod ip;
mod jwt;
mod literals;
mod national_id;
mod phone;
mod prefilter;
mod private_key;
mod secret;
mod text;
mod time;
mod words;

use std::ops::Range;

pub(crate) use card::{brand_of, is_card, is_token as is_card_token};
pub use catalogue::{Country, Detector, DetectorSet, Vendor};
pub(crate) use email::TOKEN_DOMAIN;
pub(crate) use iban::{is_iban, is_token as is_iban_token};
pub(crate) use ip::{MAC_TOKEN, MacStyle, mac_style};
pub(crate) use jwt::is_jwt;
pub(crate) use national_id::{has_form as has_national_form, is_valid as is_national_id};
pub(crate) use phone::{MIN_DIGITS as MIN_PHONE_DIGITS, country_code_length, is_north_american};
pub(crate) use text::Text;

use crate::signs::{self, Signs};
use context::Context;
use literals::Literals;

/// Texts shorter than this hold nothing that a literal beginning announces.
const MIN_LITERAL_TEXT: usize = 16;

/// The name of the field, parameter, header… that holds a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldName<'n>(pub(crate) &'n [u8]);

/// What was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) range: Range<usize>,
    pub(crate) detector: Detector,
}

/// The detectors that are on.
#[derive(Debug)]
pub(crate) struct Detectors {
    enabled: DetectorSet,
    literals: Literals,
}

impl Detectors {
    pub(crate) fn new(enabled: &DetectorSet) -> Self {
        Self { enabled: *enabled, literals: Literals::new() }
    }

    /// Finds what must not pass in a text, as it reads: without the escapes of JSON, forms or markup. Findings do not
    /// overlap and come in order; of two that would overlap, the one that begins first wins, then the longer one.
    pub(crate) fn find(&self, text: &str, field: Option<FieldName<'_>>, each: &mut dyn FnMut(Finding)) {
        self.find_in(Survey::UNKNOWN, text, field, each);
    }

    /// As [`Self::find`], of a text of which something is known.
    pub(crate) fn find_in(
        &self,
        survey: Survey,
        text: &str,
        field: Option<FieldName<'_>>,
        each: &mut dyn FnMut(Finding),
    ) {
        let signs = Signs::of(text.as_bytes());
        let context = Context::new(field);
        let words = prefilter::may_hold_words(text.as_bytes(), signs, || context.announces());
        let text = Text::new(text, context);
        let mut found = Found { enabled: self.enabled, findings: Vec::new() };
        if survey.literals && text.len() >= MIN_LITERAL_TEXT {
            self.literals.find(&text, &mut found);
        }
        if signs.has(signs::AT) {
            email::find(&text, &mut found);
        }
        if words {
            words::find(&text, &mut found);
        }
        found.report(each);
    }

    /// Whether a text may hold a secret by how it begins.
    pub(crate) fn has_literal(&self, text: &[u8]) -> bool {
        text.len() >= MIN_LITERAL_TEXT && self.literals.next(text, 0).is_some()
    }

    /// Where in a body, from there on, the next text is that is a secret by how it begins, perhaps.
    pub(crate) fn next_literal(&self, body: &[u8], from: usize) -> Option<usize> {
        self.literals.next(body, from)
    }

    /// Whether anything may be found in a text that has these signs and no literal beginning in it. `is_announced`:
    /// what [`is_announced`] says of its field.
    pub(crate) fn may_find(text: &[u8], signs: Signs, is_announced: impl Fn() -> bool) -> bool {
        signs.has(signs::AT) || prefilter::may_hold_words(text, signs, is_announced)
    }

    /// Whether no detector can find anything in these bytes, whatever the field is called. No allocation.
    pub(crate) fn is_clean(&self, bytes: &[u8]) -> bool {
        !Self::may_find(bytes, Signs::of(bytes), || true) && !self.has_literal(bytes)
    }
}

/// Whether the name of a field says what a value in it may be, which by itself could be anything.
pub(crate) fn is_announced(field: &[u8]) -> bool {
    Context::new(Some(FieldName(field))).announces()
}

/// Whether a text is a date, with a time or without: it is something only in a field whose name says so.
pub(crate) fn is_time(text: &[u8]) -> bool {
    prefilter::is_time(text)
}

/// Whether anything may be found in the literal of a JSON number. `is_announced`: what [`is_announced`] says of its field.
pub(crate) fn may_be_number(literal: &[u8], is_announced: impl Fn() -> bool) -> bool {
    prefilter::may_be_number(literal, is_announced)
}

/// What is known of a text before it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey {
    /// Something that announces a secret by its beginning may be there.
    pub(crate) literals: bool,
}

impl Survey {
    /// Anything may be there.
    pub(crate) const UNKNOWN: Self = Self { literals: true };
}

/// Collects findings.
struct Found {
    enabled: DetectorSet,
    findings: Vec<Finding>,
}

impl Found {
    fn wants(&self, detector: Detector) -> bool {
        self.enabled.contains(detector)
    }

    /// Notes a finding of a detector that is on; whether it was noted.
    fn push(&mut self, detector: Detector, range: Range<usize>) -> bool {
        let wanted = self.wants(detector);
        if wanted {
            self.findings.push(Finding { range, detector });
        }
        wanted
    }

    fn report(mut self, each: &mut dyn FnMut(Finding)) {
        // An address is not seen where the user of a URL and its host look like one.
        let is_user = |finding: &Finding| finding.detector == Detector::UrlCredentials;
        self.findings
            .sort_by_key(|finding| (finding.range.start, !is_user(finding), usize::MAX - finding.range.end));
        let mut end = 0;
        let mut after_user = false;
        for mut finding in self.findings {
            if finding.range.end <= end
                || (after_user && finding.range.start < end && finding.detector == Detector::Email)
            {
                continue;
            }
            // What reaches beyond the one before it is found from there on.
            finding.range.start = finding.range.start.max(end);
            end = finding.range.end;
            after_user = is_user(&finding);
            each(finding);
        }
    }
}

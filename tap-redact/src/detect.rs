//! Detectors: values that give themselves away by what they are, whatever the field is called.
//!
//! A detector is a named unit with a validation of its own (a check digit, a range, a grammar), so that a match is
//! more than a pattern; where digits alone are ambiguous it also wants a [context](context) word, in the field's
//! name or just before the value. `docs/detectors.md` describes each, `vectors/` has what each finds and leaves.
//!
//! A text is looked at in one pass that only sorts its bytes into classes; most texts end there. What is left
//! goes through an automaton for literal beginnings (`AKIA`, `eyJ`, …) and a walk over its words. Each word is tried
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
pub(crate) use phone::{country_code_length, is_north_american};
use text::Classes;
pub(crate) use text::Text;

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

    /// As [`Self::find`], of a text that stands, as it reads, in what was surveyed.
    pub(crate) fn find_in(
        &self,
        survey: Survey,
        text: &str,
        field: Option<FieldName<'_>>,
        each: &mut dyn FnMut(Finding),
    ) {
        let classes = Classes::of(text.as_bytes());
        if !classes.may_hold_something(text.len()) {
            return;
        }
        let text = Text::new(text, Context::new(field));
        let mut found = Found { enabled: self.enabled, findings: Vec::new() };
        if survey.literals && text.len() >= MIN_LITERAL_TEXT {
            self.literals.find(&text, &mut found);
        }
        if classes.at() {
            email::find(&text, &mut found);
        }
        if classes.words(text.len()) {
            words::find(&text, &mut found);
        }
        found.report(each);
    }

    /// Looks at a whole body once, for what need not be looked for in each of its texts.
    pub(crate) fn survey(&self, bytes: &[u8]) -> Survey {
        Survey { literals: self.literals.any(bytes) }
    }

    /// Whether anything may be found in a text that stands, as it reads, in what was surveyed. One pass.
    pub(crate) fn may_find(survey: Survey, text: &str) -> bool {
        let classes = Classes::of(text.as_bytes());
        (survey.literals && text.len() >= MIN_LITERAL_TEXT) || classes.at() || classes.words(text.len())
    }

    /// Whether no detector can find anything in these bytes. One pass, no allocation; they may be a whole body, as
    /// long as what it spells in another way (escapes, base64) is looked at on its own.
    pub(crate) fn is_clean(&self, bytes: &[u8]) -> bool {
        let classes = Classes::of(bytes);
        let clean_words =
            !classes.may_hold_something(bytes.len()) || (!classes.at() && !classes.words(bytes.len()));
        clean_words && (bytes.len() < MIN_LITERAL_TEXT || !self.literals.any(bytes))
    }
}

/// What is known of all texts of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey {
    /// Something that announces a secret by its beginning may be there.
    literals: bool,
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

//! Answers against recorded responses, as they stream in.
//!
//! Compared are the status, header fields and the body. While the answer's bytes are the recorded ones nothing
//! is kept and nothing parsed; an answer that is equal costs no allocation. Only where bytes differ is the
//! answer kept, up to [`MAX_BODY_BYTES`], and compared by its type when it has ended: JSON by members and
//! elements, forms by parameters, text by lines, all else by digest. What all answers differ in is counted by
//! endpoint and field ([`findings`]), and what of it is noise is told at the end ([`noise`]).
//!
//! What was recorded incompletely or dropped can't be compared, nor what redaction replaced; the report counts
//! it as such, so that "matched" never stands for "not looked at".
//!
//! docs/comparison.md says what is compared how.

mod array;
mod body;
mod difference;
mod document;
mod dynamic;
mod expected;
mod findings;
mod headers;
mod json;
mod noise;
mod pattern;
mod redacted;
mod settings;
#[cfg(test)]
mod tests;
mod text;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tap_expr::endpoint::{OTHER, Templates};
use tap_proto::v1::{Exchange, ReplayReport};

pub use difference::{Difference, Kind};
pub use dynamic::Class;
pub(crate) use expected::{Comparison, Expected, Verdict};
use findings::{Baseline, Findings};
use settings::Rules;
pub use settings::{Settings, SettingsError};

pub(crate) const RESPONSE_MISSING: &str = "response_missing";
const BODY_INCOMPLETE: &str = "body_incomplete";
const BODY_DROPPED: &str = "body_dropped";
const BODY_REDACTED: &str = "body_redacted";
const BODY_ENCODED: &str = "body_encoded";

const STATUS: &str = "status";
const CONTENT_TYPE: &str = "header.content-type";
/// Any other header field; a final report names them.
const OTHER_HEADER: &str = "header";
const BODY: &str = "body";

/// Longest body that is looked into. Longer ones that are not equal differ, and that is all that is said.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Kept of all answers in flight. Beyond, an answer that differs is not looked into.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// Compares the answers of one replay.
#[derive(Debug)]
pub struct Comparator {
    rules: Rules,
    baseline: Option<Baseline>,
    templates: Mutex<Templates>,
    findings: Mutex<Findings>,
    kept: AtomicUsize,
}

impl Comparator {
    /// By these settings; all mistakes are reported together.
    pub fn new(settings: &Settings) -> Result<Self, Vec<SettingsError>> {
        let rules = settings.rules()?;
        let mut templates = Templates::new();
        rules.endpoints.iter().for_each(|template| templates.add(template));
        Ok(Self {
            rules,
            baseline: None,
            templates: Mutex::new(templates),
            findings: Mutex::default(),
            kept: AtomicUsize::new(0),
        })
    }

    /// From a YAML document.
    pub fn parse(yaml: &str) -> Result<Self, Vec<SettingsError>> {
        Self::new(&Settings::parse(yaml).map_err(|error| vec![error])?)
    }

    /// One with the same settings, which takes the differences of `report`, of a replay at an unchanged server,
    /// as noise.
    #[must_use]
    pub fn with_noise_from(&self, report: &ReplayReport) -> Self {
        let baseline = Baseline::of(report);
        let mut templates = Templates::new();
        self.rules
            .endpoints
            .iter()
            .map(String::as_str)
            .chain(baseline.paths())
            .for_each(|path| templates.add(path));
        Self {
            rules: self.rules.clone(),
            baseline: Some(baseline),
            templates: Mutex::new(templates),
            findings: Mutex::default(),
            kept: AtomicUsize::new(0),
        }
    }

    /// What the answer to `exchange` should be.
    pub(crate) fn expect(self: &Arc<Self>, exchange: &Arc<Exchange>) -> Expected {
        let path = exchange.request.as_ref().map(|request| request.path.as_str());
        let endpoint = path.map_or(OTHER, |path| lock(&self.templates).learn(path));
        Expected::new(Arc::clone(self), Arc::clone(exchange), endpoint)
    }

    /// Writes what was found into a report that is final.
    pub fn fill(&self, report: &mut ReplayReport) {
        let templates = lock(&self.templates).clone();
        let Rules { noise, classes, .. } = &self.rules;
        lock(&self.findings).fill(&templates, *noise, *classes, self.baseline.as_ref(), report);
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        lock(&self.findings)
    }

    /// Takes `bytes` of what may be kept.
    fn keep(&self, bytes: usize) -> bool {
        let taken = self.kept.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_KEPT_BYTES;
        if !taken {
            self.forget(bytes);
        }
        taken
    }

    fn forget(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for Comparator {
    fn default() -> Self {
        Self::new(&Settings::default()).expect("the default settings are valid")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

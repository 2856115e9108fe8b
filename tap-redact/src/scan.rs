//! Detectors over a text by itself: what they would find in it, without redacting anything.

use std::ops::Range;

use crate::detect::{Detector, DetectorSet, Detectors, FieldName};

/// Looks for what detectors find.
#[derive(Debug)]
pub struct Scan(Detectors);

/// What a detector found, and where in the text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub detector: Detector,
    pub range: Range<usize>,
}

impl Scan {
    /// With these detectors.
    pub fn new(detectors: DetectorSet) -> Self {
        Self(Detectors::new(&detectors))
    }

    /// What is found in a text, in the field of this name if it is in one; in order, without overlaps.
    pub fn find(&self, text: &str, field: Option<&str>) -> Vec<Match> {
        let mut matches = Vec::new();
        let field = field.map(|name| FieldName(name.as_bytes()));
        self.0.find(text, field, &mut |found| {
            matches.push(Match { detector: found.detector, range: found.range });
        });
        matches
    }

    /// Whether nothing can be found in these bytes, by a pass over them that does not look closer.
    pub fn is_clean(&self, bytes: &[u8]) -> bool {
        self.0.is_clean(bytes)
    }
}

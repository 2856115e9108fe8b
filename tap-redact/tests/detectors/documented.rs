//! docs/detectors.md and what there is are the same.

use std::collections::BTreeSet;

use tap_redact::Detector;

#[test]
fn every_detector_is_documented_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/detectors.md");
    let text = std::fs::read_to_string(path).unwrap();
    let quoted: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    for detector in Detector::all() {
        assert!(quoted.contains(detector.name()), "{detector} is not documented");
        assert_eq!(Detector::from_name(detector.name()), Some(detector));
    }
    let families =
        quoted.iter().filter(|name| name.starts_with("national_id.") || name.starts_with("api_key."));
    for name in families.filter(|name| !name.contains(['*', '<'])) {
        assert!(Detector::from_name(name).is_some(), "there is no {name}");
    }
}

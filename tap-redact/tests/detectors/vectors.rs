//! Every detector finds what its vectors say, wherever it stands in a text, and leaves the rest.

use std::{collections::BTreeSet, fs, path::Path};

use serde::Deserialize;
use tap_redact::{Detector, DetectorSet, Scan};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    detector: String,
    #[serde(default)]
    find: Vec<Positive>,
    #[serde(default)]
    leave: Vec<Negative>,
}

/// A text in which the detector finds `found`, or all of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Positive {
    text: String,
    found: Option<String>,
    field: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Negative {
    text: String,
    field: Option<String>,
}

fn vectors() -> Vec<Vectors> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let vectors = Vectors::deserialize(document);
            all.push(vectors.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    all
}

/// What the detector finds in a text.
fn found(scan: &Scan, detector: &str, text: &str, field: Option<&str>) -> Vec<String> {
    let matches = scan.find(text, field);
    matches.into_iter().filter(|m| m.detector.name() == detector).map(|m| text[m.range].to_owned()).collect()
}

#[test]
fn what_is_to_be_found_is_found_and_nothing_else_of_it() {
    let scan = Scan::new(DetectorSet::all());
    let mut wrong = Vec::new();
    for Vectors { detector, find, leave } in vectors() {
        assert!(Detector::from_name(&detector).is_some(), "{detector} is no detector");
        for Positive { text, found: expected, field } in find {
            let expected = expected.as_ref().unwrap_or(&text);
            let found = found(&scan, &detector, &text, field.as_deref());
            if found != [expected.as_str()] {
                wrong.push(format!("{detector}: in {text:?}: {found:?}"));
            }
            if scan.is_clean(text.as_bytes()) {
                wrong.push(format!("{detector}: the prefilter passes {text:?}"));
            }
        }
        for Negative { text, field } in leave {
            let found = found(&scan, &detector, &text, field.as_deref());
            if !found.is_empty() {
                wrong.push(format!("{detector}: in {text:?}, wrongly: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn where_it_stands_in_a_text_does_not_matter() {
    let scan = Scan::new(DetectorSet::all());
    let mut wrong = Vec::new();
    for Vectors { detector, find, .. } in vectors() {
        for Positive { text, found: expected, field } in find {
            let expected = expected.as_ref().unwrap_or(&text);
            for (before, after) in [
                ("", ""),
                ("{\"x\": \"", "\"}"),
                ("<b>", "</b>"),
                ("see ", ", please"),
                ("x\n", "\n"),
                ("é: ", " é"),
                ("(", ")"),
            ] {
                let text = format!("{before}{text}{after}");
                let found = found(&scan, &detector, &text, field.as_deref());
                if !found.iter().any(|found| found.contains(expected)) {
                    wrong.push(format!("{detector}: in {text:?}: {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_detector_has_vectors_of_both_kinds() {
    // These look at the field's name alone.
    const BY_NAME: &[&str] = &["person_name", "postal_address", "credential", "identifier"];
    let vectors = vectors();
    let names: BTreeSet<&str> =
        Detector::all().map(Detector::name).filter(|name| !BY_NAME.contains(name)).collect();
    let with = |kind: fn(&Vectors) -> bool| -> BTreeSet<&str> {
        vectors.iter().filter(|vectors| kind(vectors)).map(|vectors| vectors.detector.as_str()).collect()
    };
    let (find, leave) = (with(|vectors| !vectors.find.is_empty()), with(|vectors| !vectors.leave.is_empty()));
    assert_eq!(names.difference(&find).collect::<Vec<_>>(), Vec::<&&str>::new(), "nothing to find");
    assert_eq!(names.difference(&leave).collect::<Vec<_>>(), Vec::<&&str>::new(), "nothing to leave");
}

/// Every value to be found, with its detector and the field that it is in.
pub(crate) fn positives() -> Vec<(Detector, String, Option<String>)> {
    let all = vectors().into_iter().flat_map(|vectors| {
        let detector = Detector::from_name(&vectors.detector).unwrap();
        vectors.find.into_iter().map(move |positive| {
            let Positive { text, found, field } = positive;
            (detector, found.unwrap_or(text), field)
        })
    });
    all.collect()
}

//! False positives: what is found in realistic data that holds nothing to find.

use std::{fs, path::Path};

use serde_json::Value;
use tap_redact::{DetectorSet, Scan};

/// Of a thousand values.
const MAX_FALSE_PER_MILLE: usize = 5;

/// The values of a file: of JSON the scalars with their fields' names, else the lines.
fn values(path: &Path) -> Vec<(String, Option<String>)> {
    let text = fs::read_to_string(path).unwrap();
    let mut values = Vec::new();
    if path.extension().is_some_and(|extension| extension == "json") {
        scalars(&serde_json::from_str(&text).unwrap(), None, &mut values);
    } else {
        let is_header = path.file_stem().is_some_and(|stem| stem == "headers");
        values.extend(text.lines().filter(|line| !line.is_empty()).map(|line| match line.split_once(": ") {
            Some((name, value)) if is_header => (value.to_owned(), Some(name.to_owned())),
            _ => (line.to_owned(), None),
        }));
    }
    values
}

fn scalars(value: &Value, field: Option<&str>, values: &mut Vec<(String, Option<String>)>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| scalars(element, field, values)),
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| scalars(member, Some(name), values))
        }
        Value::String(text) => values.push((text.clone(), field.map(str::to_owned))),
        other => values.push((other.to_string(), field.map(str::to_owned))),
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "shows the count to whoever asks for the output")]
fn little_is_found_where_nothing_is() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/corpus");
    let scan = Scan::new(DetectorSet::all());
    let (mut count, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(directory).unwrap() {
        for (text, field) in values(&entry.unwrap().path()) {
            count += 1;
            for found in scan.find(&text, field.as_deref()) {
                wrong.push(format!("{} in {field:?}: {}", found.detector, &text[found.range]));
            }
        }
    }
    println!("{} of {count} values:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 4000, "{count} values are too few to count in");
    assert!(
        wrong.len() * 1000 < count * MAX_FALSE_PER_MILLE,
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

//! A report as JUnit XML, as CI systems read it: a test case for each endpoint and each condition, and one for the
//! requests that got no answer.
//!
//! Valid by the schema of Ant's reports (elements and attributes in its order, all that it requires). What comes from
//! traffic is escaped; characters that XML has not are shown as `\u{…}`.

use std::fmt::Write as _;

use tap_proto::v1::{EndpointComparison, FieldDifference, ReplayReport};
use tap_replay::report::real_fields;

use super::Run;
use crate::render::escape;

const SUITE: &str = "podtap.replay";

/// One test case.
struct Case {
    class: &'static str,
    name: String,
    seconds: f64,
    /// Type, message and text.
    failure: Option<(&'static str, String, String)>,
}

pub(crate) fn render(run: &Run<'_>) -> String {
    let Run { title, started, ended, conditions, report } = run;
    let elapsed = report
        .elapsed
        .as_ref()
        .map_or(0.0, |elapsed| elapsed.seconds as f64 + f64::from(elapsed.nanos) / 1e9);
    let mut cases = vec![requests(report, ended)];
    cases.extend(conditions.iter().map(|(source, holds)| Case {
        class: "podtap.condition",
        name: format!("not {source}"),
        seconds: 0.0,
        failure: holds.then(|| ("condition", format!("{source} holds"), (*source).to_owned())),
    }));
    cases.extend(report.endpoints.iter().map(endpoint));
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();

    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        xml,
        "  <testsuite package=\"{SUITE}\" id=\"0\" name=\"{name}\" timestamp=\"{time}\" hostname=\"localhost\" \
         tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" time=\"{elapsed:.3}\">",
        name = attribute(title),
        time = started.strftime("%Y-%m-%dT%H:%M:%S"),
        tests = cases.len(),
    );
    xml.push_str("    <properties>\n");
    for (name, value) in properties(report) {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", attribute(&value));
    }
    xml.push_str("    </properties>\n");
    for Case { class, name, seconds, failure } in &cases {
        let name = attribute(name);
        let _ = write!(xml, "    <testcase name=\"{name}\" classname=\"{class}\" time=\"{seconds:.6}\"");
        match failure {
            None => xml.push_str("/>\n"),
            Some((kind, message, text)) => {
                let _ = writeln!(
                    xml,
                    ">\n      <failure message=\"{}\" type=\"{kind}\">{}</failure>\n    </testcase>",
                    attribute(message),
                    content(text)
                );
            }
        }
    }
    xml.push_str(
        "    <system-out></system-out>\n    <system-err></system-err>\n  </testsuite>\n</testsuites>\n",
    );
    xml
}

fn requests(report: &ReplayReport, ended: &str) -> Case {
    let failed: u64 = report.failed.values().sum();
    let mut text: Vec<String> = report
        .failed
        .iter()
        .chain(&report.arm_failures)
        .map(|(reason, count)| format!("{reason}: {count}"))
        .collect();
    text.extend((!ended.is_empty()).then(|| ended.to_owned()));
    text.extend((!report.aborted.is_empty()).then(|| format!("aborted: {}", report.aborted)));
    let message = format!("{failed} of {} requests got no answer", report.sent);
    Case {
        class: "podtap.requests",
        name: "every request is answered".to_owned(),
        seconds: 0.0,
        failure: (!text.is_empty()).then(|| ("requests", message, text.join("\n"))),
    }
}

fn endpoint(endpoint: &EndpointComparison) -> Case {
    let EndpointComparison { method, path, answered, mismatches, latency_sum_us, .. } = endpoint;
    let fields: Vec<_> = real_fields(endpoint).map(field).collect();
    let message = format!("{mismatches} of {answered} answers differ");
    Case {
        class: "podtap.endpoint",
        name: format!("{method} {path}"),
        seconds: *latency_sum_us as f64 / 1e6,
        failure: (*mismatches > 0).then(|| ("mismatch", message, fields.join("\n"))),
    }
}

fn field(field: &FieldDifference) -> String {
    let FieldDifference { field, differences, noise, kinds, examples, .. } = field;
    let kinds: Vec<_> = kinds.keys().map(String::as_str).collect();
    let mut text = format!("{field}: {differences} ({}), {noise} of them noise", kinds.join(", "));
    for example in examples {
        let _ = write!(
            text,
            "\n  {}: expected {:?}, answered {:?}",
            example.exchange_id, example.expected, example.answered
        );
    }
    text
}

fn properties(report: &ReplayReport) -> Vec<(&'static str, String)> {
    let latency = |percentile: fn(&tap_proto::v1::Distribution) -> u64| {
        report.latency.as_ref().map_or_else(String::new, |latency| format!("{}us", percentile(latency)))
    };
    vec![
        ("sent", report.sent.to_string()),
        ("answered", report.answered.to_string()),
        ("matched", report.matched.to_string()),
        ("differed", report.differed.to_string()),
        ("mismatches", report.mismatches.to_string()),
        ("noise", report.noise_source.clone()),
        ("latency.p50", latency(|latency| latency.p50_us)),
        ("latency.p99", latency(|latency| latency.p99_us)),
    ]
}

fn attribute(text: &str) -> String {
    content(&escape::text(text)).replace('"', "&quot;").replace('\n', "&#10;")
}

/// [`escape::lines`] leaves no character that XML has not, but for two that are no characters.
fn content(text: &str) -> String {
    let text = escape::lines(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hostile, run};
    use super::*;

    #[test]
    fn there_is_a_case_for_each_endpoint_condition_and_the_requests() {
        let report = hostile();
        let xml = render(&run(&report));
        assert!(xml.contains("tests=\"5\" failures=\"3\""), "{xml}");
        assert!(
            xml.contains("<testcase name=\"GET /ok\" classname=\"podtap.endpoint\" time=\"1.500000\"/>"),
            "{xml}"
        );
        assert!(xml.contains("<failure message=\"mismatches &gt; 0 holds\" type=\"condition\">"), "{xml}");
        assert!(xml.contains("timeout: 2"), "{xml}");
    }

    #[test]
    fn hostile_answers_stay_text() {
        let report = hostile();
        let xml = render(&run(&report));
        assert!(!xml.contains("<script") && !xml.contains("]]>"), "{xml}");
        assert!(xml.chars().all(|character| character == '\n' || !character.is_control()), "{xml}");
        let mut depth = 0;
        for tag in xml.split('<').skip(2) {
            let (tag, rest) = tag.split_once('>').expect("a tag ends");
            assert!(!rest.contains('>'), "{rest}");
            depth += if tag.starts_with('/') { -1 } else { i32::from(!tag.ends_with('/')) };
        }
        assert_eq!(depth, 0);
    }
}

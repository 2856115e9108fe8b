//! What a replay came to, for a terminal and for files.

pub(crate) mod html;
pub(crate) mod junit;

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::Cell;
use jiff::Timestamp;
use tap_proto::v1::{Distribution, EndpointComparison, FieldDifference, ReplayReport};
use tap_replay::report::real_fields;

use super::{GAP, Style, escape, lines, pad, right, unit};

/// Endpoints and fields of each that are listed on a terminal; all are in the other reports.
const MAX_ENDPOINTS: usize = 20;
const MAX_FIELDS: usize = 10;

/// A replay that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) title: &'a str,
    pub(crate) started: Timestamp,
    /// Why it ended before its end; else empty.
    pub(crate) ended: &'a str,
    /// Conditions of failure, and whether they hold.
    pub(crate) conditions: &'a [(&'a str, bool)],
    pub(crate) report: &'a ReplayReport,
}

/// `report` as text of many lines; its sums stand next to their parts.
pub(crate) fn render(report: &ReplayReport, style: &Style) -> String {
    let mut text = String::new();
    let mut line = |name: &str, count: u64, parts: String| {
        let _ = writeln!(text, "{}", format!("{name:<14}{:>9}{parts}", unit::count(count)).trim_end());
    };
    let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    line("selected", report.selected, String::new());
    line("  sent", report.sent, String::new());
    line("  not sent", total(&report.not_sent), parts(&report.not_sent));
    line("answered", report.answered, statuses(&report.statuses));
    line("failed", total(&report.failed), parts(&report.failed));
    line("matched", report.matched, String::new());
    line("differed", report.differed, parts(&report.mismatched));
    line("not compared", total(&report.not_compared), parts(&report.not_compared));
    line("sent late", report.late, String::new());
    // Only where there is something to tell.
    for (name, count, parts) in [
        ("left out", total(&report.left_out), parts(&report.left_out)),
        ("in the warm-up", report.warm_up, String::new()),
        ("not changed", total(&report.transform_errors), parts(&report.transform_errors)),
    ] {
        if count > 0 {
            line(name, count, parts);
        }
    }
    if !report.faults.is_empty() {
        let counts = report.faults.iter();
        let named =
            counts.map(|fault| (format!("{} {}", escape::text(&fault.rule), fault.kind), fault.count));
        line("faults", report.faults.iter().map(|fault| fault.count).sum(), self::named(named));
    }
    text.push('\n');
    text.push_str(&distributions(&[("latency", &report.latency), ("send error", &report.send_error)], style));
    if let Some(elapsed) = &report.elapsed {
        let _ = writeln!(text, "\ntook {}", unit::duration(elapsed));
    }
    text.push_str(&endpoints(report));
    text
}

/// The endpoints with mismatches, and the fields that are not noise.
fn endpoints(report: &ReplayReport) -> String {
    let mut text = String::new();
    let differing: Vec<_> = report.endpoints.iter().filter(|endpoint| endpoint.mismatches > 0).collect();
    if report.mismatches != report.differed {
        let (mismatches, noise) = (report.mismatches, report.differed.saturating_sub(report.mismatches));
        let (mismatches, noise) = (unit::count(mismatches), unit::count(noise));
        let _ = writeln!(text, "\n{mismatches} mismatches; {noise} answers differ in noise alone");
    }
    for endpoint in differing.iter().take(MAX_ENDPOINTS) {
        let EndpointComparison { method, path, answered, mismatches, .. } = endpoint;
        let (method, path) = (escape::text(method), escape::text(path));
        let (mismatches, answered) = (unit::count(*mismatches), unit::count(*answered));
        let _ = writeln!(text, "\n{method} {path}   {mismatches} of {answered} answers");
        for field in real_fields(endpoint).take(MAX_FIELDS) {
            let FieldDifference { field, differences, kinds, examples, .. } = field;
            let kinds: Vec<_> = kinds.keys().map(|kind| escape::text(kind)).collect();
            let (field, count) = (escape::text(field), unit::count(*differences));
            let _ = writeln!(text, "  {field}   {count}   {}", kinds.join(", "));
            if let Some(example) = examples.first() {
                let (expected, answered) = (escape::text(&example.expected), escape::text(&example.answered));
                let _ = writeln!(text, "    - {expected}\n    + {answered}");
            }
        }
        let more = real_fields(endpoint).count().saturating_sub(MAX_FIELDS);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more fields");
        }
    }
    if differing.len() > MAX_ENDPOINTS {
        let _ = writeln!(text, "\nand {} more endpoints", differing.len() - MAX_ENDPOINTS);
    }
    text
}

pub(super) fn distributions(named: &[(&str, &Option<Distribution>)], style: &Style) -> String {
    let mut table = style.table();
    table.set_header(["", "MIN", "P50", "P90", "P99", "P99.9", "MAX"]);
    for (name, distribution) in named {
        let mut row = vec![Cell::new(name)];
        row.extend(distribution.iter().flat_map(|distribution| {
            let Distribution { count: _, min_us, p50_us, p90_us, p99_us, p999_us, max_us } = distribution;
            [min_us, p50_us, p90_us, p99_us, p999_us, max_us].map(|&value| right(unit::microseconds(value)))
        }));
        table.add_row(row);
    }
    pad(&mut table, GAP);
    lines(&table)
}

pub(super) fn parts(counts: &BTreeMap<String, u64>) -> String {
    named(counts.iter().map(|(word, count)| (escape::text(word), *count)))
}

pub(super) fn statuses(counts: &BTreeMap<u32, u64>) -> String {
    named(counts.iter().map(|(status, count)| (status.to_string(), *count)))
}

fn named(counts: impl Iterator<Item = (String, u64)>) -> String {
    let parts: Vec<_> = counts.map(|(word, count)| format!("{word}: {}", unit::count(count))).collect();
    if parts.is_empty() { String::new() } else { format!("   {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use tap_proto::v1::DifferenceExample;

    use super::*;

    /// A report whose every word from traffic wants to be more than text.
    pub(super) fn hostile() -> ReplayReport {
        let evil =
            "<script>alert(1)</script>]]>&\"' onerror=\"x\" \x1b[2J\u{202e}\0 --> </style><img>\u{ffff}";
        let counts =
            |pairs: &[(&str, u64)]| pairs.iter().map(|&(word, count)| (word.to_owned(), count)).collect();
        let latency = Distribution {
            count: 98,
            min_us: 80,
            p50_us: 120,
            p90_us: 1_500,
            p99_us: 20_000,
            p999_us: 20_500,
            max_us: 1_200_000,
        };
        let field = |is_noise| FieldDifference {
            field: format!("body.$.{evil}"),
            differences: 3,
            noise: u64::from(is_noise),
            is_noise,
            noise_reason: if is_noise { "learned" } else { "" }.to_owned(),
            kinds: counts(&[("value", 3)]),
            examples: vec![DifferenceExample {
                exchange_id: evil.to_owned(),
                kind: "value".to_owned(),
                expected: evil.to_owned(),
                answered: evil.repeat(2),
            }],
        };
        let endpoint = |path: &str, mismatches, fields| EndpointComparison {
            method: "GET".into(),
            path: path.to_owned(),
            answered: 49,
            differed: mismatches,
            mismatches,
            fields,
            latency_sum_us: 1_500_000,
            latency_max_us: 1_200_000,
        };
        ReplayReport {
            selected: 100,
            sent: 100,
            answered: 98,
            failed: counts(&[("timeout", 2)]),
            statuses: [(200, 98)].into(),
            matched: 95,
            differed: 3,
            mismatches: 3,
            mismatched: counts(&[(evil, 3)]),
            dynamic: counts(&[("timestamp", 98)]),
            redacted_values: 2,
            latency: Some(latency),
            arm_latencies: [("candidate".to_owned(), latency), (evil.to_owned(), latency)].into(),
            endpoints: vec![
                endpoint(&format!("/{evil}"), 3, vec![field(false), field(true)]),
                endpoint("/ok", 0, Vec::new()),
            ],
            noise_source: "secondary".to_owned(),
            warnings: vec![evil.to_owned()],
            elapsed: Some(prost_types::Duration { seconds: 12, nanos: 340_000_000 }),
            ..ReplayReport::default()
        }
    }

    pub(super) fn run(report: &ReplayReport) -> Run<'_> {
        Run {
            title: "http://a\"<b> against c",
            started: Timestamp::UNIX_EPOCH,
            ended: "",
            conditions: &[("mismatches > 0", true), ("sent == 0", false)],
            report,
        }
    }

    #[test]
    fn differences_are_told_by_endpoint_and_field_as_text() {
        let style = Style { width: None, colour: false, zone: TimeZone::UTC };
        let text = render(&hostile(), &style);
        assert!(text.contains("3 of 49 answers") && text.contains("   3   value"), "{text}");
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
    }

    #[test]
    fn sums_stand_next_to_their_parts() {
        let counts =
            |pairs: &[(&str, u64)]| pairs.iter().map(|&(word, count)| (word.to_owned(), count)).collect();
        let report = ReplayReport {
            selected: 1_010,
            sent: 1_000,
            answered: 998,
            failed: counts(&[("timeout", 2)]),
            not_sent: counts(&[("incomplete", 1), ("method", 9)]),
            statuses: [(200, 990), (404, 8)].into(),
            matched: 990,
            mismatched: counts(&[("body", 3), ("status", 8)]),
            latency: Some(Distribution {
                count: 998,
                min_us: 80,
                p50_us: 120,
                p90_us: 1_500,
                p99_us: 20_000,
                p999_us: 20_500,
                max_us: 1_200_000,
            }),
            send_error: None,
            elapsed: Some(prost_types::Duration { seconds: 12, nanos: 340_000_000 }),
            differed: 8,
            mismatches: 8,
            not_compared: BTreeMap::new(),
            late: 4,
            ..ReplayReport::default()
        };
        let style = Style { width: None, colour: false, zone: TimeZone::UTC };
        assert_eq!(
            render(&report, &style),
            "\
selected          1,010
  sent            1,000
  not sent           10   incomplete: 1, method: 9
answered            998   200: 990, 404: 8
failed                2   timeout: 2
matched             990
differed              8   body: 3, status: 8
not compared          0
sent late             4

            MIN    P50     P90      P99      P99.9    MAX
latency     80 µs  120 µs  1.50 ms  20.0 ms  20.5 ms  1.20 s
send error

took 12.3 s
"
        );
    }
}

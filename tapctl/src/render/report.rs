//! What a replay came to.

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::Cell;
use tap_proto::v1::{Distribution, ReplayReport};

use super::{GAP, Style, escape, lines, pad, right, unit};

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
    text.push('\n');
    text.push_str(&distributions(&[("latency", &report.latency), ("send error", &report.send_error)], style));
    if let Some(elapsed) = &report.elapsed {
        let _ = writeln!(text, "\ntook {}", unit::duration(elapsed));
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

    use super::*;

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

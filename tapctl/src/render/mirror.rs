//! What mirrors do.

use std::{collections::BTreeMap, fmt::Write as _};

use tap_proto::v1::{Mirror, MirrorReport, mirror::State};

use super::{
    GAP, Style, escape, lines, pad,
    report::{distributions, parts, statuses},
    right, unit,
};

/// One line a mirror.
pub(crate) fn table(mirrors: &[Mirror], style: &Style) -> String {
    let mut table = style.table();
    table.set_header([
        "NAME", "STATE", "TARGET", "SELECTED", "SENT", "NOT SENT", "ANSWERED", "FAILED", "DIFFERED", "LAG",
    ]);
    for mirror in mirrors {
        let nothing = MirrorReport::default();
        let report = mirror.report.as_ref().unwrap_or(&nothing);
        let mut row = vec![
            escape::text(&mirror.name).into(),
            state(mirror).into(),
            escape::text(&mirror.target).into(),
        ];
        let counts = [
            report.selected,
            report.sent,
            total(&report.not_sent),
            report.answered,
            total(&report.failed),
            report.differed,
        ];
        row.extend(counts.map(|count| right(unit::count(count))));
        row.push(right(if report.sent == 0 {
            "-".to_owned()
        } else {
            unit::microseconds(report.last_lag_us)
        }));
        table.add_row(row);
    }
    pad(&mut table, GAP);
    let mut text = lines(&table);
    for mirror in mirrors.iter().filter(|mirror| !mirror.error.is_empty()) {
        let _ = writeln!(text, "\n{}: {}", escape::text(&mirror.name), escape::text(&mirror.error));
    }
    text
}

/// One mirror with all its counts; its sums stand next to their parts.
pub(crate) fn render(mirror: &Mirror, style: &Style) -> String {
    let mut text = format!(
        "{} {} since {}\n",
        escape::text(&mirror.name),
        state(mirror),
        style.time(mirror.start_time.as_ref(), true)
    );
    for line in mirror.settings.lines() {
        let _ = writeln!(text, "  {}", escape::text(line));
    }
    if !mirror.error.is_empty() {
        let _ = writeln!(text, "{}", escape::text(&mirror.error));
    }
    let Some(report) = &mirror.report else { return text };
    text.push('\n');
    let mut line = |name: &str, count: u64, parts: String| {
        let _ = writeln!(text, "{}", format!("{name:<15}{:>9}{parts}", unit::count(count)).trim_end());
    };
    line("looked at", report.considered, String::new());
    line("  passed over", total(&report.passed_over), parts(&report.passed_over));
    line("  selected", report.selected, String::new());
    line("not sent", total(&report.not_sent), parts(&report.not_sent));
    line("waiting", report.waiting, String::new());
    line("sent", report.sent, String::new());
    line("  answered", report.answered, statuses(&report.statuses));
    line("  failed", total(&report.failed), parts(&report.failed));
    line("  in flight", report.in_flight, String::new());
    line("matched", report.matched, String::new());
    line("differed", report.differed, parts(&report.mismatched));
    line("not compared", total(&report.not_compared), parts(&report.not_compared));
    line("not looked at", report.overrun, String::new());
    text.push('\n');
    text.push_str(&distributions(&[("lag", &report.lag), ("latency", &report.latency)], style));
    text
}

fn state(mirror: &Mirror) -> &'static str {
    match mirror.state() {
        State::Running => "running",
        State::Refused => "refused",
        State::Unspecified => "unknown",
    }
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn refused_mirrors_say_why_below_the_table() {
        let style = Style { width: None, colour: false, zone: TimeZone::UTC };
        let running = Mirror {
            name: "shop/cart".to_owned(),
            state: State::Running.into(),
            target: "http://v2:8080".to_owned(),
            report: Some(MirrorReport {
                selected: 5,
                sent: 4,
                last_lag_us: 1_200_000,
                ..MirrorReport::default()
            }),
            ..Mirror::default()
        };
        let refused = Mirror {
            name: "shop/pay".to_owned(),
            state: State::Refused.into(),
            target: "http://elsewhere".to_owned(),
            error: "the collector's setting mirror.allow_targets does not list it".to_owned(),
            ..Mirror::default()
        };
        let text = table(&[running, refused], &style);
        let rows: Vec<&str> = text.lines().collect();
        assert!(
            rows[1].starts_with("shop/cart  running  http://v2:8080") && rows[1].ends_with("1.20 s"),
            "{text}"
        );
        assert!(rows[2].starts_with("shop/pay   refused") && rows[2].ends_with("0       -"), "{text}");
        assert!(rows[4].starts_with("shop/pay: the collector's setting"), "{text}");
    }
}

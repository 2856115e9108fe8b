//! The shares of protocols as a table: a line for each target, the least understood first.

use comfy_table::Cell;
use tap_proto::v1::{AgentLedger, Coverage};

use super::{GAP, Style, escape, ledger::each_target, lines, pad, right, unit};

/// Writes the table.
pub(crate) fn render(agents: &[AgentLedger], style: &Style) -> String {
    let mut table = style.table();
    table.set_header(["AGENT", "TARGET", "BYTES", "HTTP/1", "HTTP/2", "TLS", "OTHER", "UNKNOWN"]);
    let mut targets: Vec<_> = each_target(agents)
        .map(|(ledger, target)| (ledger, target, target.coverage.unwrap_or_default()))
        .collect();
    // Those of which nothing was seen come last, and stay in their order.
    targets.sort_by_key(|(_, _, coverage)| {
        let all = total(coverage);
        (all == 0, u128::from(coverage.http1_bytes) * 1_000_000 / u128::from(all.max(1)))
    });
    for (ledger, target, coverage) in targets {
        let all = total(&coverage);
        let Coverage { http1_bytes, http2_bytes, tls_bytes, other_bytes, unknown_bytes } = coverage;
        let shares = [http1_bytes, http2_bytes, tls_bytes, other_bytes, unknown_bytes];
        let mut row = vec![
            Cell::new(escape::text(&ledger.agent)),
            Cell::new(escape::text(&target.target)),
            right(unit::bytes(all)),
        ];
        row.extend(shares.map(|bytes| right(share(bytes, all))));
        table.add_row(row);
    }
    pad(&mut table, GAP);
    lines(&table)
}

fn total(coverage: &Coverage) -> u64 {
    let Coverage { http1_bytes, http2_bytes, tls_bytes, other_bytes, unknown_bytes } = *coverage;
    [http1_bytes, http2_bytes, tls_bytes, other_bytes, unknown_bytes].into_iter().fold(0, u64::saturating_add)
}

/// "12.3 %"; what there is some of is never shown as none, nor what is not all as all.
fn share(bytes: u64, of: u64) -> String {
    match (bytes, of) {
        (_, 0) => "-".to_owned(),
        (0, _) => "0 %".to_owned(),
        (bytes, of) if bytes == of => "100 %".to_owned(),
        (bytes, of) => {
            let tenths = (u128::from(bytes) * 1000 / u128::from(of)).clamp(1, 999);
            format!("{}.{} %", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use tap_proto::v1::{Ledger, TargetLedger};

    use super::*;

    #[test]
    fn the_least_understood_comes_first() {
        let target =
            |name: &str, coverage| TargetLedger { target: name.into(), coverage, ..TargetLedger::default() };
        let web = Coverage { http1_bytes: 999_999, tls_bytes: 1, ..Coverage::default() };
        let mesh = Coverage { http1_bytes: 100, tls_bytes: 700, http2_bytes: 200, ..Coverage::default() };
        let targets = vec![target("silent", None), target("web", Some(web)), target("mesh", Some(mesh))];
        let ledger = Ledger { agent: "node-1".into(), targets, ..Ledger::default() };
        let style = Style { width: None, colour: false, zone: TimeZone::UTC };
        let rendered = render(&[AgentLedger { ledger: Some(ledger), ..AgentLedger::default() }], &style);
        let lines: Vec<Vec<&str>> = rendered.lines().map(|line| line.split("  ").collect()).collect();
        let line = |index: usize| {
            let cells: Vec<&str> =
                lines[index].iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect();
            cells.join("|")
        };
        assert_eq!(line(0), "AGENT|TARGET|BYTES|HTTP/1|HTTP/2|TLS|OTHER|UNKNOWN");
        assert_eq!(line(1), "node-1|mesh|0.98 KiB|10.0 %|20.0 %|70.0 %|0 %|0 %");
        assert_eq!(line(2), "node-1|web|977 KiB|99.9 %|0 %|0.1 %|0 %|0 %");
        assert_eq!(line(3), "node-1|silent|0 B|-|-|-|-|-");
    }
}

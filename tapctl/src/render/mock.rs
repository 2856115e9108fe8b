//! What a mock has loaded, and what it did.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result};
use comfy_table::Cell;
use serde_json::json;
use tap_replay::mock::{Difference, Index, MissCount, Statistics};

use super::{GAP, Style, escape, lines, pad, right, unit};

/// Rows of misses in the table; the JSON has all that are told apart.
const MAX_ROWS: usize = 20;

/// What was loaded, in a few lines.
pub(crate) fn loaded(index: &Index) -> String {
    let loaded = index.loaded();
    let mut hosts: Vec<&str> = index.hosts().collect();
    hosts.sort_unstable();
    let more = if hosts.len() > 3 { ", …" } else { "" };
    hosts.truncate(3);
    let hosts = escape::text(&hosts.join(", "));
    let mut text = format!(
        "loaded {} exchanges of {} requests ({hosts}{more}; {})\n",
        unit::count(loaded.taken),
        unit::count(loaded.requests),
        unit::bytes(loaded.bytes),
    );
    if !loaded.not_served.is_empty() {
        let _ = writeln!(text, "  of those not served{}", parts(&loaded.not_served));
    }
    if let Some(refused) = loaded.refused.get("full") {
        let _ = writeln!(
            text,
            "  FULL: {} and what is older found no room; --max-exchanges and --max-mib give more",
            unit::count(*refused)
        );
    }
    if let Some(refused) = loaded.refused.get("request_missing") {
        let _ = writeln!(text, "  {} without a request", unit::count(*refused));
    }
    text
}

pub(crate) fn render(statistics: &Statistics, misses: &[MissCount], others: u64, style: &Style) -> String {
    let mut text = String::new();
    let mut line = |name: &str, count: u64, parts: String| {
        let _ = writeln!(text, "{}", format!("{name:<14}{:>9}{parts}", unit::count(count)).trim_end());
    };
    line("requests", statistics.requests, String::new());
    line("  hits", statistics.hits, String::new());
    line("  misses", statistics.missed(), parts(&statistics.misses));
    if statistics.passed_through + statistics.not_passed_through > 0 {
        line("  passed on", statistics.passed_through, String::new());
        line("  no upstream", statistics.not_passed_through, String::new());
        line("recorded", statistics.recorded, String::new());
        line("not recorded", statistics.not_recorded.values().sum(), parts(&statistics.not_recorded));
    }
    if statistics.in_flight > 0 {
        line("  cut off", statistics.in_flight, String::new());
    }
    line("never asked", statistics.never_served, String::new());
    if statistics.refused_connections > 0 {
        line("refused", statistics.refused_connections, "   connections".to_owned());
    }
    if let Some(seed) = statistics.seed {
        let faults = statistics.faults.iter();
        let parts: Vec<String> = faults
            .map(|fault| {
                format!("{} {}: {}", escape::text(&fault.rule), fault.kind, unit::count(fault.count))
            })
            .collect();
        let count = statistics.faults.iter().map(|fault| fault.count).sum();
        line("faults", count, format!("   seed {seed}   {}", parts.join(", ")));
    }
    if !misses.is_empty() {
        text.push('\n');
        text.push_str(&table(misses, style));
        let hidden = misses.iter().skip(MAX_ROWS).map(|miss| miss.count).sum::<u64>() + others;
        if hidden > 0 {
            let _ = writeln!(text, "and {} more", unit::count(hidden));
        }
    }
    text
}

pub(crate) fn json(
    statistics: &Statistics,
    misses: &[MissCount],
    others: u64,
    pretty: bool,
) -> Result<String> {
    let summary = json!({"statistics": statistics, "misses": misses, "otherMisses": others});
    let text = if pretty { serde_json::to_string_pretty(&summary) } else { serde_json::to_string(&summary) };
    Ok(escape::json(&text.context("write JSON")?) + "\n")
}

fn table(misses: &[MissCount], style: &Style) -> String {
    let mut table = style.table();
    table.set_header(["MISSES", "REASON", "REQUEST", "NEAREST RECORDED", "DIFFERS IN"]);
    for miss in misses.iter().take(MAX_ROWS) {
        let places = miss.differences.iter().map(|Difference { place, what: _ }| escape::text(place));
        table.add_row([
            right(unit::count(miss.count)),
            Cell::new(miss.reason),
            Cell::new(escape::text(&format!("{} {}", miss.method, miss.path))),
            Cell::new(miss.nearest.as_deref().map(escape::text).unwrap_or_default()),
            Cell::new(places.collect::<Vec<_>>().join(", ")),
        ]);
    }
    pad(&mut table, GAP);
    lines(&table)
}

fn parts(counts: &BTreeMap<&'static str, u64>) -> String {
    let parts: Vec<_> =
        counts.iter().map(|(word, count)| format!("{word}: {}", unit::count(*count))).collect();
    if parts.is_empty() { String::new() } else { format!("   {}", parts.join(", ")) }
}

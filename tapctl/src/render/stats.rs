//! Statistics as a table, a line for each group, and as comma-separated values.

use std::fmt::Write as _;

use comfy_table::{Cell, Color};
use prost_types::{Duration, Timestamp};
use tap_proto::v1::{StatsBucket, StatsGroup, StatsLatency, StatsResponse, StatsSummary};

use super::{GAP, Style, escape, lines, pad, right, unit};

/// Writes the table.
pub(crate) fn render(by: &[String], answer: &StatsResponse, style: &Style) -> String {
    let mut table = style.table();
    let over_time = !answer.buckets.is_empty();
    let mut header: Vec<Cell> = Vec::new();
    if over_time {
        header.push(Cell::new("TIME"));
    }
    header.extend(by.iter().map(|name| Cell::new(escape::text(&name.to_uppercase()))));
    if by.is_empty() && !over_time {
        header.push(Cell::new(""));
    }
    header.extend(["COUNT", "RATE", "ERRORS", "BYTES"].map(right));
    header.extend(percentiles(answer).iter().map(|percentile| right(title(*percentile))));
    header.push(right("MAX"));
    table.set_header(header);

    for StatsGroup { key, summary, buckets } in &answer.groups {
        if !over_time {
            table.add_row(row(None, by, key, summary.as_ref(), answer));
            continue;
        }
        for StatsBucket { start_time, summary } in buckets {
            let time = style.time(start_time.as_ref(), true);
            table.add_row(row(Some(time), by, key, summary.as_ref(), answer));
        }
    }
    if over_time && by.is_empty() {
        for StatsBucket { start_time, summary } in &answer.buckets {
            let time = style.time(start_time.as_ref(), true);
            table.add_row(row(Some(time), by, &[], summary.as_ref(), answer));
        }
    }
    let rest = answer.other.as_ref().map(|other| {
        let groups = answer.other_groups;
        let name = if groups > 0 { format!("other ({})", unit::count(groups)) } else { "other".to_owned() };
        (name, other)
    });
    let total = answer.total.as_ref().map(|total| ("total".to_owned(), total));
    for (name, summary) in rest.into_iter().chain(total) {
        let mut cells = row(over_time.then(String::new), by, &[], Some(summary), answer);
        match cells.first_mut() {
            Some(first) => *first = Cell::new(name),
            None => cells.push(Cell::new(name)),
        }
        table.add_row(cells);
    }
    pad(&mut table, GAP);
    lines(&table)
}

fn row(
    time: Option<String>,
    by: &[String],
    key: &[String],
    summary: Option<&StatsSummary>,
    answer: &StatsResponse,
) -> Vec<Cell> {
    let mut cells: Vec<Cell> = time.iter().map(Cell::new).collect();
    for place in 0..by.len() {
        let value = key.get(place).map_or("", String::as_str);
        // The cells of a sum have nothing here, those of a group something.
        let shown = if value.is_empty() && !key.is_empty() { "-" } else { value };
        cells.push(Cell::new(escape::text(shown)));
    }
    if by.is_empty() && time.is_none() {
        cells.push(Cell::new(""));
    }
    let Some(summary) = summary else { return cells };
    let errors = right(share(summary.errors, summary.exchanges));
    cells.extend([
        right(unit::count(summary.exchanges)),
        right(rate(summary.rate)),
        if summary.errors > 0 { errors.fg(Color::Red) } else { errors },
        right(unit::bytes(summary.bytes)),
    ]);
    let latency = summary.latency.as_ref();
    for percentile in percentiles(answer) {
        let value = latency.and_then(|latency| value(latency, percentile));
        cells.push(right(value.map_or_else(|| "-".to_owned(), unit::duration)));
    }
    let max = latency.and_then(|latency| latency.max.as_ref());
    cells.push(right(max.map_or_else(|| "-".to_owned(), unit::duration)));
    cells
}

/// Those of the answer, as they were asked for.
fn percentiles(answer: &StatsResponse) -> Vec<f64> {
    let latency = answer.total.as_ref().and_then(|total| total.latency.as_ref());
    latency
        .map_or_else(Vec::new, |latency| latency.percentiles.iter().map(|value| value.percentile).collect())
}

pub(super) fn value(latency: &StatsLatency, percentile: f64) -> Option<&Duration> {
    let same = |value: &&tap_proto::v1::StatsPercentile| value.percentile.to_bits() == percentile.to_bits();
    latency.percentiles.iter().find(same)?.value.as_ref()
}

/// "P99.9"
pub(super) fn title(percentile: f64) -> String {
    format!("P{percentile}")
}

/// "0.0123/s", "12.3/s", "12,345/s": three significant digits at least.
pub(super) fn rate(rate: f64) -> String {
    let decimals = match rate {
        r if r >= 100.0 => return format!("{}/s", unit::count(r.round() as u64)),
        r if r >= 10.0 => 1,
        r if r >= 1.0 => 2,
        0.0 => 0,
        r if r >= 0.1 => 3,
        _ => 4,
    };
    format!("{rate:.decimals$}/s")
}

/// "12 %", "0.3 %"; what there is some of is never shown as none.
pub(super) fn share(part: u64, of: u64) -> String {
    match part as f64 / of.max(1) as f64 * 100.0 {
        0.0 => "0 %".to_owned(),
        share if share < 0.01 => "<0.01 %".to_owned(),
        share if share < 1.0 => format!("{share:.2} %"),
        share if share < 10.0 => format!("{share:.1} %"),
        share => format!("{share:.0} %"),
    }
}

/// A line for each group, and for each of its buckets where there are some; those beyond the limit and the total last, told by
/// their `scope`.
pub(crate) fn csv(by: &[String], answer: &StatsResponse) -> String {
    let percentiles = percentiles(answer);
    let mut text = String::from("scope,time");
    for name in by {
        let _ = write!(text, ",{}", field(name));
    }
    text.push_str(",exchanges,errors,client_errors,no_response,incomplete,bytes,rate,latency_min,latency_mean,latency_max");
    for percentile in &percentiles {
        let _ = write!(text, ",latency_p{percentile}");
    }
    text.push('\n');
    let mut line = |scope: &str, time: Option<&Timestamp>, key: &[String], summary: Option<&StatsSummary>| {
        let _ = write!(text, "{scope},{}", time.map_or_else(String::new, instant));
        for place in 0..by.len() {
            let _ = write!(text, ",{}", field(key.get(place).map_or("", String::as_str)));
        }
        let summary = summary.cloned().unwrap_or_default();
        let StatsSummary { exchanges, errors, client_errors, no_response, incomplete, bytes, rate, latency } =
            summary;
        let _ =
            write!(text, ",{exchanges},{errors},{client_errors},{no_response},{incomplete},{bytes},{rate}");
        let latency = latency.as_ref();
        let edges: [fn(&StatsLatency) -> Option<&Duration>; 3] =
            [|latency| latency.min.as_ref(), |latency| latency.mean.as_ref(), |latency| latency.max.as_ref()];
        let edges = edges.into_iter().map(|edge| latency.and_then(edge));
        let values =
            percentiles.iter().map(|percentile| latency.and_then(|latency| value(latency, *percentile)));
        for value in edges.chain(values) {
            let _ = write!(text, ",{}", value.map_or_else(String::new, seconds));
        }
        text.push('\n');
    };
    for StatsGroup { key, summary, buckets } in &answer.groups {
        line("group", None, key, summary.as_ref());
        for StatsBucket { start_time, summary } in buckets {
            line("group", start_time.as_ref(), key, summary.as_ref());
        }
    }
    if let Some(other) = &answer.other {
        line("other", None, &[], Some(other));
    }
    line("total", None, &[], answer.total.as_ref());
    for StatsBucket { start_time, summary } in &answer.buckets {
        line("total", start_time.as_ref(), &[], summary.as_ref());
    }
    text
}

/// A field as in RFC 4180. What a spreadsheet would take for a formula is led by an apostrophe: it was captured.
fn field(value: &str) -> String {
    let value = escape::text(value);
    let guard = if value.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if guard.is_empty() && !value.contains(['"', ',', '\n', '\r']) {
        return value;
    }
    format!("\"{guard}{}\"", value.replace('"', "\"\""))
}

fn instant(time: &Timestamp) -> String {
    jiff::Timestamp::new(time.seconds, time.nanos).map_or_else(|_| String::new(), |time| time.to_string())
}

fn seconds(duration: &Duration) -> String {
    format!("{}.{:09}", duration.seconds, duration.nanos)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use tap_proto::v1::StatsPercentile;

    use super::*;

    fn millis(millis: i64) -> Option<Duration> {
        Some(Duration { seconds: millis / 1_000, nanos: (millis % 1_000) as i32 * 1_000_000 })
    }

    pub(in crate::render) fn summary(exchanges: u64, errors: u64) -> StatsSummary {
        let percentiles = [(50.0, 12), (99.9, 340)];
        StatsSummary {
            exchanges,
            errors,
            bytes: exchanges * 1_000,
            rate: exchanges as f64 / 60.0,
            latency: Some(StatsLatency {
                count: exchanges,
                min: millis(1),
                mean: millis(20),
                max: millis(1_500),
                percentiles: percentiles
                    .map(|(percentile, value)| StatsPercentile { percentile, value: millis(value) })
                    .into(),
            }),
            ..StatsSummary::default()
        }
    }

    fn answer() -> StatsResponse {
        let key = |key: [&str; 2]| key.map(str::to_owned).to_vec();
        let bucket = |seconds, count| StatsBucket {
            start_time: Some(Timestamp { seconds, nanos: 0 }),
            summary: Some(summary(count, 0)),
        };
        StatsResponse {
            groups: vec![
                StatsGroup {
                    key: key(["/cart/{id}", "200"]),
                    summary: Some(summary(12_000, 3)),
                    buckets: vec![bucket(1_700_000_000, 5_000), bucket(1_700_000_060, 7_000)],
                },
                StatsGroup {
                    key: key(["=1+1,\u{1b}[31m", ""]),
                    summary: Some(summary(6, 6)),
                    buckets: Vec::new(),
                },
            ],
            other: Some(summary(30, 0)),
            other_groups: 5,
            total: Some(summary(12_036, 9)),
            ..StatsResponse::default()
        }
    }

    fn by() -> Vec<String> {
        vec!["path_template".into(), "status".into()]
    }

    fn style() -> Style {
        Style { width: None, colour: false, zone: TimeZone::UTC }
    }

    #[test]
    fn groups_come_before_the_others_and_the_total() {
        let table = render(&by(), &answer(), &style());
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                "PATH_TEMPLATE STATUS COUNT RATE ERRORS BYTES P50 P99.9 MAX",
                "/cart/{id} 200 12,000 200/s 0.03 % 11.4 MiB 12.0 ms 340 ms 1.50 s",
                "=1+1,\\x1b[31m - 6 0.100/s 100 % 5.86 KiB 12.0 ms 340 ms 1.50 s",
                "other (5) 30 0.500/s 0 % 29.3 KiB 12.0 ms 340 ms 1.50 s",
                "total 12,036 201/s 0.07 % 11.5 MiB 12.0 ms 340 ms 1.50 s",
            ]
        );
    }

    #[test]
    fn buckets_are_lines_of_their_own() {
        let mut answer = answer();
        answer.buckets = answer.groups[0].buckets.clone();
        let table = render(&by(), &answer, &style());
        assert!(table.contains("11-14 22:13:20.000") && table.contains("11-14 22:14:20.000"), "{table}");
        let total = render(&[], &answer, &style());
        assert!(total.contains("11-14 22:13:20.000") && total.contains("5,000"), "{total}");
    }

    #[test]
    fn fields_of_csv_are_quoted_and_harmless() {
        let csv = csv(&by(), &answer());
        let rows: Vec<_> = csv.lines().collect();
        assert_eq!(
            rows[0],
            "scope,time,path_template,status,exchanges,errors,client_errors,no_response,incomplete,bytes,rate,\
             latency_min,latency_mean,latency_max,latency_p50,latency_p99.9"
        );
        assert!(
            rows[1].starts_with("group,,/cart/{id},200,12000,3,0,0,0,12000000,200,0.001000000,"),
            "{csv}"
        );
        assert!(rows[2].starts_with("group,2023-11-14T22:13:20Z,/cart/{id},200,5000,"), "{csv}");
        assert!(rows[4].starts_with("group,,\"'=1+1,"), "{csv}");
        assert!(!csv.contains('\u{1b}'));
        assert!(rows[5].starts_with("other,,,,30,") && rows[6].starts_with("total,,,,12036,"), "{csv}");
    }

    #[test]
    fn rates_keep_three_digits() {
        let rates = [0.0, 0.00123, 0.123, 1.234, 12.34, 123.4, 12_345.0].map(rate);
        assert_eq!(rates, ["0/s", "0.0012/s", "0.123/s", "1.23/s", "12.3/s", "123/s", "12,345/s"]);
        assert_eq!(share(1, 1_000_000), "<0.01 %");
    }
}

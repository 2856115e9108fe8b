//! Statistics over time, drawn with block characters: for each group its rate, and its highest percentile of latency.
//!
//! The plot is as wide as the terminal. A column of it stands for one bucket or several: of these, rates are averaged, and of
//! latencies the largest is drawn, as a peak must not be lost.

use std::fmt::Write as _;

use prost_types::Timestamp;
use tap_proto::v1::{StatsBucket, StatsResponse, StatsSummary};

use super::{
    Style, escape,
    stats::{rate, share, title, value},
    unit,
};

/// Where the output is no terminal.
const DEFAULT_WIDTH: u16 = 100;
const MIN_COLUMNS: usize = 20;
/// Of the scale at the left, with its tick.
const MARGIN: usize = 11;
/// Lines of each plot.
const HEIGHT: usize = 4;
/// Eighths of a line, from the bottom.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Writes a plot for each group, or of the total where there are none.
pub(crate) fn render(answer: &StatsResponse, style: &Style) -> String {
    let width = usize::from(style.width.unwrap_or(DEFAULT_WIDTH)).saturating_sub(MARGIN).max(MIN_COLUMNS);
    let Some(axis) = Axis::of(answer, width) else { return String::new() };
    let mut text = String::new();
    if answer.groups.is_empty() {
        one(&mut text, "total", answer.total.as_ref(), &answer.buckets, &axis, style);
    }
    for group in &answer.groups {
        let values = group.key.iter().map(|value| if value.is_empty() { "-" } else { value.as_str() });
        let name = escape::text(&values.collect::<Vec<_>>().join("  "));
        one(&mut text, &name, group.summary.as_ref(), &group.buckets, &axis, style);
    }
    if let Some(other) = &answer.other {
        let _ = writeln!(text, "other ({} groups): {}", unit::count(answer.other_groups), words(other));
    }
    text
}

/// From the first bucket of all to the last.
struct Axis {
    first: i64,
    /// Seconds of a bucket.
    step: i64,
    buckets: usize,
    columns: usize,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Axis {
    fn of(answer: &StatsResponse, columns: usize) -> Option<Self> {
        let times: Vec<i64> =
            answer.buckets.iter().filter_map(|bucket| Some(bucket.start_time.as_ref()?.seconds)).collect();
        let first = *times.first()?;
        // All are multiples of the step apart: the least distance is it, or a multiple that leaves nothing out.
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0);
        let step = gaps.fold(0, greatest_common_divisor).max(1);
        let last = times.last().copied().unwrap_or(first);
        let buckets = usize::try_from((last - first) / step + 1).ok()?.min(1 << 20);
        let end = Some(Timestamp { seconds: last.saturating_add(step), nanos: 0 });
        Some(Self { first, step, buckets, columns, start: Some(Timestamp { seconds: first, nanos: 0 }), end })
    }

    /// The values of the buckets, spread over the columns.
    fn spread(
        &self,
        buckets: &[StatsBucket],
        value: impl Fn(&StatsSummary) -> f64,
        join: impl Fn(&[f64]) -> f64,
    ) -> Vec<f64> {
        let mut values = vec![0.0; self.buckets];
        for StatsBucket { start_time, summary } in buckets {
            let seconds = start_time.as_ref().map_or(i64::MIN, |time| time.seconds);
            let index = usize::try_from(seconds.saturating_sub(self.first) / self.step);
            if let (Ok(index), Some(summary)) = (index, summary)
                && let Some(cell) = values.get_mut(index)
            {
                *cell = value(summary);
            }
        }
        let column = |column: usize| {
            let from = column * self.buckets / self.columns;
            let to = ((column + 1) * self.buckets / self.columns).max(from + 1);
            join(&values[from..to.min(self.buckets)])
        };
        (0..self.columns).map(column).collect()
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if a == 0 { b } else { greatest_common_divisor(b % a, a) }
}

fn one(
    text: &mut String,
    name: &str,
    summary: Option<&StatsSummary>,
    buckets: &[StatsBucket],
    axis: &Axis,
    style: &Style,
) {
    let Some(summary) = summary else { return };
    let _ = writeln!(text, "{name}: {}", words(summary));
    let rates = axis.spread(
        buckets,
        |summary| summary.rate,
        |several| several.iter().sum::<f64>() / several.len().max(1) as f64,
    );
    bars(text, &rates, rate);
    let highest = summary
        .latency
        .as_ref()
        .and_then(|latency| latency.percentiles.iter().map(|value| value.percentile).max_by(f64::total_cmp));
    if let Some(percentile) = highest {
        let latency = |summary: &StatsSummary| {
            let latency = summary.latency.as_ref().and_then(|latency| value(latency, percentile));
            latency.map_or(0.0, |value| value.seconds as f64 * 1e6 + f64::from(value.nanos) / 1e3)
        };
        let latencies = axis.spread(buckets, latency, |several| several.iter().copied().fold(0.0, f64::max));
        let _ = writeln!(text, "{:>1$} latency", title(percentile).to_lowercase(), MARGIN - 2);
        bars(text, &latencies, |micros| unit::microseconds(micros as u64));
    }
    let (start, end) = (style.time(axis.start.as_ref(), true), style.time(axis.end.as_ref(), true));
    let [start, end] = [start, end].map(|time| time.split('.').next().unwrap_or_default().to_owned());
    let gap = axis.columns.saturating_sub(start.chars().count() + 1);
    let _ = writeln!(text, "{:MARGIN$}{start} {end:>gap$}\n", "");
}

/// "1,234 exchanges, 0.34/s, 1.2 % errors"
fn words(summary: &StatsSummary) -> String {
    let errors = share(summary.errors, summary.exchanges);
    format!("{} exchanges, {}, {errors} errors", unit::count(summary.exchanges), rate(summary.rate))
}

/// Bars from 0 to the largest value, which the scale names.
fn bars(text: &mut String, values: &[f64], label: impl Fn(f64) -> String) {
    let highest = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    let eighths: Vec<usize> = values
        .iter()
        .map(|value| {
            let share = if highest > 0.0 { (value / highest).clamp(0.0, 1.0) } else { 0.0 };
            // What there is some of is seen.
            ((share * (HEIGHT * 8) as f64).round() as usize).max(usize::from(*value > 0.0))
        })
        .collect();
    for line in (0..HEIGHT).rev() {
        let scale = match line {
            _ if line == HEIGHT - 1 => label(highest),
            0 => "0".to_owned(),
            _ => String::new(),
        };
        let blocks = eighths.iter().map(|eighths| BLOCKS[eighths.saturating_sub(line * 8).min(8)]);
        let drawn: String = blocks.collect();
        let tick = if scale.is_empty() { '│' } else { '┤' };
        let _ = writeln!(text, "{scale:>0$} {tick}{1}", MARGIN - 2, drawn.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use tap_proto::v1::{StatsGroup, StatsLatency, StatsPercentile};

    use super::*;

    fn bucket(seconds: i64, rate: f64) -> StatsBucket {
        let value = Some(prost_types::Duration { seconds: 0, nanos: (rate * 1e6) as i32 });
        let latency = StatsLatency {
            percentiles: vec![StatsPercentile { percentile: 99.0, value }],
            ..StatsLatency::default()
        };
        let summary = StatsSummary { exchanges: 60, rate, latency: Some(latency), ..StatsSummary::default() };
        StatsBucket { start_time: Some(Timestamp { seconds, nanos: 0 }), summary: Some(summary) }
    }

    fn answer(buckets: Vec<StatsBucket>) -> StatsResponse {
        let total = buckets.first().and_then(|bucket| bucket.summary.clone());
        StatsResponse { buckets, total, ..StatsResponse::default() }
    }

    fn style(width: u16) -> Style {
        Style { width: Some(width), colour: false, zone: TimeZone::UTC }
    }

    #[test]
    fn bars_are_as_high_as_their_values() {
        let start = 1_700_000_000;
        // The third bucket is empty.
        let buckets = [(0, 1.0), (60, 2.0), (180, 4.0)].map(|(after, rate)| bucket(start + after, rate));
        let drawn = render(&answer(buckets.into()), &style(31));
        assert_eq!(
            drawn,
            "\
total: 60 exchanges, 1.00/s, 0 % errors
   4.00/s ┤               █████
          │               █████
          │     █████     █████
        0 ┤██████████     █████
      p99 latency
  4.00 ms ┤               █████
          │               █████
          │     █████     █████
        0 ┤██████████     █████
           11-14 22:13:20 11-14 22:17:20

",
            "{drawn}"
        );
    }

    #[test]
    fn every_width_holds_any_number_of_buckets() {
        for count in [1, 2, 59, 60, 61, 1_000] {
            let buckets: Vec<_> = (0..count).map(|index| bucket(index * 5, index as f64)).collect();
            for width in [0, 1, 40, 80, 200, u16::MAX] {
                let mut answer = answer(buckets.clone());
                answer.groups = vec![StatsGroup {
                    key: vec!["a\u{1b}[31m".into(), String::new()],
                    summary: answer.total.clone(),
                    buckets: answer.buckets.clone(),
                }];
                let drawn = render(&answer, &style(width));
                let widest = drawn.lines().skip(1).map(|line| line.chars().count()).max().unwrap();
                assert!(widest <= usize::from(width).max(MARGIN + MIN_COLUMNS + 12), "{widest} of {width}");
                assert!(!drawn.contains('\u{1b}'));
            }
        }
        assert_eq!(render(&StatsResponse::default(), &style(80)), "");
    }

    #[test]
    fn a_peak_among_many_buckets_is_seen() {
        let buckets: Vec<_> =
            (0..5_000).map(|index| bucket(index, if index == 2_501 { 900.0 } else { 1.0 })).collect();
        let drawn = render(&answer(buckets), &style(80));
        let latency = drawn.split("latency\n").nth(1).unwrap();
        assert!(
            latency.starts_with("   900 ms ┤") && latency.lines().next().unwrap().contains('█'),
            "{drawn}"
        );
    }
}

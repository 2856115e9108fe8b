//! Latency over percentiles, as inline SVG. Both axes are logarithmic: towards 100 % each nine is as wide, and
//! upwards each power of ten as high.

use std::fmt::Write as _;

use super::text;
use crate::render::unit;

/// A line of the plot.
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    /// Percentiles with microseconds, both rising.
    pub(super) points: &'a [(f64, u64)],
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 30.0;
/// 99.99 %: what is beyond stands at the right end.
const MAX_NINES: f64 = 4.0;
/// There are as many colours.
const MAX_CURVES: usize = 3;

pub(super) fn plot(curves: &[Curve<'_>]) -> String {
    let values = || curves.iter().flat_map(|curve| curve.points).map(|(_, value)| (*value).max(1) as f64);
    let lowest = values().fold(f64::MAX, f64::min).log10().floor();
    let highest = values().fold(1.0, f64::max).log10().ceil().max(lowest + 1.0);
    let x = |percentile: f64| {
        let nines = -(1.0 - percentile / 100.0).max(1e-9).log10();
        LEFT + nines.min(MAX_NINES) / MAX_NINES * (WIDTH - LEFT - RIGHT)
    };
    let y = |value: f64| {
        let share = (value.max(1.0).log10() - lowest) / (highest - lowest);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Latency by percentile\">\n");
    for power in lowest as i32..=highest as i32 {
        let (value, y) = (10_f64.powi(power), y(10_f64.powi(power)));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            unit::microseconds(value as u64)
        );
    }
    for (percentile, label) in
        [(0.0, "min"), (50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9"), (100.0, "max")]
    {
        let x = x(percentile);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - 10.0
        );
    }
    for (index, Curve { name, points }) in curves.iter().take(MAX_CURVES).enumerate() {
        let points: Vec<_> = points
            .iter()
            .map(|(percentile, value)| format!("{:.1},{:.1}", x(*percentile), y(*value as f64)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"curve c{index}\" points=\"{}\"/><text class=\"c{index}\" x=\"{}\" y=\"18\">{}</text>",
            points.join(" "),
            LEFT + 140.0 * index as f64,
            text(name)
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_lies_within_the_picture() {
        for points in
            [&[(0.0, 0), (100.0, 0)][..], &[(0.0, 1), (99.999, 10), (100.0, u64::MAX)], &[(50.0, 1_000)]]
        {
            let svg = plot(&[Curve { name: "<x>", points }]);
            assert!(svg.contains("&lt;x&gt;") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            for point in points.split(' ') {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{point}");
            }
        }
    }
}

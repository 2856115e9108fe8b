//! `--fail-if`: a condition over the figures of a report. docs/comparison.md lists them.

use std::collections::BTreeMap;

use tap_expr::{ConditionError, Figure, FigureCondition, FigureKind, Figures};
use tap_proto::v1::{Distribution, ReplayReport};

use crate::compare::RESPONSE_MISSING;

const KNOWN: &[(&str, FigureKind)] = &[
    ("selected", FigureKind::Number),
    ("sent", FigureKind::Number),
    ("answered", FigureKind::Number),
    ("failed", FigureKind::Number),
    ("not_sent", FigureKind::Number),
    ("matched", FigureKind::Number),
    ("differed", FigureKind::Number),
    ("mismatches", FigureKind::Number),
    ("late", FigureKind::Number),
    ("error_rate", FigureKind::Number),
    ("failure_rate", FigureKind::Number),
    ("mismatch_rate", FigureKind::Number),
    ("late_rate", FigureKind::Number),
    ("mismatching_endpoints", FigureKind::Number),
    ("elapsed", FigureKind::Duration),
    ("aborted", FigureKind::Text),
    ("statuses", FigureKind::Counts),
    ("failures", FigureKind::Counts),
    ("refusals", FigureKind::Counts),
    ("mismatched", FigureKind::Counts),
    ("not_compared", FigureKind::Counts),
    ("latency.min", FigureKind::Duration),
    ("latency.p50", FigureKind::Duration),
    ("latency.p90", FigureKind::Duration),
    ("latency.p99", FigureKind::Duration),
    ("latency.p999", FigureKind::Duration),
    ("latency.max", FigureKind::Duration),
    ("send_error.p50", FigureKind::Duration),
    ("send_error.p90", FigureKind::Duration),
    ("send_error.p99", FigureKind::Duration),
    ("send_error.p999", FigureKind::Duration),
    ("send_error.max", FigureKind::Duration),
    ("primary.p50", FigureKind::Duration),
    ("primary.p90", FigureKind::Duration),
    ("primary.p99", FigureKind::Duration),
    ("primary.p999", FigureKind::Duration),
    ("primary.max", FigureKind::Duration),
];

/// A condition under which a replay counts as failed.
#[derive(Clone, Debug)]
pub struct FailIf {
    source: String,
    condition: FigureCondition,
}

impl FailIf {
    /// Parses and checks it, before anything is sent.
    pub fn parse(source: &str) -> Result<Self, ConditionError> {
        Ok(Self { source: source.to_owned(), condition: FigureCondition::parse(source, KNOWN)? })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds of a final report. Not where it is unknown: latencies without an answer, rates of nothing.
    pub fn holds(&self, report: &ReplayReport) -> bool {
        self.condition.holds(&Of(report))
    }
}

struct Of<'a>(&'a ReplayReport);

impl Figures for Of<'_> {
    fn figure(&self, name: &str, key: Option<&str>) -> Option<Figure> {
        let report = self.0;
        if let Some(key) = key {
            let counts = match name {
                "statuses" => {
                    let status = key.parse().ok().and_then(|status: u32| report.statuses.get(&status));
                    return Some(number(status.copied().unwrap_or_default()));
                }
                "failures" => &report.failed,
                "refusals" => &report.not_sent,
                "mismatched" => &report.mismatched,
                "not_compared" => &report.not_compared,
                _ => return None,
            };
            return Some(number(counts.get(key).copied().unwrap_or_default()));
        }
        if let Some((group, figure)) = name.split_once('.') {
            let distribution = match group {
                "latency" => report.latency.as_ref(),
                "send_error" => report.send_error.as_ref(),
                _ => report.arm_latencies.get(group),
            };
            return percentile(distribution?, figure);
        }
        let failed = total(&report.failed);
        let server_errors: u64 = report.statuses.range(500..600).map(|(_, count)| count).sum();
        let missing = report.not_compared.get(RESPONSE_MISSING).copied().unwrap_or_default();
        let compared = report.answered.saturating_sub(missing);
        Some(match name {
            "selected" => number(report.selected),
            "sent" => number(report.sent),
            "answered" => number(report.answered),
            "failed" => number(failed),
            "not_sent" => number(total(&report.not_sent)),
            "matched" => number(report.matched),
            "differed" => number(report.differed),
            "mismatches" => number(report.mismatches),
            "late" => number(report.late),
            "error_rate" => rate(failed + server_errors, report.sent)?,
            "failure_rate" => rate(failed, report.sent)?,
            "mismatch_rate" => rate(report.mismatches, compared)?,
            "late_rate" => rate(report.late, report.sent)?,
            "mismatching_endpoints" => {
                number(report.endpoints.iter().filter(|endpoint| endpoint.mismatches > 0).count() as u64)
            }
            "elapsed" => {
                let elapsed = report.elapsed.as_ref()?;
                Figure::Duration(i128::from(elapsed.seconds) * 1_000_000_000 + i128::from(elapsed.nanos))
            }
            "aborted" => Figure::Text(report.aborted.clone()),
            _ => return None,
        })
    }
}

fn number(count: u64) -> Figure {
    Figure::Number(count as f64)
}

fn rate(part: u64, whole: u64) -> Option<Figure> {
    (whole > 0).then(|| Figure::Number(part as f64 / whole as f64))
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

fn percentile(distribution: &Distribution, figure: &str) -> Option<Figure> {
    let Distribution { count: _, min_us, p50_us, p90_us, p99_us, p999_us, max_us } = *distribution;
    let microseconds = match figure {
        "min" => min_us,
        "p50" => p50_us,
        "p90" => p90_us,
        "p99" => p99_us,
        "p999" => p999_us,
        "max" => max_us,
        _ => return None,
    };
    Some(Figure::Duration(i128::from(microseconds) * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> ReplayReport {
        let counts =
            |pairs: &[(&str, u64)]| pairs.iter().map(|&(word, count)| (word.to_owned(), count)).collect();
        ReplayReport {
            selected: 110,
            sent: 100,
            answered: 98,
            failed: counts(&[("timeout", 2)]),
            not_sent: counts(&[("method", 10)]),
            statuses: [(200, 95), (503, 3)].into(),
            matched: 90,
            differed: 8,
            mismatches: 4,
            mismatched: counts(&[("status", 3)]),
            latency: Some(Distribution {
                count: 98,
                p99_us: 250_000,
                max_us: 900_000,
                ..Distribution::default()
            }),
            ..ReplayReport::default()
        }
    }

    #[test]
    fn every_known_figure_can_be_read() {
        let mut whole = report();
        whole.send_error = whole.latency;
        whole.arm_latencies =
            whole.latency.into_iter().map(|latency| ("primary".to_owned(), latency)).collect();
        whole.elapsed = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        for (name, kind) in KNOWN {
            let key = (*kind == FigureKind::Counts).then_some("x");
            let figure = Of(&whole).figure(name, key);
            let fits = matches!(
                (kind, &figure),
                (FigureKind::Number | FigureKind::Counts, Some(Figure::Number(_)))
                    | (FigureKind::Duration, Some(Figure::Duration(_)))
                    | (FigureKind::Text, Some(Figure::Text(_)))
            );
            assert!(fits, "{name}: {figure:?}");
        }
    }

    #[test]
    fn conditions_read_the_report() {
        let holds = |source: &str| FailIf::parse(source).unwrap().holds(&report());
        assert!(holds("error_rate > 0.01 || latency.p99 > duration(\"300ms\") || mismatches > 0"));
        assert!(holds("error_rate == 0.05 && failure_rate == 0.02"));
        assert!(holds("statuses['503'] == 3 && failures['timeout'] == 2 && refusals[\"method\"] == 10"));
        assert!(holds("mismatch_rate < 0.05 && mismatched['status'] == 3"));
        assert!(!holds("latency.p99 > duration(\"300ms\")"));
        assert!(!holds("primary.p99 > duration(\"0s\")"));
    }

    #[test]
    fn a_report_of_nothing_has_no_rates() {
        let condition = FailIf::parse("error_rate >= 0.0 || latency.p99 >= duration('0s')").unwrap();
        assert!(!condition.holds(&ReplayReport::default()));
        assert!(FailIf::parse("sent == 0").unwrap().holds(&ReplayReport::default()));
        assert!(FailIf::parse("latency.p98 > 1").is_err());
    }
}

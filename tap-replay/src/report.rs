//! What can be asked of a report: conditions, curves. Pure.

mod condition;

use hdrhistogram::{Histogram, serialization::Deserializer};
use tap_proto::v1::{Distribution, EndpointComparison, FieldDifference, ReplayReport};

pub use condition::FailIf;

/// Points of a curve: as many as a plot has room for.
const CURVE_POINTS: usize = 60;

/// The latency at percentiles, rising: from the histogram where the report has one, else from the few percentiles
/// that every report has. In microseconds.
pub fn latency_curve(report: &ReplayReport) -> Vec<(f64, u64)> {
    match histogram(&report.latency_histogram) {
        Some(histogram) if !histogram.is_empty() => {
            // Denser towards the end, where latencies are told apart: 90, 99, 99.9 % are equally far.
            let nines = (histogram.len() as f64).log10().clamp(1.0, 5.0);
            let at = |point: usize| {
                let share = 1.0 - 10_f64.powf(-nines * point as f64 / CURVE_POINTS as f64);
                (share * 100.0, histogram.value_at_quantile(share))
            };
            (0..=CURVE_POINTS).map(at).chain([(100.0, histogram.max())]).collect()
        }
        _ => report.latency.as_ref().map_or_else(Vec::new, distribution_curve),
    }
}

/// The percentiles of a distribution as a curve.
pub fn distribution_curve(distribution: &Distribution) -> Vec<(f64, u64)> {
    let Distribution { count: _, min_us, p50_us, p90_us, p99_us, p999_us, max_us } = *distribution;
    vec![(0.0, min_us), (50.0, p50_us), (90.0, p90_us), (99.0, p99_us), (99.9, p999_us), (100.0, max_us)]
}

/// The fields of an endpoint that are not noise.
pub fn real_fields(endpoint: &EndpointComparison) -> impl Iterator<Item = &FieldDifference> {
    endpoint.fields.iter().filter(|field| !field.is_noise && field.differences > 0)
}

fn histogram(encoded: &[u8]) -> Option<Histogram<u64>> {
    if encoded.is_empty() {
        return None;
    }
    Deserializer::new().deserialize(&mut &encoded[..]).ok()
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Serializer as _, V2Serializer};

    use super::*;

    #[test]
    fn a_curve_comes_from_the_histogram_or_from_the_percentiles() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        (1..=10_000).for_each(|value| histogram.record(value).unwrap());
        let mut encoded = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut encoded).unwrap();
        let distribution =
            Distribution { count: 2, min_us: 1, p50_us: 2, max_us: 9, ..Distribution::default() };
        let mut report = ReplayReport { latency: Some(distribution), ..ReplayReport::default() };
        assert_eq!(latency_curve(&report).len(), 6);

        report.latency_histogram = encoded;
        let curve = latency_curve(&report);
        assert_eq!(curve.len(), CURVE_POINTS + 2);
        assert!(curve.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1));
        assert!(curve.last().is_some_and(|(_, max)| (10_000..=10_010).contains(max)));

        report.latency_histogram = b"garbage".to_vec();
        assert_eq!(latency_curve(&report).len(), 6);
        assert!(latency_curve(&ReplayReport::default()).is_empty());
    }
}

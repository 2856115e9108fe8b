//! Reports of several shards as one: sums, and distributions merged from all of their values.

use std::collections::{BTreeMap, btree_map::Entry};

use hdrhistogram::{Histogram, serialization::Deserializer};
use tap_proto::v1::{Distribution, EndpointComparison, FaultCount, FieldDifference, ReplayReport};

use crate::tally::{distribution, serialized};

/// Examples of one field, as in the report of one replay.
const MAX_EXAMPLES: usize = 3;

/// Why reports can't be merged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("report {0} has no histogram of its {1}: only final reports have, printed as JSON")]
    NoHistogram(usize, &'static str),
    #[error("report {0}: its histogram of {1} can't be read")]
    Unreadable(usize, &'static str),
}

/// One report for all; reports are counted from 1 in errors.
pub fn merge(reports: impl IntoIterator<Item = ReplayReport>) -> Result<ReplayReport, MergeError> {
    let mut merged = ReplayReport::default();
    let mut latency = Merging::new("latency");
    let mut send_error = Merging::new("send_error");
    let mut endpoints: BTreeMap<(String, String), EndpointComparison> = BTreeMap::new();
    for (index, report) in reports.into_iter().enumerate() {
        latency.add(index + 1, report.latency.as_ref(), &report.latency_histogram)?;
        send_error.add(index + 1, report.send_error.as_ref(), &report.send_error_histogram)?;
        add(&mut merged, report, &mut endpoints);
    }
    (merged.latency, merged.latency_histogram) = latency.finish();
    (merged.send_error, merged.send_error_histogram) = send_error.finish();
    merged.endpoints = endpoints.into_values().collect();
    merged.endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.mismatches));
    Ok(merged)
}

fn add(
    merged: &mut ReplayReport,
    report: ReplayReport,
    endpoints: &mut BTreeMap<(String, String), EndpointComparison>,
) {
    merged.selected += report.selected;
    merged.sent += report.sent;
    merged.answered += report.answered;
    merged.matched += report.matched;
    merged.differed += report.differed;
    merged.late += report.late;
    merged.warm_up += report.warm_up;
    merged.connections += report.connections;
    merged.mismatches += report.mismatches;
    merged.redacted_values += report.redacted_values;
    for (sums, counts) in [
        (&mut merged.failed, report.failed),
        (&mut merged.not_sent, report.not_sent),
        (&mut merged.mismatched, report.mismatched),
        (&mut merged.not_compared, report.not_compared),
        (&mut merged.left_out, report.left_out),
        (&mut merged.transform_errors, report.transform_errors),
        (&mut merged.dynamic, report.dynamic),
        (&mut merged.arm_failures, report.arm_failures),
    ] {
        counts.into_iter().for_each(|(word, count)| *sums.entry(word).or_default() += count);
    }
    for (status, count) in report.statuses {
        *merged.statuses.entry(status).or_default() += count;
    }
    // Shards run side by side.
    let length =
        |elapsed: &Option<prost_types::Duration>| elapsed.map(|elapsed| (elapsed.seconds, elapsed.nanos));
    if length(&report.elapsed) > length(&merged.elapsed) {
        merged.elapsed = report.elapsed;
    }
    for (text, other) in
        [(&mut merged.aborted, report.aborted), (&mut merged.noise_source, report.noise_source)]
    {
        if text.is_empty() {
            *text = other;
        }
    }
    for fault in report.faults {
        let same = |known: &&mut FaultCount| known.rule == fault.rule && known.kind == fault.kind;
        match merged.faults.iter_mut().find(same) {
            Some(known) => known.count += fault.count,
            None => merged.faults.push(fault),
        }
    }
    for warning in report.warnings {
        if !merged.warnings.contains(&warning) {
            merged.warnings.push(warning);
        }
    }
    for endpoint in report.endpoints {
        match endpoints.entry((endpoint.method.clone(), endpoint.path.clone())) {
            Entry::Vacant(entry) => {
                entry.insert(endpoint);
            }
            Entry::Occupied(mut entry) => add_endpoint(entry.get_mut(), endpoint),
        }
    }
}

fn add_endpoint(merged: &mut EndpointComparison, other: EndpointComparison) {
    merged.answered += other.answered;
    merged.differed += other.differed;
    merged.mismatches += other.mismatches;
    merged.latency_sum_us += other.latency_sum_us;
    merged.latency_max_us = merged.latency_max_us.max(other.latency_max_us);
    for field in other.fields {
        match merged.fields.iter_mut().find(|known| known.field == field.field) {
            Some(known) => add_field(known, field),
            None => merged.fields.push(field),
        }
    }
}

fn add_field(merged: &mut FieldDifference, other: FieldDifference) {
    merged.differences += other.differences;
    merged.noise += other.noise;
    // Noise in one shard alone is a finding in the other.
    merged.is_noise &= other.is_noise;
    if !merged.is_noise {
        merged.noise_reason.clear();
    }
    other.kinds.into_iter().for_each(|(kind, count)| *merged.kinds.entry(kind).or_default() += count);
    let room = MAX_EXAMPLES.saturating_sub(merged.examples.len());
    merged.examples.extend(other.examples.into_iter().take(room));
}

/// A distribution under way.
struct Merging {
    name: &'static str,
    all: Option<Histogram<u64>>,
}

impl Merging {
    fn new(name: &'static str) -> Self {
        Self { name, all: None }
    }

    fn add(&mut self, index: usize, known: Option<&Distribution>, bytes: &[u8]) -> Result<(), MergeError> {
        if known.is_none_or(|known| known.count == 0) {
            return Ok(());
        }
        if bytes.is_empty() {
            return Err(MergeError::NoHistogram(index, self.name));
        }
        let unreadable = MergeError::Unreadable(index, self.name);
        let mut read = bytes;
        let Ok(histogram) = Deserializer::new().deserialize::<u64, _>(&mut read) else {
            return Err(unreadable);
        };
        match &mut self.all {
            None => self.all = Some(histogram),
            Some(all) => all.add(histogram).map_err(|_| unreadable)?,
        }
        Ok(())
    }

    fn finish(self) -> (Option<Distribution>, Vec<u8>) {
        self.all.map_or((None, Vec::new()), |all| (distribution(&all), serialized(&all)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Failure, compare::Verdict, tally::Tally};

    #[test]
    fn shards_count_like_one_replay() {
        let mut whole = Tally::new();
        let mut shards = [Tally::new(), Tally::new(), Tally::new()];
        for index in 0..300_u64 {
            for tally in [&mut whole, &mut shards[index as usize % 3]] {
                tally.sent(false);
                tally.written(Some(Duration::from_micros(index)), false);
                if index % 7 == 0 {
                    tally.failed(Failure::Timeout, false);
                } else {
                    tally.answered(200, Duration::from_micros(index * 100), Verdict::missing(), false);
                }
            }
        }
        let merged = merge(shards.iter().map(|shard| shard.final_report(Duration::from_secs(1)))).unwrap();
        assert_eq!(merged, whole.final_report(Duration::from_secs(1)));
        // Merging is associative.
        let again = merge([merged.clone(), ReplayReport::default()]).unwrap();
        assert_eq!(again, merged);
    }

    #[test]
    fn a_report_without_its_histograms_is_not_merged_wrongly() {
        let mut tally = Tally::new();
        tally.sent(false);
        tally.answered(200, Duration::from_secs(1), Verdict::missing(), false);
        let report = tally.report(Duration::ZERO);
        assert_eq!(merge([report.clone()]), Err(MergeError::NoHistogram(1, "latency")));
        let broken = ReplayReport { latency_histogram: vec![1, 2, 3], ..report };
        assert_eq!(merge([ReplayReport::default(), broken]), Err(MergeError::Unreadable(2, "latency")));
    }
}

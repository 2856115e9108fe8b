//! The mirrors' metrics, read from their own counts when they are asked for: a mirror that is gone has none.
//!
//! | metric                                                  | what                                               |
//! |---------------------------------------------------------|----------------------------------------------------|
//! | `podtap_collector_mirror_selected_total{mirror}`        | exchanges that were meant for it                   |
//! | `podtap_collector_mirror_sent_total{mirror}`            | of them, those that were sent                      |
//! | `podtap_collector_mirror_not_sent_total{mirror, reason}` | and those that were not                           |
//! | `podtap_collector_mirror_answered_total{mirror}`        | answers                                            |
//! | `podtap_collector_mirror_failed_total{mirror, reason}`  | sent, and no whole answer                          |
//! | `podtap_collector_mirror_differed_total{mirror}`        | answers that differ from the recorded response     |
//! | `podtap_collector_mirror_overrun_total{mirror}`         | exchanges that nobody had time to look at          |
//! | `podtap_collector_mirror_waiting{mirror}`               | in its queue                                       |
//! | `podtap_collector_mirror_lag_seconds{mirror}`           | from the last exchange's time to its send          |

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};
use tap_proto::v1::MirrorReport;
use tap_replay::mirror::Mirror;

use super::Mirrors;

type Single = fn(&MirrorReport) -> u64;
type ByReason = fn(&MirrorReport) -> &BTreeMap<String, u64>;

const COUNTERS: [(&str, &str, Single); 5] = [
    ("mirror_selected", "Exchanges that were meant for the mirror", |report| report.selected),
    ("mirror_sent", "Exchanges that the mirror sent", |report| report.sent),
    ("mirror_answered", "Answers to what the mirror sent", |report| report.answered),
    ("mirror_differed", "Answers that differ from the recorded response", |report| report.differed),
    ("mirror_overrun", "Exchanges that no mirror had time to look at", |report| report.overrun),
];
const COUNTERS_BY_REASON: [(&str, &str, ByReason); 2] = [
    ("mirror_not_sent", "Exchanges that were meant for the mirror and not sent", |report| &report.not_sent),
    ("mirror_failed", "Exchanges that were sent and got no whole answer", |report| &report.failed),
];

impl Collector for Mirrors {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let entries = self.entries();
        let running = entries.iter().filter_map(|(name, entry)| Some((name, entry.state.as_ref().ok()?)));
        let reports: Vec<_> = running.map(|(name, mirror)| (name.as_str(), Mirror::report(mirror))).collect();
        for (metric, help, value) in COUNTERS {
            let mut family = encoder.encode_descriptor(metric, help, None, MetricType::Counter)?;
            for (name, report) in &reports {
                family
                    .encode_family(&[("mirror", *name)])?
                    .encode_counter::<NoLabelSet, _, u64>(&value(report), None)?;
            }
        }
        for (metric, help, counts) in COUNTERS_BY_REASON {
            let mut family = encoder.encode_descriptor(metric, help, None, MetricType::Counter)?;
            for (name, report) in &reports {
                for (reason, count) in counts(report) {
                    let labels = [("mirror", *name), ("reason", reason.as_str())];
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
                }
            }
        }
        let mut waiting =
            encoder.encode_descriptor("mirror_waiting", "In the mirror's queue", None, MetricType::Gauge)?;
        for (name, report) in &reports {
            let count = i64::try_from(report.waiting).unwrap_or(i64::MAX);
            waiting.encode_family(&[("mirror", *name)])?.encode_gauge(&count)?;
        }
        let help = "From the time of the last exchange to its send";
        let mut lag = encoder.encode_descriptor("mirror_lag_seconds", help, None, MetricType::Gauge)?;
        for (name, report) in &reports {
            let seconds = report.last_lag_us as f64 / 1e6;
            lag.encode_family(&[("mirror", *name)])?.encode_gauge(&seconds)?;
        }
        Ok(())
    }
}

//! What the process itself uses, read from `/proc/self` on every scrape.
//!
//! - `process_resident_memory_bytes`
//! - `process_open_fds`
//! - `process_cpu_seconds_total`
//!
//! Names and meaning are Prometheus' own convention. What can't be read is left out.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

/// Linux reports process times in this unit on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
struct ProcessMetrics;

/// Adds the `process_*` metrics.
pub fn register_process_metrics(registry: &mut Registry) {
    registry.register_collector(Box::new(ProcessMetrics));
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(bytes) = resident_bytes() {
            ConstGauge::new(bytes).encode(encoder.encode_descriptor(
                "process_resident_memory_bytes",
                "Resident memory of the process in bytes",
                None,
                MetricType::Gauge,
            )?)?;
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            ConstGauge::new(i64::try_from(descriptors.count()).unwrap_or(i64::MAX)).encode(
                encoder.encode_descriptor(
                    "process_open_fds",
                    "Open file descriptors",
                    None,
                    MetricType::Gauge,
                )?,
            )?;
        }
        if let Some(seconds) = cpu_seconds() {
            ConstCounter::new(seconds).encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                "User and system CPU time of the process in seconds",
                None,
                MetricType::Counter,
            )?)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in brackets and may hold anything; utime and stime are fields 14 and 15.
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(cpu_seconds().is_some_and(|seconds| seconds >= 0.0));
    }
}

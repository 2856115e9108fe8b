//! The arguments of `tapctl stats`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tap_proto::v1::StatsOrder;

use super::{Range, Selection};

#[derive(Args, Clone, Debug)]
pub struct Stats {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub range: Range,
    /// What to group by: workload, namespace, pod, method, host, path_template, status, status_class, source.workload,
    /// destination.service, labels.NAME, …; docs/queries.md has all. Without it, there is the total alone.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub by: Vec<String>,
    /// Also over time, in buckets of this length.
    #[arg(long, value_name = "DURATION", value_parser = parse_step)]
    pub step: Option<Duration>,
    /// Draw rates and latencies over time; without --step, in buckets that suit the terminal.
    #[arg(long, conflicts_with = "csv")]
    pub plot: bool,
    /// Print comma-separated values: durations in seconds, times as in RFC 3339.
    #[arg(long, conflicts_with = "output")]
    pub csv: bool,
    /// Percentiles of the latency.
    #[arg(
        long = "percentile",
        value_name = "P",
        value_delimiter = ',',
        default_values_t = [50.0, 90.0, 99.0],
        value_parser = parse_percentile
    )]
    pub percentiles: Vec<f64>,
    /// Which groups come first.
    #[arg(long, value_enum, default_value_t = Sort::Count)]
    pub sort: Sort,
    /// At most this many groups; the others are shown together. 20 without this, 4 of a plot.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The most exchanges first.
    Count,
    /// The most errors first: status 500 and above, or no response.
    Errors,
    /// The highest latency first, by the highest percentile.
    Latency,
    /// The most bytes first.
    Bytes,
    /// By the names.
    Key,
}

impl From<Sort> for StatsOrder {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Count => Self::Count,
            Sort::Errors => Self::Errors,
            Sort::Latency => Self::Latency,
            Sort::Bytes => Self::Bytes,
            Sort::Key => Self::Key,
        }
    }
}

fn parse_step(text: &str) -> Result<Duration, String> {
    let step = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if step < Duration::from_secs(1) || step.subsec_nanos() != 0 {
        return Err("a step is of whole seconds, one at least".to_owned());
    }
    Ok(step)
}

fn parse_percentile(text: &str) -> Result<f64, String> {
    let number = text.trim_start_matches('p').parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("not between 0 and 100".to_owned()) }
}

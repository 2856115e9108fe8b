//! `tapctl stats`: counts, rates and latencies of the exchanges that match.

use std::{io::Write, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use tap_proto::v1::{StatsOrder, StatsRequest, StatsResponse};

use super::{Session, Verdict};
use crate::{
    cli::{self, Output},
    connect::{Collector, explain},
    render::{json, stats, stats_plot},
};

const DEFAULT_GROUPS: u32 = 20;
/// Each takes ten lines.
const DEFAULT_PLOTS: u32 = 4;
/// Lengths of buckets that are easy to read.
const STEPS: [u64; 17] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];
/// Buckets of a plot, at most.
const PLOT_BUCKETS: u64 = 120;

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Stats) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    let cli::Stats { selection, range, by, step, plot, csv, percentiles, sort, limit } = arguments;
    let now = Timestamp::now();
    let default_limit = if plot { DEFAULT_PLOTS } else { DEFAULT_GROUPS };
    let mut request = StatsRequest {
        filter: selection.condition(),
        start_time: range.since.map(|since| since.resolve(now)),
        end_time: range.until.map(|until| until.resolve(now)),
        group_by: by.clone(),
        step: step.and_then(|step| prost_types::Duration::try_from(step).ok()),
        percentiles,
        order: StatsOrder::from(sort).into(),
        limit: limit.unwrap_or(default_limit),
    };
    if plot && request.step.is_none() {
        let step = plot_step(&collector, &request).await?;
        request.step = prost_types::Duration::try_from(step).ok();
    }
    let filter = request.filter.clone();
    let answer = ask(&collector, request).await?;
    let total = answer.total.as_ref().map_or(0, |total| total.exchanges);
    if csv {
        out.write_all(stats::csv(&by, &answer).as_bytes())?;
        return Ok(Verdict::Good);
    }
    match output {
        Output::Table if total == 0 => {
            eprintln!("nothing matches{}", if filter.is_empty() { "" } else { " the filter" })
        }
        Output::Table if plot => out.write_all(stats_plot::render(&answer, &style).as_bytes())?,
        Output::Table => out.write_all(stats::render(&by, &answer, &style).as_bytes())?,
        Output::Json => out.write_all(json::pretty(&answer)?.as_bytes())?,
        Output::Jsonl => out.write_all(json::line(&answer)?.as_bytes())?,
    }
    if answer.ungrouped_exchanges > 0 {
        eprintln!(
            "{} exchanges were not told apart, as there are too many groups: take fewer names, or a narrower filter",
            answer.ungrouped_exchanges
        );
    }
    Ok(Verdict::Good)
}

async fn ask(collector: &Collector, request: StatsRequest) -> Result<StatsResponse> {
    let filter = request.filter.clone();
    let answer = collector.captures().stats(collector.request(request)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| explain(&status, &filter))
}

/// A step that makes as many buckets as a terminal has room for. What was not said of the time, the exchanges say.
async fn plot_step(collector: &Collector, request: &StatsRequest) -> Result<Duration> {
    let span = if request.start_time.is_some() && request.end_time.is_some() {
        (request.start_time, request.end_time)
    } else {
        let answer = ask(collector, StatsRequest { group_by: Vec::new(), ..request.clone() }).await?;
        (answer.start_time, answer.end_time)
    };
    let seconds = match span {
        (Some(start), Some(end)) => u64::try_from(end.seconds.saturating_sub(start.seconds)).unwrap_or(0),
        _ => 0,
    };
    let fits = STEPS.into_iter().find(|step| seconds / step <= PLOT_BUCKETS);
    let days = || seconds.div_ceil(PLOT_BUCKETS).div_ceil(86_400) * 86_400;
    Ok(Duration::from_secs(fits.unwrap_or_else(days)))
}

//! `tapctl diff`: sends captured requests to two versions of a server, and tells where their answers differ.

use std::io::Write;

use anyhow::{Context as _, Error, Result, bail};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tap_formats::jsonl::Captures;
use tap_proto::v1::{Exchange, Order, ReplayReport, SearchRequest};
use tap_replay::{DiffPlan, End, Outcome, Plan, RawPlan, diff, selection::filter_for_replay};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Verdict, WrongUsage,
    judgement::{Judged, Judgement},
    replay::{PAGE, second_interrupt},
};
use crate::{
    cli::{self, Output},
    connect::{Collector, Source, explain},
    render::{Style, json, report},
};

pub(super) async fn run(
    arguments: cli::Diff,
    source: &Source,
    output: Output,
    style: &Style,
    out: &mut impl Write,
) -> Result<Verdict> {
    let judgement = Judgement::read(&arguments.judging)?;
    let plan = plan(&arguments, &judgement)?;
    let (exchanges, filter) = match &arguments.file {
        Some(path) => {
            let captures = Captures::open(path).with_context(|| format!("open {}", path.display()))?;
            (stream::iter(captures).map_err(Error::from).boxed(), String::new())
        }
        None => {
            let search = search(&arguments);
            let filter = search.filter.clone();
            let collector = source.connect().await?;
            (stored(&collector, search).boxed(), filter)
        }
    };

    let (progress_tx, progress_rx) = watch::channel(ReplayReport::default());
    let shown = tokio::spawn(show(progress_rx));
    let stop = CancellationToken::new();
    let Outcome { report, end } = tokio::select! {
        outcome = diff(plan, exchanges, progress_tx, stop.clone()) => outcome,
        () = second_interrupt(stop) => bail!("gave up on what was in flight"),
    };
    shown.await.context("show the progress")?;

    if !judgement.takes_stdout() {
        match output {
            Output::Table => out.write_all(report::render(&report, style).as_bytes())?,
            Output::Json => out.write_all(json::pretty(&report)?.as_bytes())?,
            Output::Jsonl => out.write_all(json::line(&report)?.as_bytes())?,
        }
    }
    let ended = match &end {
        End::Finished => "",
        End::Failed(_) => "the exchanges could not be read to their end",
        _ => "stopped before the end",
    };
    let title = format!("{} against {}", arguments.candidate, arguments.primary);
    let judged = judgement.conclude(&report, &title, ended, out)?;
    match end {
        End::Finished if report.selected == 0 => eprintln!("nothing matches"),
        End::Finished => {}
        End::Failed(error) => {
            let error = match error.downcast_ref() {
                Some(status) => explain(status, &filter),
                None => error,
            };
            return Err(error.context("the exchanges could not be read to their end"));
        }
        _ => {
            eprintln!("{ended}");
            return Ok(Verdict::Bad);
        }
    }
    let good = match judged {
        Judged::Passed => true,
        Judged::Failed => false,
        Judged::Unasked => {
            report.mismatches == 0 && report.failed.is_empty() && report.arm_failures.is_empty()
        }
    };
    Ok(if good { Verdict::Good } else { Verdict::Bad })
}

/// The plan of each target, or all that is wrong with them.
fn plan(arguments: &cli::Diff, judgement: &Judgement) -> Result<DiffPlan, WrongUsage> {
    let id = Uuid::now_v7().to_string();
    let mut mistakes = Vec::new();
    let mut plan = |name: &str, target: &str| {
        let raw = RawPlan {
            id: id.clone(),
            target: target.to_owned(),
            max_in_flight: arguments.max_in_flight,
            allow_methods: arguments.allow_methods.clone(),
            max_requests: arguments.max_requests,
            timeout: Some(arguments.request_timeout),
            keep_host: arguments.keep_host,
            comparison: judgement.comparison.clone(),
            ..RawPlan::default()
        };
        let plan = Plan::validate(raw);
        plan.map_err(|errors| mistakes.extend(errors.iter().map(|error| format!("{name}: {error}")))).ok()
    };
    let candidate = plan("candidate", &arguments.candidate);
    let primary = plan("primary", &arguments.primary);
    let secondary = arguments.secondary.as_ref().map(|secondary| plan("secondary", secondary));
    match (candidate, primary, secondary) {
        (Some(candidate), Some(primary), None) => Ok(DiffPlan { candidate, primary, secondary: None }),
        (Some(candidate), Some(primary), Some(Some(secondary))) => {
            Ok(DiffPlan { candidate, primary, secondary: Some(secondary) })
        }
        _ => Err(WrongUsage(mistakes.join("\n  "))),
    }
}

fn search(arguments: &cli::Diff) -> SearchRequest {
    // With a fixed end, a tapped target does not make the selection grow.
    let now = Timestamp::now();
    let until = arguments.range.until.clone().unwrap_or(cli::Moment::At(now));
    SearchRequest {
        filter: filter_for_replay(&arguments.selection.condition()),
        start_time: arguments.range.since.as_ref().map(|since| since.resolve(now)),
        end_time: Some(until.resolve(now)),
        order: Order::OldestFirst.into(),
        page_size: PAGE,
        ..SearchRequest::default()
    }
}

fn stored(
    collector: &Collector,
    search: SearchRequest,
) -> impl Stream<Item = Result<Exchange, Error>> + Send + use<> {
    let pages = collector.pages(search).map_err(Error::from);
    pages.map_ok(|page| stream::iter(page.exchanges).map(Ok)).try_flatten()
}

async fn show(mut progress: watch::Receiver<ReplayReport>) {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}  {wide_msg}") {
        bar.set_style(style);
    }
    while progress.changed().await.is_ok() {
        let report = progress.borrow_and_update().clone();
        bar.tick();
        bar.set_message(format!(
            "{} sent, {} answered, {} differ, noise included",
            report.sent, report.answered, report.differed
        ));
    }
    bar.finish_and_clear();
}

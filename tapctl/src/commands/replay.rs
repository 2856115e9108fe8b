//! `tapctl replay`: reads the selection from the collector as a stream and sends it from here.

use std::{io::Write, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tap_proto::v1::{Exchange, Order, ReplayReport, SearchRequest, SearchResponse};
use tap_replay::{End, Outcome, Plan, RawPlan, selection::filter_for_replay};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::{
    Session, Verdict, WrongUsage,
    judgement::{Judged, Judgement, baseline},
};
use crate::{
    cli::{self, Output},
    connect::{Collector, explain},
    render::{json, report},
};

/// The protocol's largest page: fewer calls.
pub(super) const PAGE: u32 = 1_000;

/// The plan of a replay, or all that is wrong with it.
pub(super) fn plan(arguments: &cli::Replay, judgement: &Judgement) -> Result<Plan> {
    let raw = RawPlan {
        id: Uuid::now_v7().to_string(),
        target: arguments.target.clone(),
        speed: arguments.speed,
        max_in_flight: arguments.max_in_flight,
        allow_methods: arguments.allow_methods.clone(),
        max_requests: arguments.max_requests,
        timeout: Some(arguments.request_timeout),
        keep_host: arguments.keep_host,
        comparison: judgement.comparison.clone(),
        ..RawPlan::default()
    };
    let plan = Plan::validate(raw).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        WrongUsage(errors.join("\n  "))
    })?;
    Ok(match &arguments.noise_from {
        Some(path) => plan.with_noise_from(&baseline(path)?),
        None => plan,
    })
}

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Replay) -> Result<Verdict> {
    let judgement = Judgement::read(&arguments.judging)?;
    let plan = plan(&arguments, &judgement)?;
    let Session { collector, output, style, out } = session;
    // With a fixed end, a replay at a tapped target does not chase what it captures.
    let now = Timestamp::now();
    let search = SearchRequest {
        filter: filter_for_replay(&arguments.selection.condition()),
        start_time: arguments.range.since.as_ref().map(|since| since.resolve(now)),
        end_time: Some(arguments.range.until.unwrap_or(cli::Moment::At(now)).resolve(now)),
        order: Order::OldestFirst.into(),
        page_size: PAGE,
        ..SearchRequest::default()
    };
    let filter = search.filter.clone();
    let span = span(&collector, &search).await.map_err(|status| explain(&status, &filter))?;

    let (progress_tx, progress_rx) = watch::channel(ReplayReport::default());
    let shown = tokio::spawn(show(progress_bar(span, plan.speed())?, progress_rx));
    let stop = CancellationToken::new();
    let replay = tap_replay::replay(plan, exchanges(&collector, search), progress_tx, stop.clone());
    let Outcome { report, end } = tokio::select! {
        outcome = replay => outcome,
        () = second_interrupt(stop) => bail!("gave up on what was in flight"),
    };
    shown.await.context("show the progress")?;

    if !judgement.takes_stdout() {
        match output {
            Output::Table => out.write_all(report::render(&report, &style).as_bytes())?,
            Output::Json => out.write_all(json::pretty(&report)?.as_bytes())?,
            Output::Jsonl => out.write_all(json::line(&report)?.as_bytes())?,
        }
    }
    let ended = match &end {
        End::Finished => "",
        End::Failed(_) => "the selection could not be read to its end",
        _ => "stopped before the end",
    };
    let judged = judgement.conclude(&report, &format!("replay at {}", arguments.target), ended, out)?;
    match end {
        End::Finished if report.selected == 0 => eprintln!("nothing matches"),
        End::Finished => {}
        End::Stopped => {
            eprintln!("stopped before the end");
            return Ok(Verdict::Bad);
        }
        End::Failed(status) => {
            return Err(explain(&status, &filter).context("the selection could not be read to its end"));
        }
    }
    let mismatch = arguments.fail_on_mismatch && report.mismatches > 0;
    let failed = match judged {
        Judged::Unasked => !report.failed.is_empty(),
        Judged::Passed => false,
        Judged::Failed => true,
    };
    Ok(if mismatch || failed { Verdict::Bad } else { Verdict::Good })
}

/// The first Ctrl-C stops the replay, which then waits for what is in flight; this returns at the second.
pub(super) async fn second_interrupt(stop: CancellationToken) {
    let interrupt = async || {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the signal ends the program, as ever.
            future::pending().await
        }
    };
    interrupt().await;
    stop.cancel();
    eprintln!("stopping when what is in flight has ended; Ctrl-C again gives up on it");
    interrupt().await;
}

/// The selection as a stream, in order of time; the next page is fetched when the last one was taken.
fn exchanges(
    collector: &Collector,
    search: SearchRequest,
) -> impl Stream<Item = Result<Exchange, Status>> + Send + use<> {
    let pages = collector.pages(search);
    pages.map_ok(|page: SearchResponse| stream::iter(page.exchanges).map(Ok)).try_flatten()
}

/// The recorded time from the first selected exchange to the last, as far as known; none of an empty one.
async fn span(collector: &Collector, search: &SearchRequest) -> Result<Option<Duration>, Status> {
    let end = async |order: Order| {
        let request = SearchRequest { order: order.into(), page_size: 1, summary: true, ..search.clone() };
        let page = collector.captures().search(collector.request(request)).await?.into_inner();
        Ok::<_, Status>(page.exchanges.into_iter().next().and_then(|exchange| exchange.time))
    };
    let (Some(first), Some(last)) = (end(Order::OldestFirst).await?, end(Order::NewestFirst).await?) else {
        return Ok(None);
    };
    let seconds = last.seconds.saturating_sub(first.seconds);
    let nanoseconds =
        seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(last.nanos - first.nanos));
    Ok(u64::try_from(nanoseconds).ok().map(Duration::from_nanos))
}

/// A bar over the time that the replay will take: how many exchanges match is not known before the end.
fn progress_bar(span: Option<Duration>, speed: f64) -> Result<ProgressBar> {
    let length = (span.unwrap_or_default().as_secs_f64() * 1_000.0 / speed) as u64;
    let style = ProgressStyle::with_template("{bar:30} {elapsed} ({eta} left)  {wide_msg}")
        .context("the progress bar's template")?;
    Ok(ProgressBar::new(length.max(1)).with_style(style))
}

/// Shows each report until there are no more.
async fn show(bar: ProgressBar, mut progress: watch::Receiver<ReplayReport>) {
    while progress.changed().await.is_ok() {
        let report = progress.borrow_and_update().clone();
        let failed: u64 = report.failed.values().sum();
        bar.set_position(u64::try_from(bar.elapsed().as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!(
            "{} sent, {} answered, {failed} failed, {} differ",
            report.sent, report.answered, report.differed
        ));
    }
    bar.finish_and_clear();
}

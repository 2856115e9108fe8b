//! `tapctl replay`: sends the selection from here, or lets the collector send it.

mod dry_run;
mod kubernetes;
mod merge;
mod remote;
mod shard;
mod source;

use std::{fmt, fs, io::Write, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::{Stream, future};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tap_proto::v1::{Exchange, Order, Replay, ReplayReport, SearchRequest, replay::State};
use tap_replay::{End, Files, Outcome, Plan, RawHook, RawPlan, RawTls, selection::filter_for_replay};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use kubernetes::run as run_in_cluster;

use super::{
    Session, Verdict, WrongUsage,
    judgement::{Judged, Judgement, baseline},
};
use crate::{
    cli::{self, Output, ReplayCommand},
    connect::explain,
    render::{Style, json, report},
};

/// The protocol's largest page: fewer calls.
pub(super) const PAGE: u32 = 1_000;

/// The plan of a replay, or all that is wrong with it.
pub(super) fn plan(arguments: &cli::Replay, judgement: &Judgement) -> Result<Plan> {
    let sending = &arguments.sending;
    let (loops, loop_forever) = sending.passes();
    let in_cluster = arguments.cluster.kubernetes;
    let client_certificate = match (&sending.client_cert, &sending.client_key) {
        // Where the pods are.
        _ if in_cluster => None,
        (Some(certificate), Some(key)) => read(Some(certificate))?.zip(read(Some(key))?),
        _ => None,
    };
    let transform = read(sending.transform.as_deref())?.unwrap_or_default();
    let chaos = read(sending.chaos.as_deref())?.unwrap_or_default();
    let raw = RawPlan {
        id: Uuid::now_v7().to_string(),
        target: arguments.target.clone().unwrap_or_default(),
        speed: arguments.speed,
        max_in_flight: arguments.max_in_flight,
        allow_methods: arguments.allow_methods.clone(),
        max_requests: arguments.max_requests,
        timeout: Some(arguments.request_timeout),
        keep_host: arguments.keep_host,
        arrival: sending.arrival(),
        loops,
        loop_forever,
        duration: sending.duration,
        warm_up: sending.warm_up,
        max_connections: sending.max_connections,
        session: sending.session.clone(),
        sample: sending.sample.unwrap_or_default(),
        shards: sending.shards,
        shard: sending.shard,
        tls: RawTls {
            ca_certificates: read(sending.ca_cert.as_deref())?.unwrap_or_default(),
            server_name: sending.server_name.clone(),
            insecure: sending.insecure,
            client_certificate,
        },
        no_compare: sending.no_compare,
        seed: sending.seed,
        chaos: String::from_utf8(chaos).map_err(|_| WrongUsage("--chaos: not text".to_owned()))?,
        abort_if: sending.abort_if.clone(),
        abort_window: Some(sending.abort_window),
        allow_namespaces: sending.allow_namespaces.clone(),
        transform: String::from_utf8(transform)
            .map_err(|_| WrongUsage("--transform: not text".to_owned()))?,
        files: match (sending.remote, in_cluster) {
            (_, true) => Files::Elsewhere(kubernetes::SECRETS),
            (true, false) => Files::Refused,
            (false, false) => Files::Read,
        },
        comparison: judgement.comparison.clone(),
        hook: sending.hook.as_ref().map(|command| RawHook {
            command: ["sh", "-c", command].map(str::to_owned).to_vec(),
            timeout: sending.hook_timeout,
        }),
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

/// Finds what is wrong with the arguments before anything is connected.
pub(super) fn check(arguments: &cli::Replay) -> Result<()> {
    let judgement = Judgement::read(&arguments.judging)?;
    plan(arguments, &judgement).map(drop)
}

/// A file that an argument names; it must be there before anything is sent.
fn read(path: Option<&Path>) -> Result<Option<Vec<u8>>> {
    path.map(|path| fs::read(path).map_err(|error| WrongUsage(format!("{}: {error}", path.display()))))
        .transpose()
        .map_err(Into::into)
}

/// Whether everything is in files.
pub(super) fn needs_no_collector(arguments: &cli::Replay) -> bool {
    arguments.command.is_some() || arguments.sending.file.is_some()
}

/// Whether others ask for the captures, and send them.
pub(super) fn is_in_cluster(arguments: &cli::Replay) -> bool {
    arguments.cluster.kubernetes
}

/// Runs what needs no collector.
pub(super) async fn run_here(
    arguments: cli::Replay,
    output: Output,
    style: Style,
    out: &mut impl Write,
) -> Result<Verdict> {
    if let Some(ReplayCommand::Merge(arguments)) = &arguments.command {
        return merge::run(arguments, output, style, out);
    }
    let judgement = Judgement::read(&arguments.judging)?;
    let plan = plan(&arguments, &judgement)?;
    let file = arguments.sending.file.clone().unwrap_or_default();
    if arguments.sending.dry_run {
        return match dry_run::run(&plan, source::of_file(file), out).await? {
            None => Ok(Verdict::Good),
            Some(error) => Err(error),
        };
    }
    if file.as_os_str() == "-" && !matches!(arguments.sending.passes(), (0 | 1, false)) {
        return Err(WrongUsage("--loop: standard input can be read once; name a file".to_owned()).into());
    }
    let source = move || source::of_file(file.clone());
    let printing = Printing { output, style, out, judgement };
    send(plan, source, None, &arguments, printing, |error: anyhow::Error| error).await
}

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Replay) -> Result<Verdict> {
    // With a fixed end, a replay at a tapped target does not chase what it captures.
    let now = Timestamp::now();
    let search = SearchRequest {
        filter: filter_for_replay(&arguments.selection.condition()),
        start_time: arguments.range.since.as_ref().map(|since| since.resolve(now)),
        end_time: Some(arguments.range.until.clone().unwrap_or(cli::Moment::At(now)).resolve(now)),
        order: Order::OldestFirst.into(),
        page_size: PAGE,
        ..SearchRequest::default()
    };
    let judgement = Judgement::read(&arguments.judging)?;
    if arguments.sending.remote {
        return remote::run(session, &arguments, judgement, search).await;
    }
    let plan = plan(&arguments, &judgement)?;
    let Session { collector, output, style, out } = session;
    let filter = search.filter.clone();
    let explain = move |status| explain(&status, &filter);
    if arguments.sending.dry_run {
        return match dry_run::run(&plan, source::of_collector(&collector, search), out).await? {
            None => Ok(Verdict::Good),
            Some(status) => Err(explain(status)),
        };
    }
    let span = source::span(&collector, &search).await.map_err(&explain)?;
    let source = move || source::of_collector(&collector, search.clone());
    send(plan, source, span, &arguments, Printing { output, style, out, judgement }, explain).await
}

/// How a report is printed and judged.
struct Printing<'a, W> {
    output: Output,
    style: Style,
    out: &'a mut W,
    judgement: Judgement,
}

/// What was replayed, and how that ended.
struct Ending<'a> {
    title: &'a str,
    fail_on_mismatch: bool,
    /// Empty where it ran to its end.
    how: &'a str,
}

impl<'a> Ending<'a> {
    fn of(arguments: &'a cli::Replay, title: &'a str, how: &'a str) -> Self {
        Self { title, fail_on_mismatch: arguments.fail_on_mismatch, how }
    }
}

impl<W: Write> Printing<'_, W> {
    /// Prints the final report, and returns the verdict.
    fn conclude(&mut self, report: &ReplayReport, ending: &Ending<'_>) -> Result<Verdict> {
        let Self { output, style, out, judgement } = self;
        if !judgement.takes_stdout() {
            print(report, *output, style, *out)?;
        }
        let judged = judgement.conclude(report, ending.title, ending.how, *out)?;
        for warning in &report.warnings {
            eprintln!("warning: {warning}");
        }
        if !ending.how.is_empty() {
            eprintln!("{}", ending.how);
            return Ok(Verdict::Bad);
        }
        if report.selected == 0 && report.warm_up == 0 {
            eprintln!("nothing matches");
        }
        let mismatch = ending.fail_on_mismatch && report.mismatches > 0;
        let failed = match judged {
            Judged::Unasked => !report.failed.is_empty(),
            Judged::Passed => false,
            Judged::Failed => true,
        };
        Ok(if mismatch || failed { Verdict::Bad } else { Verdict::Good })
    }
}

/// Sends from here; Ctrl-C stops it, and its report is printed all the same.
async fn send<E, S>(
    plan: Plan,
    source: impl FnMut() -> S + Send + 'static,
    span: Option<Duration>,
    arguments: &cli::Replay,
    mut printing: Printing<'_, impl Write>,
    explain: impl FnOnce(E) -> anyhow::Error,
) -> Result<Verdict>
where
    E: fmt::Debug + Send + 'static,
    S: Stream<Item = Result<Exchange, E>> + Send + 'static,
{
    let seal_key = arguments.cluster.sealed_report.as_deref().map(merge::seal_key_of).transpose()?;
    let length = arguments.sending.duration.or(span);
    let (progress_tx, progress_rx) = watch::channel(ReplayReport::default());
    let shown = match seal_key {
        Some(_) => tokio::spawn(shard::log(progress_rx)),
        None => tokio::spawn(show(progress_bar(length, plan.speed())?, progress_rx)),
    };
    let stop = CancellationToken::new();
    let replay = tap_replay::replay(plan, source, progress_tx, stop.clone());
    let Outcome { report, end } = tokio::select! {
        outcome = replay => outcome,
        () = second_interrupt(stop) => bail!("gave up on what was in flight"),
    };
    shown.await.context("show the progress")?;

    if let Some(key) = seal_key {
        let (state, error) = match end {
            End::Finished => (State::Finished, String::new()),
            End::Stopped => (State::Stopped, String::new()),
            End::Aborted(reason) => (State::Aborted, reason.to_string()),
            End::Failed(error) => (State::Failed, explain(error).to_string()),
        };
        let replay = Replay { state: state.into(), error, report: Some(report), ..Replay::default() };
        shard::print(&key, replay, printing.out)?;
        // Whoever has the key judges.
        return Ok(Verdict::Good);
    }
    let how = match &end {
        End::Finished => String::new(),
        End::Stopped => "stopped before the end".to_owned(),
        End::Aborted(reason) => format!("aborted: {reason}"),
        End::Failed(_) => "the selection could not be read to its end".to_owned(),
    };
    let title = title(arguments);
    let verdict = printing.conclude(&report, &Ending::of(arguments, &title, &how))?;
    match end {
        End::Failed(error) => Err(explain(error)),
        _ => Ok(verdict),
    }
}

fn title(arguments: &cli::Replay) -> String {
    format!("replay at {}", arguments.target.as_deref().unwrap_or_default())
}

fn print(report: &ReplayReport, output: Output, style: &Style, out: &mut impl Write) -> Result<()> {
    let text = match output {
        Output::Table => report::render(report, style),
        Output::Json => json::pretty(report)?,
        Output::Jsonl => json::line(report)?,
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// Returns at the next Ctrl-C, or when the program is told to end as containers are.
async fn interrupt() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler the signal ends the program, as ever.
        return future::pending().await;
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        Some(()) = terminate.recv() => {}
        else => future::pending().await,
    }
}

/// The first Ctrl-C or SIGTERM stops the replay, which then waits for what is in flight; this returns at the second.
pub(super) async fn second_interrupt(stop: CancellationToken) {
    interrupt().await;
    stop.cancel();
    eprintln!("stopping when what is in flight has ended; Ctrl-C again gives up on it");
    interrupt().await;
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

//! A replay that the collector runs, watched from here.

use std::io::Write;

use anyhow::Result;
use tap_proto::v1::{
    GetReplayRequest, Replay, ReplayReport, SearchRequest, StartReplayRequest, UpstreamTls, replay::State,
};
use tokio::sync::watch;
use tonic::Status;

use super::{Ending, Printing, interrupt, read, show, title};
use crate::{
    cli,
    commands::{Session, Verdict, WrongUsage, judgement::Judgement},
    connect::explain,
};

/// What the collector is asked for; `search` says of which exchanges.
fn request(
    arguments: &cli::Replay,
    judgement: &Judgement,
    search: &SearchRequest,
) -> Result<StartReplayRequest> {
    let sending = &arguments.sending;
    let duration = |duration: Option<std::time::Duration>| {
        duration
            .map(prost_types::Duration::try_from)
            .transpose()
            .map_err(|_| WrongUsage("a duration is too long".to_owned()))
    };
    let (loops, loop_forever) = sending.passes();
    let tls = UpstreamTls {
        ca_certificates: read(sending.ca_cert.as_deref())?.unwrap_or_default(),
        server_name: sending.server_name.clone(),
        insecure: sending.insecure,
    };
    let chaos = read(sending.chaos.as_deref())?.unwrap_or_default();
    let transform = read(sending.transform.as_deref())?.unwrap_or_default();
    Ok(StartReplayRequest {
        // The collector selects inbound exchanges by itself.
        filter: arguments.selection.condition(),
        start_time: search.start_time,
        end_time: search.end_time,
        target: arguments.target.clone().unwrap_or_default(),
        speed: arguments.speed,
        max_in_flight: arguments.max_in_flight,
        allow_methods: arguments.allow_methods.clone(),
        max_requests: arguments.max_requests,
        timeout: duration(Some(arguments.request_timeout))?,
        keep_host: arguments.keep_host,
        transform: String::from_utf8(transform)
            .map_err(|_| WrongUsage("--transform: not text".to_owned()))?,
        arrival: sending.arrival(),
        loops,
        loop_forever,
        duration: duration(sending.duration)?,
        warm_up: duration(sending.warm_up)?,
        max_connections: sending.max_connections,
        session: sending.session.clone(),
        sample: sending.sample.unwrap_or_default(),
        shards: sending.shards,
        shard: sending.shard,
        tls: (tls != UpstreamTls::default()).then_some(tls),
        abort_if: sending.abort_if.clone(),
        abort_window: duration(Some(sending.abort_window))?,
        no_compare: sending.no_compare,
        allow_namespaces: sending.allow_namespaces.clone(),
        seed: sending.seed,
        chaos: String::from_utf8(chaos).map_err(|_| WrongUsage("--chaos: not text".to_owned()))?,
        comparison: judgement.comparison.clone(),
    })
}

/// Starts the replay and watches it to its end; Ctrl-C stops it. Where the collector goes away in between, its last
/// report is printed, and the verdict is [`Verdict::Interrupted`].
pub(super) async fn run(
    session: Session<'_, impl Write>,
    arguments: &cli::Replay,
    judgement: Judgement,
    search: SearchRequest,
) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    if arguments.noise_from.is_some() {
        return Err(WrongUsage("--noise-from: only where tapctl sends, without --remote".to_owned()).into());
    }
    let request = request(arguments, &judgement, &search)?;
    let filter = request.filter.clone();
    let failed = |status: Status| explain(&status, &filter);
    let mut replays = collector.replays();
    let started = replays.start_replay(collector.request(request)).await.map_err(failed)?.into_inner();
    let id = GetReplayRequest { id: started.id.clone() };
    eprintln!("the collector replays; its id is {}", id.id);

    let (progress_tx, progress_rx) = watch::channel(ReplayReport::default());
    let shown = tokio::spawn(show(super::progress_bar(arguments.sending.duration, 1.0)?, progress_rx));
    let mut updates = replays.watch_replay(id.clone()).await.map_err(failed)?.into_inner();
    let mut last = started;
    let mut stopping = false;
    let broken = loop {
        tokio::select! {
            update = updates.message() => match update {
                Ok(Some(replay)) => {
                    if let Some(report) = &replay.report {
                        progress_tx.send_replace(report.clone());
                    }
                    last = replay;
                }
                Ok(None) => break None,
                Err(status) => break Some(status),
            },
            () = interrupt(), if !stopping => {
                stopping = true;
                eprintln!("stopping when what is in flight has ended; Ctrl-C again leaves it to the collector");
                let (mut replays, id) = (replays.clone(), id.clone());
                // Its answer is the last update, too.
                tokio::spawn(async move { replays.stop_replay(id).await });
            }
            () = interrupt(), if stopping => break None,
        }
    };
    drop(progress_tx);
    let _ = shown.await;

    let state = last.state();
    let Replay { report, error, .. } = last;
    let report = report.unwrap_or_default();
    let ended = match state {
        State::Finished => String::new(),
        State::Running => {
            let reason =
                broken.map_or_else(|| "left".to_owned(), |status| explain(&status, &filter).to_string());
            format!("interrupted: the replay had not ended when it was last heard of: {reason}")
        }
        State::Interrupted => format!("interrupted: {error}"),
        State::Stopped => "stopped before the end".to_owned(),
        State::Aborted => format!("aborted: {error}"),
        State::Failed | State::Unspecified => format!("failed: {error}"),
    };
    let title = title(arguments);
    let ending = Ending::of(arguments, &title, &ended);
    let verdict = Printing { output, style, out, judgement }.conclude(&report, &ending)?;
    Ok(match state {
        State::Running | State::Interrupted => Verdict::Interrupted,
        _ => verdict,
    })
}

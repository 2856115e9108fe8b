//! `tapctl mock`: answers like a recorded server, until it is told to end.

mod load;
mod recorder;

use std::{
    fs,
    future::Future,
    io::Write,
    process::ExitStatus,
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, Result};
use http::{HeaderName, StatusCode};
use tap_replay::{
    chaos::{self, Chaos},
    mock::{
        Index, Latency, Limits, Matching, Mock, QueryMatch, Settings, admin,
        server::{self, Bound},
    },
};
use tokio::{net::TcpListener, process::Command, signal, time};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Verdict, WrongUsage};
use crate::{
    cli::{
        self, Output,
        mock::{Body, Query, Sequence},
    },
    connect::Source,
    render::{Style, mock as summary},
};

use recorder::Recorder;

/// Where the command that is run finds the mock.
const URL_VARIABLE: &str = "PODTAP_MOCK_URL";
/// A settings file longer than this is none.
const MAX_SETTINGS_BYTES: u64 = 4 * 1024 * 1024;

/// Arguments that were checked.
struct Checked {
    matching: Matching,
    settings: Settings,
    chaos: Option<Chaos>,
    recorder: Option<Recorder>,
}

pub(super) async fn run(
    source: &Source,
    arguments: cli::mock::Mock,
    output: Output,
    style: &Style,
    out: &mut impl Write,
) -> Result<Verdict> {
    let Checked { matching, settings, chaos, recorder } = check(&arguments)?;
    let mut bound = Vec::new();
    let mut urls = Vec::new();
    for listener in &arguments.listeners {
        let socket = TcpListener::bind(listener.address).await;
        let socket = socket.with_context(|| format!("listen on {}", listener.address))?;
        urls.push(format!("http://{}", socket.local_addr().context("read the listener's address")?));
        bound.push(Bound { socket, host: listener.host.clone() });
    }
    let stop = CancellationToken::new();
    let _stop_when_dropped = stop.clone().drop_guard();
    let slot: admin::Slot = Arc::new(OnceLock::new());
    if let Some(address) = arguments.admin_listen {
        let socket = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        eprintln!("admin port: http://{}", socket.local_addr().context("read the admin port's address")?);
        tokio::spawn(admin::serve(Arc::clone(&slot), socket, stop.clone()));
    }

    let limits =
        Limits { exchanges: arguments.max_exchanges, bytes: arguments.max_mib.saturating_mul(1024 * 1024) };
    let index = load::load(source, &arguments, Index::new(matching, limits)).await?;
    eprint!("{}", summary::loaded(&index));
    if let Some(chaos) = &chaos {
        eprintln!("chaos with seed {}", chaos.seed());
    }
    let (exchange_tx, recording) = recorder.map(Recorder::start).unzip();
    let id = format!("mock-{}", Uuid::now_v7());
    let mock = Arc::new(Mock::new(index, settings, chaos, arguments.passthrough.clone(), &id, exchange_tx));
    // The slot was empty: nobody else fills it.
    let _ = slot.set(Arc::clone(&mock));
    eprintln!("answering on {}", urls.join(", "));

    let serving = tokio::spawn(server::serve(Arc::clone(&mock), bound, stop.clone()));
    let ended = ended(&arguments, urls.first().map_or("", String::as_str)).await;
    stop.cancel();
    serving.await.context("answer")?;

    let statistics = mock.statistics();
    let (misses, other_misses) = mock.misses();
    // With the mock goes the channel to the recorder, which then has written all.
    drop((mock, slot));
    if let Some(recording) = recording {
        recording.await.context("record")??;
    }
    match output {
        Output::Table => {
            out.write_all(summary::render(&statistics, &misses, other_misses, style).as_bytes())?
        }
        Output::Json => out.write_all(summary::json(&statistics, &misses, other_misses, true)?.as_bytes())?,
        Output::Jsonl => {
            out.write_all(summary::json(&statistics, &misses, other_misses, false)?.as_bytes())?
        }
    }
    let command_failed = ended?.is_some_and(|status| !status.success());
    let missed = arguments.fail_on_miss && statistics.missed() + statistics.not_passed_through > 0;
    Ok(if command_failed || missed { Verdict::Bad } else { Verdict::Good })
}

/// All that is wrong with the arguments, or what they mean.
fn check(arguments: &cli::mock::Mock) -> Result<Checked, WrongUsage> {
    let mut errors = Vec::new();
    let mut headers = Vec::new();
    for name in &arguments.match_headers {
        match HeaderName::try_from(name.as_str()) {
            Ok(name) => headers.push(name),
            Err(_) => errors.push(format!("--match-header {name:?}: no name of a header")),
        }
    }
    let chaos = arguments.chaos.as_ref().and_then(|file| {
        let mut failed = |problem: String| errors.push(format!("--chaos {}: {problem}", file.display()));
        let text = read_settings(file).map_err(|error| failed(format!("{error:#}"))).ok()?;
        let settings = chaos::Settings::parse(&text).map_err(|error| failed(error.to_string())).ok()?;
        Chaos::new(&settings, arguments.seed, chaos::Side::Server)
            .map_err(|errors| errors.iter().for_each(|error| failed(error.to_string())))
            .ok()
    });
    let recorder = arguments.record.as_ref().and_then(|file| {
        Recorder::open(file, arguments).map_err(|error| errors.push(format!("--record: {error:#}"))).ok()
    });
    if let Err(error) = load::condition(arguments) {
        errors.push(error);
    }
    if !errors.is_empty() {
        return Err(WrongUsage(errors.join("\n  ")));
    }
    let matching = Matching {
        query: match arguments.query {
            Query::Unordered => QueryMatch::Unordered,
            Query::Ordered => QueryMatch::Ordered,
            Query::Ignore => QueryMatch::Ignored,
        },
        ignore_query: arguments.ignore_query.clone(),
        headers,
        body: match arguments.body {
            Body::Equal => tap_replay::mock::BodyMatch::Equal,
            Body::Subset => tap_replay::mock::BodyMatch::Subset,
            Body::Signature => tap_replay::mock::BodyMatch::Signature,
            Body::Ignore => tap_replay::mock::BodyMatch::Ignored,
        },
        ignore_fields: arguments.ignore_fields.clone(),
        paths: arguments.paths.clone(),
        exact_paths: arguments.exact_paths,
    };
    let settings = Settings {
        session: arguments.session.clone(),
        sequence: match arguments.sequence {
            Sequence::Last => tap_replay::mock::Sequence::Last,
            Sequence::Cycle => tap_replay::mock::Sequence::Cycle,
        },
        latency: Latency::clone(&arguments.latency),
        // The range was checked when the argument was read.
        miss_status: StatusCode::from_u16(arguments.miss_status).unwrap_or(StatusCode::NOT_FOUND),
        serve_incomplete: arguments.serve_incomplete,
        shift_dates: arguments.shift_dates,
    };
    Ok(Checked { matching, settings, chaos, recorder })
}

fn read_settings(file: &std::path::Path) -> Result<String> {
    let length = fs::metadata(file).context("read")?.len();
    anyhow::ensure!(length <= MAX_SETTINGS_BYTES, "longer than {MAX_SETTINGS_BYTES} bytes");
    fs::read_to_string(file).context("read")
}

/// Waits for the end: of the command, of the given time, or by a signal. Returns the command's status.
async fn ended(arguments: &cli::mock::Mock, url: &str) -> Result<Option<ExitStatus>> {
    let lifetime = async {
        match arguments.lifetime {
            Some(lifetime) => time::sleep(lifetime).await,
            None => std::future::pending().await,
        }
    };
    let interrupted = interrupted()?;
    let Some((program, rest)) = arguments.command.split_first() else {
        tokio::select! {
            () = lifetime => {}
            () = interrupted => {}
        }
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(rest).env(URL_VARIABLE, url).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("run {}", program.display()))?;
    let status = tokio::select! {
        status = child.wait() => Some(status.context("wait for the command")?),
        () = lifetime => None,
        () = interrupted => None,
    };
    if status.is_none() {
        eprintln!("ended before the command; it is killed");
    }
    Ok(status)
}

/// Ready at Ctrl-C, or when a supervisor asks to end. Both are heard from now on.
fn interrupted() -> Result<impl Future<Output = ()>> {
    let mut terminate =
        signal::unix::signal(signal::unix::SignalKind::terminate()).context("wait for signals")?;
    let mut interrupt =
        signal::unix::signal(signal::unix::SignalKind::interrupt()).context("wait for signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

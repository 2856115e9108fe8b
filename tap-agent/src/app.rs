//! What the program does: tap what the configuration names, or run a command and tap it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use tap_admin::{LogLevel, init_tracing};
use tracing::{error, info, warn};

use crate::{
    agent::{Agent, Drained},
    cgroup::Hierarchy,
    cli::{Options, Run},
    command::{Signals, TappedCommand, join_and_exec},
    config::{Config, Selector, Settings, TargetSettings},
    reload::Source,
};

/// `EX_USAGE` of sysexits.h: wrong command line or configuration.
pub const EXIT_USAGE: u8 = 64;

/// Something else went wrong.
const EXIT_FAILURE: u8 = 1;

/// A second signal ended the process while it drained: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Why the program ends, and its exit status.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub error: anyhow::Error,
}

/// Taps the configured targets until SIGTERM or SIGINT.
pub fn tap(options: Options) -> Result<u8, Failure> {
    let config = load(options, None)?;
    with_runtime(&config, async |config, log_level| {
        let mut signals = Signals::listen()?;
        let agent = Agent::start(config, log_level).await?;
        let failed = agent.failed();
        tokio::select! {
            signal = signals.next() => info!(%signal, "detaching and draining; once more to end at once"),
            () = failed.cancelled() => {}
        }
        let broken = failed.is_cancelled();
        let code = drain(agent, &mut signals).await;
        if broken { Err(anyhow!("a thread of the rings has ended")) } else { Ok(code.unwrap_or(0)) }
    })
}

/// Runs a command in a cgroup of its own and taps it; the exit status is the command's.
pub fn run(run: Run) -> Result<u8, Failure> {
    let Run { options, name, ports, command } = run;
    let program = command.first().map(PathBuf::from).unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let target = TargetSettings {
        name: name.unwrap_or_else(|| program.clone()),
        // Where it really is is known when the cgroup was made, which needs a valid configuration first.
        cgroup: Some(PathBuf::new()),
        ports,
        ..TargetSettings::default()
    };
    let mut config = load(options, Some(target))?;
    let cgroup = Hierarchy::find()
        .context("find the cgroups of this host")
        .and_then(|hierarchy| {
            hierarchy
                .create(&format!("podtap-run-{}", std::process::id()))
                .context("make a cgroup for the command")
        })
        .map_err(|error| Failure { code: EXIT_FAILURE, error })?;
    if let Some(target) = config.targets.last_mut() {
        target.selector = Selector::Cgroup(cgroup.cgroup().path.clone());
        target.workload = program;
    }
    with_runtime(&config, async |config, log_level| {
        let mut signals = Signals::listen()?;
        let mut agent = Agent::start(config, log_level).await?;
        agent.tapped().await?;
        let code = TappedCommand::start(&cgroup, &command)?.wait(&mut signals).await?;
        info!(code, "the command has ended; draining");
        Ok(drain(agent, &mut signals).await.unwrap_or(code))
    })
}

/// Becomes the command, in the cgroup; returns only on failure.
pub fn join(cgroup: &Path, command: &[OsString]) -> Failure {
    let (code, error) = join_and_exec(cgroup, command);
    Failure { code, error }
}

/// Drains; the exit status if a signal cut that short.
async fn drain(agent: Agent, signals: &mut Signals) -> Option<u8> {
    let unsent = agent.unsent();
    tokio::select! {
        Drained { .. } = agent.drain() => None,
        _ = signals.next() => {
            warn!(exchanges = unsent(), "ended at once; exchanges that the collector has not stored are lost");
            Some(EXIT_INTERRUPTED)
        }
    }
}

/// Reads the file, puts the flags over it, and checks the whole; `extra` is a target that neither names.
fn load(options: Options, extra: Option<TargetSettings>) -> Result<Config, Failure> {
    let usage = |error: anyhow::Error| Failure { code: EXIT_USAGE, error };
    let mut settings = match &options.config {
        Some(path) => read_settings(path).map_err(usage)?,
        None => Settings::default(),
    };
    let redaction_source =
        Source { file: options.config.clone(), key_file: options.redaction_key_file.clone() };
    options.apply(&mut settings);
    settings.targets.extend(extra);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let config = Config::new(settings, host.trim())
        .map_err(|errors| usage(anyhow!("the configuration is not valid:\n{errors}")))?;
    Ok(Config { redaction_source, ..config })
}

fn read_settings(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    // A file that only has comments is null, not a mapping.
    let settings: Option<Settings> =
        serde_yaml_ng::from_str(&text).with_context(|| format!("read the settings in {}", path.display()))?;
    Ok(settings.unwrap_or_default())
}

/// Starts logging and the runtime, and runs `body` to its end.
fn with_runtime<B>(config: &Config, body: B) -> Result<u8, Failure>
where
    B: AsyncFnOnce(&Config, LogLevel) -> anyhow::Result<u8>,
{
    let failure = |error: anyhow::Error| Failure { code: EXIT_FAILURE, error };
    let log_level = init_tracing(&config.log.filter, config.log.format)
        .map_err(|error| Failure { code: EXIT_USAGE, error: error.into() })?;
    hide_messages_of_panics();
    info!(?config, version = env!("CARGO_PKG_VERSION"), "starting");
    config.redaction.announce();
    // The rings have threads of their own: the runtime serves one stream and the admin port.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")
        .map_err(failure)?;
    runtime.block_on(body(config, log_level)).map_err(failure)
}

/// The message of a panic may quote what was captured: its place alone is logged.
fn hide_messages_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panicked; the message is left out, as it may quote what was captured");
    }));
}

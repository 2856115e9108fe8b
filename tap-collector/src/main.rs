//! The collector's process: settings, log, sockets, signals.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tap_collector::{Config, Listeners, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The settings can't be used: `EX_USAGE` of sysexits.h.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let config = match Settings::try_parse() {
        Ok(settings) => settings.validate(),
        Err(error) => {
            // Help and version come this way too, on standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            report(&errors);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&[format!("{error:#}")]);
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let log_level = tap_admin::init_tracing(&config.log_filter, config.log_format)?;
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    let listeners = Listeners::bind(&config).await?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal, "shutting down");
        stop.cancel();
    });
    tap_collector::run(config, listeners, log_level, shutdown).await
}

/// There is no log before the settings are known.
fn report(errors: &[impl std::fmt::Display]) {
    for error in errors {
        eprintln!("tap-collector: {error}");
    }
}

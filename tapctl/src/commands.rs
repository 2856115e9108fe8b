//! One module per command: asks the collector, prints the answer.

mod audit;
mod coverage;
mod diff;
mod export;
mod get;
mod import;
mod judgement;
mod ledger;
mod mirror;
mod mock;
mod redact;
mod replay;
mod search;
mod stats;
mod tail;

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use clap::CommandFactory as _;

use crate::{
    cli::{Cli, Command, Invocation, Output},
    connect::{Collector, Source},
    render::Style,
};

/// What a command that ran to its end found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// What was asked for does not hold; the output says so.
    Bad,
    /// What ran elsewhere was lost sight of before it had ended; the output is what was last known.
    Interrupted,
}

/// Neither success nor a finding: the run has to be repeated.
const EXIT_INTERRUPTED: u8 = 3;

/// The arguments can't be meant; exit status 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(String);

/// What every command works with.
struct Session<'a, W> {
    collector: Collector,
    output: Output,
    style: Style,
    out: &'a mut W,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Good => Self::SUCCESS,
            Verdict::Bad => Self::FAILURE,
            Verdict::Interrupted => Self::from(EXIT_INTERRUPTED),
        }
    }
}

/// Runs one command; prints to `out` and, where it is about the run itself, to standard error.
pub async fn run(invocation: Invocation, out: &mut impl Write) -> Result<Verdict> {
    let Invocation { cli: Cli { collector, store, output, timeout, command }, program, style } = invocation;
    if let Command::Completion { shell } = command {
        // Not straight to `out`: a failed write would be a panic.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), program.name(), &mut script);
        out.write_all(&script)?;
        return Ok(Verdict::Good);
    }
    // Needs no collector.
    if let Command::Redact(arguments) = command {
        return redact::run(arguments, output, &style, out);
    }
    let source = Source { collector, store, timeout };
    // Needs one unless it is a dry run.
    if let Command::Import(arguments) = command {
        return import::run(arguments, &source, output, out).await;
    }
    // Needs one only where it has no file.
    if let Command::Mock(arguments) = command {
        return mock::run(&source, *arguments, output, &style, out).await;
    }
    // Needs one only without a file.
    if let Command::Diff(arguments) = command {
        return diff::run(arguments, &source, output, &style, out).await;
    }
    if let Command::Replay(arguments) = &command {
        if replay::is_in_cluster(arguments) {
            let store = source.store.as_ref();
            return replay::run_in_cluster(arguments, store, output, style, out).await;
        }
        if replay::needs_no_collector(arguments) {
            return replay::run_here(arguments.clone(), output, style, out).await;
        }
        // Wrong settings are told before anything is connected.
        replay::check(arguments)?;
    }
    if source.store.is_some() && needs_collector(&command) {
        let reason =
            "--store: a table only answers questions; what runs, runs in a collector: leave --store out";
        return Err(WrongUsage(reason.to_owned()).into());
    }
    let collector = source.connect().await?;
    let session = Session { collector, output, style, out };
    match command {
        Command::Search(arguments) => search::run(session, arguments).await,
        Command::Stats(arguments) => stats::run(session, arguments).await,
        Command::Get(arguments) => get::run(session, arguments).await,
        Command::Tail(arguments) => tail::run(session, arguments).await,
        Command::Ledger(arguments) => ledger::run(session, arguments).await,
        Command::Coverage(arguments) => coverage::run(session, arguments).await,
        Command::Replay(arguments) => replay::run(session, arguments).await,
        Command::Mirror(arguments) => mirror::run(session, arguments).await,
        Command::Audit(arguments) => audit::run(session, arguments).await,
        Command::Export(arguments) => export::run(session, arguments).await,
        Command::Redact(_)
        | Command::Import(_)
        | Command::Mock(_)
        | Command::Diff(_)
        | Command::Completion { .. } => Ok(Verdict::Good),
    }
}

/// Whether a table does not do in a collector's place.
fn needs_collector(command: &Command) -> bool {
    match command {
        Command::Mirror(_) => true,
        Command::Replay(arguments) => arguments.sending.remote,
        _ => false,
    }
}

//! The node agent's program: reads the command line, runs what it asks for, tells how it ended.

#![forbid(unsafe_code)]

use std::{
    io::{Write as _, stderr},
    process::ExitCode,
};

use clap::Parser as _;
use tap_agent::{
    Cli, Subcommands,
    app::{self, EXIT_USAGE},
};

fn main() -> ExitCode {
    let Cli { command, options } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match command {
        None => app::tap(options),
        Some(Subcommands::Run(run)) => app::run(*run),
        Some(Subcommands::JoinCgroup { cgroup, command }) => Err(app::join(&cgroup, &command)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let _ = writeln!(stderr(), "tap-agent: {:#}", failure.error);
            ExitCode::from(failure.code)
        }
    }
}

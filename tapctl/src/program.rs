//! The program under both its names: parses the arguments, runs the command, turns its end into an exit status.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{
    WrongUsage,
    cli::{Cli, Invocation},
    commands::run,
    render::{Style, escape},
};

/// As in sysexits.h.
const EX_USAGE: u8 = 64;

/// Does what the command line asks for.
pub async fn main() -> ExitCode {
    let (cli, program) = match Cli::read(std::env::args_os()) {
        Ok(read) => read,
        Err(error) => {
            // Help and version are "errors", too; there is nobody left to tell if this can't be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let invocation = Invocation { cli, program, style: Style::of_stdout() };
    let mut out = io::stdout().lock();
    let ended = run(invocation, &mut out).await.and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    match ended {
        Ok(status) => status.into(),
        // The reader has seen enough, as in `tapctl search | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {}", escape::lines(&format!("{error:#}")));
            if error.is::<WrongUsage>() { ExitCode::from(EX_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

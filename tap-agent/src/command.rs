//! A command that runs in a cgroup of its own, so that every socket that it makes is tapped from the first.
//!
//! The tap is attached before the command starts. The child joins the cgroup by itself: `tap-agent` is started again
//! as `tap-agent join-cgroup PATH CMD…`, moves itself, and becomes the command. The command shares the agent's
//! terminal and outlives it if the agent is killed.

use std::{
    ffi::OsString,
    io::IsTerminal as _,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Command, ExitStatus},
};

use anyhow::Context as _;
use nix::{
    sys::signal::{self, Signal},
    unistd::{Pid, getpgrp, tcgetpgrp},
};
use tokio::{
    process::Child,
    signal::unix::{Signal as SignalStream, SignalKind, signal},
};
use tracing::{debug, warn};

use crate::cgroup::{self, OwnCgroup};

/// The hidden subcommand.
const JOIN_CGROUP: &str = "join-cgroup";

/// As shells report it: the command was found and could not be run.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// As shells report it: there is no such command.
const EXIT_NOT_FOUND: u8 = 127;

/// The signals that end the agent, which from now on no longer ending the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: SignalStream,
    terminate: SignalStream,
    hangup: SignalStream,
}

/// The running command.
#[derive(Debug)]
pub struct TappedCommand {
    child: Child,
}

impl Signals {
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.hangup.recv() => Signal::SIGHUP,
        }
    }
}

impl TappedCommand {
    /// Starts `command` in `cgroup`.
    pub fn start(cgroup: &OwnCgroup, command: &[OsString]) -> anyhow::Result<Self> {
        let child = tokio::process::Command::new("/proc/self/exe")
            .arg(JOIN_CGROUP)
            .arg(&cgroup.cgroup().path)
            .arg("--")
            .args(command)
            .spawn()
            .context("start the command")?;
        Ok(Self { child })
    }

    /// Waits until the command ends, passing signals on to it. The exit code is the command's, or 128 and the
    /// number of the signal that ended it.
    pub async fn wait(mut self, signals: &mut Signals) -> anyhow::Result<u8> {
        loop {
            tokio::select! {
                status = self.child.wait() => return Ok(exit_code(status.context("wait for the command")?)),
                signal = signals.next() => match signal {
                    // A terminal's Ctrl-C reaches the command without us.
                    Signal::SIGINT if in_foreground() => {}
                    signal => self.signal(signal),
                }
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) else { return };
        match signal::kill(Pid::from_raw(pid), signal) {
            Ok(()) => debug!(%signal, "passed on to the command"),
            Err(error) => warn!(%signal, "can't pass the signal on to the command: {error}"),
        }
    }
}

/// Moves this process into a cgroup and becomes the command. Returns only on failure, with the exit code.
pub fn join_and_exec(cgroup: &Path, command: &[OsString]) -> (u8, anyhow::Error) {
    if let Err(error) = cgroup::join(cgroup) {
        let error = anyhow::Error::new(error).context(format!("join the cgroup {}", cgroup.display()));
        return (EXIT_NOT_EXECUTABLE, error);
    }
    let Some((program, arguments)) = command.split_first() else {
        return (EXIT_NOT_FOUND, anyhow::anyhow!("no command given"));
    };
    let error = Command::new(program).args(arguments).exec();
    let code =
        if error.kind() == std::io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE };
    (code, anyhow::Error::new(error).context(format!("run {}", program.display())))
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Whether a terminal sends its signals to this process's group.
fn in_foreground() -> bool {
    let stdin = std::io::stdin();
    stdin.is_terminal() && tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}

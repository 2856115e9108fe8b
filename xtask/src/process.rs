//! Running other programs: the command line is part of every error.

use std::{
    env, fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How often a child with a time limit is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Shows the command, runs it with this terminal, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("+ {}", line(command));
    let status = command.status().with_context(|| format!("run {}", line(command)))?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// What the command prints, or `None` where it can't be run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Shows and runs a command that may hang on a network that is not there; tells whether it succeeded in time.
pub(crate) fn attempt(command: &mut Command, limit: Duration) -> bool {
    println!("+ {}   (at most {} s)", line(command), limit.as_secs());
    let Ok(mut child) = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn() else {
        return false;
    };
    // Read all the while: a full pipe would stop the child.
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut stderr) = stderr {
            // What is not UTF-8 is not worth showing either.
            let _ = stderr.read_to_string(&mut text);
        }
        text
    });
    let deadline = Instant::now() + limit;
    let succeeded = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(None) | Err(_) => {
                // It may have ended this very moment, which is as good.
                let _ = child.kill();
                let _ = child.wait();
                println!("  gave up");
                return false;
            }
        }
    };
    let text = reader.join().unwrap_or_default();
    if !succeeded {
        let error = text.lines().find(|line| line.to_lowercase().starts_with("error"));
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        println!("  failed: {}", error.or(last).unwrap_or("it says nothing").trim());
    }
    succeeded
}

/// The program of this name on PATH, or where a user's PATH often lacks it: the system's own directories.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// `program`, as root: by sudo where this is another user.
pub(crate) fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let Some(sudo) = find("sudo") else {
        bail!("this needs root, and there is no sudo: run it as root");
    };
    let mut command = Command::new(sudo);
    command.arg(program);
    Ok(command)
}

/// The command as a user would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // A script is shown by its first line: the whole of it would hide the rest.
    match word.trim().split_once('\n') {
        Some((first, _)) => format!("'{first} …'"),
        None => format!("'{word}'"),
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

//! `cargo xtask vm`: the capture scenarios on other kernels, each in a virtual machine of a few seconds' life.
//!
//! A machine is QEMU (without hardware's help, so that it runs anywhere), a kernel of Debian's, and an initramfs with the test
//! programs, the agent's binary and busybox. Its init runs the tests, then the agent beside a web server, and
//! prints what it finds on the console: the tests' results and the agent's metrics, whose ledger is checked here.

mod console;
mod initramfs;
mod kernel;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::{
    console::Outcome,
    kernel::{KERNELS, Kernel},
};
use crate::{process, setup, test, workspace::Workspace};

/// The tests that need nothing but a kernel.
const TESTS: [&str; 3] = ["capture_programs", "capture_cgroup", "capture_verdicts"];

/// Emulated, a run takes about a minute on an idle machine.
const PATIENCE: Duration = Duration::from_secs(600);

const MEMORY_MIB: u32 = 1024;

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// `5.10`, `6.1`, `6.12`, `latest`. Default: all of them.
    kernels: Vec<String>,
    /// Run these test programs instead of building them.
    #[arg(long, value_name = "PROGRAM", requires = "agent")]
    test: Vec<PathBuf>,
    /// Run this agent instead of building it.
    #[arg(long, value_name = "PROGRAM", requires = "test")]
    agent: Option<PathBuf>,
    /// Show everything that the machines print.
    #[arg(long)]
    verbose: bool,
}

/// What is run in a machine.
#[derive(Debug)]
struct Programs {
    tests: Vec<PathBuf>,
    agent: PathBuf,
}

/// Builds what is run, boots each kernel, and shows what was found as a table.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let names: Vec<_> = options.kernels.iter().map(String::as_str).collect();
    let kernels = if names.is_empty() { KERNELS.iter().collect() } else { kernel::named(&names)? };
    setup::machines()?;
    let programs = match &options.agent {
        Some(agent) => Programs { tests: options.test.clone(), agent: agent.clone() },
        None => build(workspace)?,
    };
    boot_all(&kernels, &programs, options.verbose)
}

/// The oldest kernel and the newest, for `cargo xtask test`: with what was built for it.
pub(crate) fn oldest_and_newest(workspace: &Workspace) -> Result<()> {
    let kernels: Vec<_> = KERNELS.first().into_iter().chain(KERNELS.last()).collect();
    setup::machines()?;
    boot_all(&kernels, &build(workspace)?, false)
}

fn boot_all(kernels: &[&Kernel], programs: &Programs, verbose: bool) -> Result<()> {
    let directory = tempfile::tempdir().context("make a directory")?;
    let initramfs = directory.path().join("initramfs");
    initramfs::write(&initramfs, &programs.tests, &programs.agent).context("write the initramfs")?;
    let mut outcomes = Vec::new();
    for kernel in kernels {
        let image = kernel.fetch()?;
        println!("vm: Linux {} …", kernel.name);
        outcomes.push(boot(&image, &initramfs, verbose)?);
    }
    println!("{}", console::table(&outcomes));
    let mut well = true;
    for outcome in &outcomes {
        for problem in outcome.problems(programs.tests.len()) {
            well = false;
            println!("vm: {}: {problem}", outcome.release);
        }
    }
    if !well {
        bail!("not everything holds on every kernel; see above, and --verbose for what the machines print");
    }
    Ok(())
}

/// Builds the tests and the agent as `cargo xtask test` does, so that it is done once.
fn build(workspace: &Workspace) -> Result<Programs> {
    let mut command = workspace.cargo();
    command.args(test::BUILD).arg("--message-format=json-render-diagnostics");
    println!("+ {}", process::line(&command));
    let output = command.stderr(Stdio::inherit()).output().context("build what is run")?;
    if !output.status.success() {
        bail!("building what is run: {}", output.status);
    }
    let (mut tests, mut agent) = (Vec::new(), None);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let name = message.pointer("/target/name").and_then(|name| name.as_str()).unwrap_or_default();
        let is_test = message.pointer("/profile/test").and_then(|test| test.as_bool()).unwrap_or_default();
        let Some(executable) = message.get("executable").and_then(|path| path.as_str()) else { continue };
        if is_test && TESTS.contains(&name) {
            tests.push(PathBuf::from(executable));
        } else if !is_test && name == "tap-agent" {
            agent = Some(PathBuf::from(executable));
        }
    }
    if tests.len() != TESTS.len() {
        bail!("cargo built {} of {} test programs", tests.len(), TESTS.len());
    }
    Ok(Programs { tests, agent: agent.context("cargo built no tap-agent")? })
}

/// Runs one machine to its end.
fn boot(image: &Path, initramfs: &Path, verbose: bool) -> Result<Outcome> {
    let console = tempfile::NamedTempFile::new().context("make a file for the console")?;
    let mut command = Command::new("qemu-system-x86_64");
    command
        // Not "max": with what that emulates, Linux 6.12 comes to a double fault at boot (QEMU 7.2).
        .args(["-accel", "tcg", "-cpu", "Skylake-Client-v1", "-smp", "2", "-m"])
        .arg(MEMORY_MIB.to_string())
        .args(["-nographic", "-no-reboot", "-net", "none", "-monitor", "none", "-serial"])
        .arg(format!("file:{}", console.path().display()))
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let begun = Instant::now();
    let mut machine = command.spawn().with_context(|| format!("run {}", process::line(&command)))?;
    let ended = loop {
        if machine.try_wait().context("wait for the machine")?.is_some() {
            break true;
        }
        if begun.elapsed() > PATIENCE {
            machine.kill().context("stop the machine")?;
            machine.wait().context("wait for the machine")?;
            break false;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let text = fs::read(console.path()).context("read the console")?;
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    let outcome = Outcome::read(&text, begun.elapsed(), ended);
    if verbose || env::var_os("CI").is_some() && !outcome.problems(0).is_empty() {
        println!("{text}");
    }
    Ok(outcome)
}

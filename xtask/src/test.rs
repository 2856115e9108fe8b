//! `cargo xtask test`: everything that shows that Podtap works on this machine.

use std::{
    env, fmt,
    io::{BufRead as _, BufReader, Write as _},
    ops::AddAssign,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    chart,
    e2e::{self, Kubernetes},
    process, proto, setup,
    workspace::Workspace,
};

/// What `skip` of the test support writes: a line of its own, past the capture of output.
const SKIPPED: &str = "SKIPPED ";

/// Says to tests that need Kubernetes why it can't be had on this machine.
const WITHOUT_KUBERNETES: &str = "PODTAP_WITHOUT_KUBERNETES";

/// Says to tests where the Python is that has the readers of Delta tables.
const PYTHON: &str = "PODTAP_PYTHON";

/// Runs a test binary: one of the privileged package by root.
///
/// Cargo runs it in place of the test binary and names the package in its environment. `sudo -E` drops PATH,
/// so it is handed over by name.
const RUN_AS_ROOT: &str = r#"
if [ "$CARGO_PKG_NAME" = podtap-tests ]; then exec sudo -E env PATH="$PATH" "$@"; fi
exec "$@"
"#;

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Run only the tests whose name contains this.
    filter: Option<String>,
}

/// What the runners reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// Sets up, checks what is cheap to check, builds once, and runs every test. The last line is the summary.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let tools = setup::run(workspace)?;
    if !process::is_root() && process::find("sudo").is_none() {
        bail!(
            "the privileged tests need root (they make cgroups and load eBPF programs), and there is no sudo"
        );
    }
    check_format(workspace)?;
    proto::check(workspace.root())?;
    chart::check(workspace, &tools.helm)?;
    let kubernetes = e2e::ensure_kubernetes(workspace)?;
    build(workspace)?;

    let mut command = cargo_test(workspace);
    command
        .arg("--no-fail-fast")
        .args(&options.filter)
        // A skip is an error: setup has just seen to it that everything is here.
        .env("CI", env::var_os("CI").unwrap_or_else(|| "1".into()))
        .env("PATH", tools.path()?)
        .env(PYTHON, &tools.python)
        .env("CLUSTER_CACHE", e2e::cache());
    if let Kubernetes::Nothing(why) = kubernetes {
        command.env(WITHOUT_KUBERNETES, why);
    }
    let (mut summary, mut succeeded) = summarise(&mut command)?;
    match kubernetes {
        Kubernetes::Cluster => {
            let (on_cluster, all_well) = e2e::test(workspace, &tools, options.filter.as_deref())?;
            summary += on_cluster;
            succeeded &= all_well;
        }
        Kubernetes::ApiServer(why) | Kubernetes::Nothing(why) => {
            println!("no tests on a cluster: {why}");
            // Debian has it all: there, somebody who relies on these tests must learn that they did not run.
            let on_debian = matches!(kubernetes, Kubernetes::ApiServer(_));
            succeeded &= !on_debian || env::var_os("CI").is_none();
        }
    }
    println!("{summary}");
    if !succeeded || summary.failed > 0 || summary.skipped > 0 {
        bail!("tests failed or were skipped; see above");
    }
    Ok(())
}

/// Fails where `cargo fmt` would change something.
pub(crate) fn check_format(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
}

/// What builds the binaries and the tests in one go, so that Cargo unifies features once and nothing is built twice.
pub(crate) const BUILD: [&str; 8] =
    ["build", "--workspace", "--exclude", "tap-ebpf", "--bins", "--tests", "--test", e2e::TEST];

/// Builds the binaries and the tests.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args(BUILD))
}

/// `cargo test`, which runs the binaries of the privileged package by sudo where this is not root.
pub(crate) fn cargo_test(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    if !process::is_root() {
        let runner = format!(r#"target."cfg(all())".runner = ["sh", "-c", '''{RUN_AS_ROOT}''', "run"]"#);
        command.arg("--config").arg(runner);
    }
    command.args(["test", "--workspace", "--exclude", "tap-ebpf"]);
    command
}

/// Runs the tests, passing on what they print, and adds up their results.
pub(crate) fn summarise(command: &mut Command) -> Result<(Summary, bool)> {
    println!("+ {}", process::line(command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let stdout = child.stdout.take().context("cargo test's output")?;
    let mut summary = Summary::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read cargo test's output")?;
        println!("{line}");
        summary += Summary::of_line(&line);
    }
    std::io::stdout().flush().context("write the output")?;
    let status = child.wait().context("wait for cargo test")?;
    Ok((summary, status.success()))
}

impl Summary {
    /// "test result: ok. 5 passed; 0 failed; 1 ignored; …", or the line of one skipped test.
    pub(crate) fn of_line(line: &str) -> Self {
        // A test that skips passes as far as the runner knows.
        if line.contains(SKIPPED) {
            return Self { skipped: 1, ..Self::default() };
        }
        let Some(counts) = line.strip_prefix("test result: ") else {
            return Self::default();
        };
        let count = |what: &str| {
            counts
                .split(['.', ';'])
                .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
                .unwrap_or(0)
        };
        Self { passed: count("passed"), failed: count("failed"), skipped: count("ignored") }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, failed, skipped } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_runners_summary() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s";
        assert_eq!(Summary::of_line(line), Summary { passed: 12, failed: 3, skipped: 1 });
        assert_eq!(Summary::of_line("running 4 tests"), Summary::default());
        assert_eq!(Summary::of_line("SKIPPED no IPv6"), Summary { skipped: 1, ..Summary::default() });
    }
}

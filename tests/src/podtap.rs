//! The collector and the agent, from the binaries that were built beside this one.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{Cgroup, Running, free_port, until};

/// A collector, with its table in a directory or a bucket.
#[derive(Debug)]
pub struct Collector {
    running: Option<Running>,
    directory: PathBuf,
    /// Where its table is, as the setting has it.
    store: String,
    environment: Vec<(String, String)>,
    port: u16,
    admin: u16,
    /// Of its settings, where it has any.
    settings: Option<PathBuf>,
}

/// What an agent taps, and how much it may hold.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Unique among the agents of a table.
    pub name: String,
    /// Where to send.
    pub collector: String,
    /// Name and cgroup of each target.
    pub targets: Vec<(String, PathBuf)>,
    /// Further lines of the settings file.
    pub settings: String,
    /// Added to its environment.
    pub environment: Vec<(String, String)>,
}

/// An agent, tapping what its settings name.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    // After the process: it holds the settings.
    _directory: TempDir,
    settings: String,
    admin: u16,
}

impl Collector {
    /// Starts a collector that keeps everything below `directory`, and waits until it is ready.
    pub fn start(directory: &Path) -> Result<Self> {
        Self::launch(directory, table_in(directory), Vec::new(), None)
    }

    /// As [`Collector::start`], with these lines as its settings.
    pub fn start_with(directory: &Path, lines: &str) -> Result<Self> {
        let settings = directory.join("collector.yaml");
        fs::write(&settings, lines).with_context(|| format!("write {}", settings.display()))?;
        Self::launch(directory, table_in(directory), Vec::new(), Some(settings))
    }

    /// As [`Collector::start_with`], with its table at `store`, and these variables in its environment. Several may
    /// share a table, each with a directory of its own.
    pub fn start_on(
        directory: &Path,
        store: &str,
        environment: Vec<(String, String)>,
        lines: &str,
    ) -> Result<Self> {
        let settings = directory.join("collector.yaml");
        fs::write(&settings, lines).with_context(|| format!("write {}", settings.display()))?;
        Self::launch(directory, store.to_owned(), environment, Some(settings))
    }

    fn launch(
        directory: &Path,
        store: String,
        environment: Vec<(String, String)>,
        settings: Option<PathBuf>,
    ) -> Result<Self> {
        let (port, admin) = (free_port()?, free_port()?);
        let directory = directory.to_owned();
        let mut collector = Self { running: None, directory, store, environment, port, admin, settings };
        collector.restart()?;
        Ok(collector)
    }

    /// Starts it again on the same table and port, after [`Collector::kill`] or [`Collector::terminate`].
    pub fn restart(&mut self) -> Result<()> {
        let mut command = Command::new(binary("tap-collector")?);
        command
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--admin-listen", &format!("127.0.0.1:{}", self.admin)])
            .args(["--store", &self.store])
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(settings) = &self.settings {
            command.arg("--config").arg(settings);
        }
        let mut running = Running::start("collector", &self.directory, &mut command)?;
        until_ready("collector", self.admin, &mut running)?;
        self.running = Some(running);
        Ok(())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().context("the collector does not run")?.kill()
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(&mut self) -> Result<()> {
        let status = self.running.take().context("the collector does not run")?.terminate()?;
        if !status.success() {
            bail!("the collector ended with {status}");
        }
        Ok(())
    }

    /// Where agents and clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:<port>`, as grpcurl wants it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The directory of its table, where it was not started on another store.
    pub fn table(&self) -> PathBuf {
        self.directory.join("table")
    }

    pub fn log(&self) -> String {
        self.running.as_ref().map(Running::log).unwrap_or_default()
    }

    /// What its admin port says at `path`.
    pub fn admin(&self, path: &str) -> Result<String> {
        get(self.admin, path).map_err(anyhow::Error::msg)
    }
}

impl AgentOptions {
    /// An agent of this name that taps nothing yet.
    pub fn new(name: &str, collector: &str) -> Self {
        Self {
            name: name.to_owned(),
            collector: collector.to_owned(),
            targets: Vec::new(),
            settings: String::new(),
            environment: Vec::new(),
        }
    }

    /// Taps a cgroup.
    #[must_use]
    pub fn target(mut self, name: &str, cgroup: &Cgroup) -> Self {
        self.targets.push((name.to_owned(), cgroup.path().to_owned()));
        self
    }

    /// Adds lines to the settings file.
    #[must_use]
    pub fn settings(mut self, lines: &str) -> Self {
        self.settings.push_str(lines);
        self.settings.push('\n');
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The settings file.
    pub fn yaml(&self, admin: u16) -> String {
        let Self { name, collector, targets, settings, environment: _ } = self;
        let targets: String = targets
            .iter()
            .map(|(name, cgroup)| format!("  - {{name: {name}, cgroup: \"{}\"}}\n", cgroup.display()))
            .collect();
        let targets = if targets.is_empty() { targets } else { format!("targets:\n{targets}") };
        format!(
            "agent: {name}\ncollector: {collector}\nadmin: {{listen: \"127.0.0.1:{admin}\"}}\n{targets}{settings}"
        )
    }
}

impl Agent {
    /// Starts an agent, and waits until every target is tapped.
    pub fn start(options: &AgentOptions) -> Result<Self> {
        let directory = TempDir::with_prefix("podtap-agent-").context("make a directory for the agent")?;
        let admin = free_port()?;
        let settings = options.yaml(admin);
        let file = directory.path().join("agent.yaml");
        fs::write(&file, &settings).context("write the agent's settings")?;
        let mut command = Command::new(binary("tap-agent")?);
        command
            .arg("--config")
            .arg(&file)
            .envs(options.environment.iter().map(|(name, value)| (name, value)));
        let mut running = Running::start(&options.name, directory.path(), &mut command)?;
        until_ready("agent", admin, &mut running)?;
        Ok(Self { running, _directory: directory, settings, admin })
    }

    /// The settings file that it was given.
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// Asks it to drain and end, and waits until it has.
    pub fn terminate(self) -> Result<()> {
        let status = self.running.terminate()?;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(self) -> Result<()> {
        self.running.kill()
    }

    /// Stops it where it is, as a machine without a free CPU would.
    pub fn pause(&self) -> Result<()> {
        self.running.signal(Signal::SIGSTOP)
    }

    pub fn resume(&self) -> Result<()> {
        self.running.signal(Signal::SIGCONT)
    }

    pub fn pid(&self) -> i32 {
        self.running.pid().as_raw()
    }

    pub fn check(&mut self) -> Result<()> {
        self.running.check()
    }

    pub fn log(&self) -> String {
        self.running.log()
    }

    /// What its admin port says at `path`.
    pub fn admin(&self, path: &str) -> Result<String> {
        get(self.admin, path).map_err(anyhow::Error::msg)
    }
}

/// A binary of this workspace: in the directory of the running one, or, from a test, the one above.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("find the running program")?;
    let found =
        own.ancestors().skip(1).take(2).map(|directory| directory.join(name)).find(|path| path.exists());
    found.with_context(|| format!("{name} is not built: `cargo xtask test` and `demo` build it first"))
}

fn table_in(directory: &Path) -> String {
    directory.join("table").display().to_string()
}

fn until_ready(name: &str, admin: u16, running: &mut Running) -> Result<()> {
    let ready = until(&format!("the {name} is ready"), || {
        running.check().map_err(|error| error.to_string())?;
        get(admin, "/ready")
    });
    ready.map(drop).with_context(|| format!("the {name} said:\n{}", running.log()))
}

/// The body of an admin port's answer; anything but 200 is an error.
fn get(port: u16, path: &str) -> Result<String, String> {
    let exchange = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = exchange().map_err(|error: std::io::Error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| answer.clone())?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(answer) }
}

//! Who plays: collector, tapped server, agent, and a second server for the replay.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};
use podtap_tests::{Agent, AgentOptions, Cgroup, Collector, Nginx, binary, check_interrupted};
use tempfile::TempDir;

/// Everything that runs. Fields are dropped in their order: who writes before where it is written.
#[derive(Debug)]
pub(super) struct Stage {
    agent: Agent,
    pub(super) nginx: Nginx,
    pub(super) second: Nginx,
    collector: Collector,
    pub(super) cgroup: Cgroup,
    directory: TempDir,
}

impl Stage {
    pub(super) fn set() -> Result<Self> {
        let directory = TempDir::with_prefix("podtap-demo-").context("make a directory for the demo")?;
        let collector = Collector::start(directory.path())?;
        println!("  collector  {}   table {}", collector.url(), collector.table().display());
        let cgroup = Cgroup::create("demo")?;
        let nginx = Nginx::start(&cgroup)?;
        println!("  nginx      {}   cgroup {}", nginx.url(""), cgroup.path().display());
        let second = Nginx::start_untapped()?;
        println!("  a second   {}   not tapped, to replay at", second.url(""));
        for server in [&nginx, &second] {
            server.put("page.html", "<h1>Hello</h1>\n".repeat(40))?;
            server.put("page.txt", "All work and no play makes Jack a dull boy.\n".repeat(200))?;
            server.put("small.txt", "small\n")?;
        }
        let options = AgentOptions::new("demo", &collector.url()).target("web", &cgroup);
        let agent = Agent::start(&options)?;
        println!("  agent      taps the cgroup; its settings:");
        for line in agent.settings().lines() {
            println!("             | {line}");
        }
        Ok(Self { agent, nginx, second, collector, cgroup, directory })
    }

    /// A directory for files of the demo, gone at the end.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn collector_url(&self) -> String {
        self.collector.url()
    }

    pub(super) fn collector_address(&self) -> String {
        self.collector.address()
    }

    /// Exchanges that are durable in the table.
    pub(super) fn stored(&self) -> Result<u64> {
        let metrics = self.collector.admin("/metrics")?;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("podtap_collector_committed_exchanges_total "));
        line.and_then(|count| count.trim().parse().ok()).context("the collector does not count its exchanges")
    }

    /// Exchanges that the agent has seen and not yet handed over.
    pub(super) fn pending(&self) -> Result<u64> {
        let metrics = self.agent.admin("/metrics")?;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(r#"podtap_agent_pending_bytes{target="web"} "#));
        line.and_then(|count| count.trim().parse().ok()).context("the agent does not count what is pending")
    }

    /// `tapctl`, asking this collector.
    pub(super) fn tapctl(&self) -> Result<Command> {
        let mut command = Command::new(binary("tapctl")?);
        command.env("PODTAP_COLLECTOR", self.collector.url());
        Ok(command)
    }

    /// Waits for Ctrl-C, as long as everything runs.
    pub(super) fn keep(&self) -> Result<()> {
        while check_interrupted().is_ok() {
            self.collector.admin("/live").context("the collector has ended")?;
            self.agent.admin("/live").context("the agent has ended")?;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        Ok(())
    }

    /// Ends the agent and the collector in order; the guards do the rest.
    pub(super) fn strike(mut self) -> Result<()> {
        self.agent.terminate().context("end the agent")?;
        self.collector.terminate().context("end the collector")
    }
}

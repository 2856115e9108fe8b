//! One case as it runs: who answers, who looks on, and the load.

use std::{
    cell::Cell,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use podtap_tests::{Cgroup, Running, free_port, until};
use tempfile::TempDir;

use super::{
    Case, cpu,
    programs::{envoy_configuration, nginx, primary_configuration, shadow_configuration, tap},
};
use crate::process;

const CONNECTIONS: u32 = 20;
/// Between two requests of a connection, in milliseconds: 20 connections make some 1,800 requests a second.
const PAUSE_MS: u32 = 10;
/// What is on its way to the shadow comes within this, or is not counted.
const SETTLED: Duration = Duration::from_secs(3);
const LONGEST_SETTLING: Duration = Duration::from_secs(30);

/// What runs for one case. Who sends comes before who receives, so that it ends first.
pub(super) struct Stage {
    _tap: Option<(Running, Running)>,
    envoy: Option<Running>,
    primary: Running,
    _shadow: Running,
    entrance: u16,
    shadow_port: u16,
    /// Questions to the shadow, which it counts as requests.
    asked: Cell<f64>,
    _cgroup: Option<Cgroup>,
    directory: TempDir,
}

impl Stage {
    pub(super) fn set(case: Case, envoy: Option<&Path>, binaries: &Path) -> Result<Self> {
        let directory =
            TempDir::with_prefix("podtap-bench-").context("make a directory for the benchmark")?;
        let path = directory.path();
        let (primary_port, shadow_port) = (free_port()?, free_port()?);
        fs::create_dir(path.join("files")).context("make a directory of files")?;
        fs::write(path.join("files/page"), "x".repeat(200)).context("write a page")?;
        let mirror = case == Case::NginxMirror;
        let shadow =
            nginx("shadow", path, &shadow_configuration(path, shadow_port), |program| Command::new(program))?;
        let cgroup = case.is_tapped().then(|| Cgroup::create("bench-mirror")).transpose()?;
        let configuration = primary_configuration(path, primary_port, mirror.then_some(shadow_port));
        let primary = nginx("primary", path, &configuration, |program| match &cgroup {
            Some(cgroup) => cgroup.command(program),
            None => Command::new(program),
        })?;
        let mirrored = (case == Case::TappedMirror).then_some(shadow_port);
        let tap = cgroup.as_ref().map(|cgroup| tap(binaries, path, cgroup, mirrored)).transpose()?;
        let mut entrance = primary_port;
        let mut proxy = None;
        if let Some(program) = envoy.filter(|_| case.needs_envoy()) {
            entrance = free_port()?;
            let shadow = (case == Case::EnvoyMirror).then_some(shadow_port);
            let configuration = path.join("envoy.json");
            fs::write(&configuration, envoy_configuration(entrance, primary_port, shadow))
                .context("write Envoy's configuration")?;
            let mut command = Command::new(program);
            command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"]);
            proxy = Some(Running::start("envoy", path, command.arg(&configuration))?);
        }
        let stage = Self {
            _tap: tap,
            envoy: proxy,
            primary,
            _shadow: shadow,
            entrance,
            shadow_port,
            asked: Cell::new(0.0),
            _cgroup: cgroup,
            directory,
        };
        until("the path answers", || {
            get(stage.entrance, "/page")
                .map_err(|error| error.to_string())
                .and_then(|answer| if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) })
        })?;
        Ok(stage)
    }

    /// Requests that were answered, and the 99th percentile of their latencies in milliseconds.
    pub(super) fn load(&self, seconds: u32) -> Result<(f64, f64)> {
        let script = self.directory.path().join("pause.lua");
        fs::write(&script, format!("function delay() return {PAUSE_MS} end\n"))
            .context("write wrk's script")?;
        let mut command = Command::new("wrk");
        command
            .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency", "-s"])
            .arg(&script)
            .arg(format!("http://127.0.0.1:{}/page", self.entrance));
        let text = process::output(&mut command).context("wrk failed, or is not installed")?;
        if text.contains("Non-2xx") || text.contains("Socket errors") {
            bail!("not every request was answered well:\n{text}");
        }
        let word = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        let p99 = text.lines().find(|line| line.trim().starts_with("99%")).and_then(word);
        let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "));
        let requests = requests.and_then(|(count, _)| count.parse().ok());
        let p99 = p99.as_deref().and_then(milliseconds);
        requests.zip(p99).with_context(|| format!("what wrk says is not understood:\n{text}"))
    }

    /// Waits until nothing more comes to the shadow.
    pub(super) fn settle(&self) -> Result<()> {
        let begin = Instant::now();
        let mut last = self.at_the_shadow()?;
        while begin.elapsed() < LONGEST_SETTLING {
            thread::sleep(SETTLED);
            let now = self.at_the_shadow()?;
            if now <= last {
                break;
            }
            last = now;
        }
        Ok(())
    }

    pub(super) fn at_the_shadow(&self) -> Result<f64> {
        let status = get(self.shadow_port, "/requests").context("ask the shadow for its count")?;
        let numbers = status.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1);
        let requests = numbers.and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
        self.asked.set(self.asked.get() + 1.0);
        let requests: Option<f64> = requests;
        let asked = self.asked.get();
        requests
            .map(|requests| requests - asked)
            .with_context(|| format!("the shadow does not count:\n{status}"))
    }

    /// What the processes in the path of a request have used, in microseconds.
    pub(super) fn path_cpu(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for running in [Some(&self.primary), self.envoy.as_ref()].into_iter().flatten() {
            nanoseconds += cpu::group(running.pid().as_raw())?;
        }
        Ok(nanoseconds as f64 / 1e3)
    }
}

pub(super) fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// As wrk writes it: `523.00us`, `1.20ms`, `2.10s`.
fn milliseconds(text: &str) -> Option<f64> {
    for (unit, factor) in [("us", 1e-3), ("ms", 1.0), ("s", 1e3)] {
        if let Some(Ok(value)) = text.strip_suffix(unit).map(str::parse::<f64>) {
            return Some(value * factor);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_durations_are_read() {
        assert_eq!(milliseconds("523.00us"), Some(0.523));
        assert_eq!(milliseconds("1.20ms"), Some(1.2));
        assert_eq!(milliseconds("2.00s"), Some(2_000.0));
        assert_eq!(milliseconds("lots"), None);
    }
}

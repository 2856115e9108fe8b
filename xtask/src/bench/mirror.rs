//! What a mirror costs the path of the requests that it mirrors, and what share of them it brings over.
//!
//! The same load, by wrk, on the same nginx; and beside it the shadow, another nginx that answers at once:
//!
//! | case | the path of a request |
//! |---|---|
//! | `nginx` | nginx alone, twice: how much two runs of the same differ |
//! | `nginx mirror` | nginx with its `mirror` directive |
//! | `envoy` | Envoy in front of nginx |
//! | `envoy mirror` | the same, with `request_mirror_policies` |
//! | `podtap` | nginx alone, tapped; a collector mirrors |
//!
//! Told of each, as the median of the rounds with the spread: requests a second, CPU of the path's processes for a request, CPU of
//! the whole machine for a request (agent, collector, shadow and wrk among it), the 99th percentile of the latency, and the requests
//! that reached the shadow of those that were answered. Each connection of wrk pauses between its requests, so that the load is much
//! the same in all cases and no case is at its limit.
//!
//! Needs root (the tap), wrk, and for its cases Envoy: `envoy` on PATH, or the path in `ENVOY`. Agent and collector are built for
//! release, unless `PODTAP_BINARIES` names a directory in which they are.

use std::{
    cell::Cell,
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use podtap_tests::{Cgroup, Running, free_port, until};
use tempfile::TempDir;

use crate::{process, workspace::Workspace};

const ROUNDS: usize = 3;
const LOAD_SECONDS: u32 = 8;
const CONNECTIONS: u32 = 20;
/// Between two requests of a connection, in milliseconds: 20 connections make some 1,800 requests a second.
const PAUSE_MS: u32 = 10;
/// What is on its way to the shadow comes within this, or is not counted.
const SETTLED: Duration = Duration::from_secs(3);
const LONGEST_SETTLING: Duration = Duration::from_secs(30);

const CASES: [Case; 6] =
    [Case::Nginx, Case::Podtap, Case::NginxMirror, Case::Envoy, Case::EnvoyMirror, Case::NginxAgain];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Nginx,
    NginxAgain,
    NginxMirror,
    Envoy,
    EnvoyMirror,
    Podtap,
}

/// One run of one case.
#[derive(Clone, Copy, Debug)]
struct Measured {
    rate: f64,
    /// In microseconds a request.
    path_cpu: f64,
    machine_cpu: f64,
    /// In milliseconds.
    p99: f64,
    /// Of the answered requests, in percent.
    share: f64,
}

/// What runs for one case. Who sends comes before who receives, so that it ends first.
struct Stage {
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

pub(super) fn run(workspace: &Workspace) -> Result<()> {
    if !process::is_root() {
        bail!("the tap needs root: run `cargo xtask bench mirror` as root");
    }
    let binaries = match env::var_os("PODTAP_BINARIES") {
        Some(directory) => PathBuf::from(directory),
        None => build(workspace)?,
    };
    let envoy = env::var_os("ENVOY").map(PathBuf::from).or_else(|| process::find("envoy"));
    if envoy.is_none() {
        println!("no Envoy: its cases are left out (ENVOY=/path/to/envoy names one)");
    }
    let cases: Vec<Case> = CASES.into_iter().filter(|case| envoy.is_some() || !case.needs_envoy()).collect();
    let mut results: Vec<(Case, Vec<Measured>)> = cases.iter().map(|&case| (case, Vec::new())).collect();
    for round in 1..=ROUNDS {
        for (case, measured) in &mut results {
            println!("round {round} of {ROUNDS}: {}", case.name());
            measured.push(measure(*case, envoy.as_deref(), &binaries)?);
        }
    }
    println!(
        "\n{:<13} {:>26} {:>24} {:>28} {:>22} {:>24}",
        "", "requests/s", "path CPU µs/request", "all CPU µs/request", "p99 ms", "at the shadow %"
    );
    for (case, measured) in &results {
        let column = |value: fn(&Measured) -> f64| spread(measured.iter().map(value).collect());
        println!(
            "{:<13} {:>26} {:>24} {:>28} {:>22} {:>24}",
            case.name(),
            column(|measured| measured.rate),
            column(|measured| measured.path_cpu),
            column(|measured| measured.machine_cpu),
            column(|measured| measured.p99),
            column(|measured| measured.share),
        );
    }
    Ok(())
}

/// Builds agent and collector; returns where they are.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    for binary in ["tap-agent", "tap-collector"] {
        process::run(workspace.cargo().args(["build", "--release", "--package", binary, "--bin", binary]))?;
    }
    let own = env::current_exe().context("find the running program")?;
    Ok(own.ancestors().nth(2).context("find the target directory")?.join("release"))
}

/// The median, and from the least to the greatest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(greatest)) = (values.first(), values.last()) else { return String::new() };
    format!("{:.2} ({least:.2}–{greatest:.2})", values[values.len() / 2])
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxAgain => "nginx again",
            Self::NginxMirror => "nginx mirror",
            Self::Envoy => "envoy",
            Self::EnvoyMirror => "envoy mirror",
            Self::Podtap => "podtap",
        }
    }

    fn needs_envoy(self) -> bool {
        matches!(self, Self::Envoy | Self::EnvoyMirror)
    }
}

fn measure(case: Case, envoy: Option<&Path>, binaries: &Path) -> Result<Measured> {
    let stage = Stage::set(case, envoy, binaries)?;
    // So that connections are open and caches warm.
    stage.load(1)?;
    stage.settle()?;
    let (path, machine, shadow) = (stage.path_cpu()?, machine_cpu()?, stage.at_the_shadow()?);
    let begin = Instant::now();
    let (requests, p99) = stage.load(LOAD_SECONDS)?;
    let seconds = begin.elapsed().as_secs_f64();
    let path_cpu = (stage.path_cpu()? - path) / requests;
    stage.settle()?;
    let machine_cpu = (machine_cpu()? - machine) / requests;
    let share = 100.0 * (stage.at_the_shadow()? - shadow) / requests;
    Ok(Measured { rate: requests / seconds, path_cpu, machine_cpu, p99, share })
}

impl Stage {
    fn set(case: Case, envoy: Option<&Path>, binaries: &Path) -> Result<Self> {
        let directory =
            TempDir::with_prefix("podtap-bench-").context("make a directory for the benchmark")?;
        let path = directory.path();
        let (primary_port, shadow_port) = (free_port()?, free_port()?);
        fs::create_dir(path.join("files")).context("make a directory of files")?;
        fs::write(path.join("files/page"), "x".repeat(200)).context("write a page")?;
        let mirror = case == Case::NginxMirror;
        let shadow =
            nginx("shadow", path, &shadow_configuration(path, shadow_port), |program| Command::new(program))?;
        let cgroup = (case == Case::Podtap).then(|| Cgroup::create("bench-mirror")).transpose()?;
        let configuration = primary_configuration(path, primary_port, mirror.then_some(shadow_port));
        let primary = nginx("primary", path, &configuration, |program| match &cgroup {
            Some(cgroup) => cgroup.command(program),
            None => Command::new(program),
        })?;
        let tap = cgroup.as_ref().map(|cgroup| tap(binaries, path, cgroup, shadow_port)).transpose()?;
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
    fn load(&self, seconds: u32) -> Result<(f64, f64)> {
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
    fn settle(&self) -> Result<()> {
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

    fn at_the_shadow(&self) -> Result<f64> {
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
    fn path_cpu(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for running in [Some(&self.primary), self.envoy.as_ref()].into_iter().flatten() {
            nanoseconds += group_cpu(running.pid().as_raw())?;
        }
        Ok(nanoseconds as f64 / 1e3)
    }
}

/// An agent that taps the cgroup, and a collector that mirrors what it stores at the shadow.
fn tap(binaries: &Path, path: &Path, cgroup: &Cgroup, shadow: u16) -> Result<(Running, Running)> {
    let (port, admin) = (free_port()?, free_port()?);
    let settings = path.join("collector.yaml");
    let text = format!(
        "listen: 127.0.0.1:{port}\nadmin: {{listen: '127.0.0.1:0'}}\nstore: {store}\n\
         mirrors: [{{name: shadow, target: 'http://127.0.0.1:{shadow}'}}]\n",
        store = path.join("table").display(),
    );
    fs::write(&settings, text).context("write the collector's settings")?;
    let mut collector = Command::new(binaries.join("tap-collector"));
    let collector = Running::start("collector", path, collector.arg("--config").arg(&settings))?;
    let settings = path.join("agent.yaml");
    let text = format!(
        "agent: bench\ncollector: 'http://127.0.0.1:{port}'\nadmin: {{listen: '127.0.0.1:{admin}'}}\n\
         targets: [{{name: primary, cgroup: {cgroup}}}]\n",
        cgroup = cgroup.path().display(),
    );
    fs::write(&settings, text).context("write the agent's settings")?;
    let mut agent = Command::new(binaries.join("tap-agent"));
    let agent = Running::start("agent", path, agent.arg("--config").arg(&settings))?;
    until("the agent is ready", || {
        get(admin, "/ready")
            .map_err(|error| error.to_string())
            .and_then(|answer| if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(agent.log()) })
    })?;
    Ok((agent, collector))
}

fn nginx(
    name: &str,
    path: &Path,
    configuration: &str,
    command: impl FnOnce(&str) -> Command,
) -> Result<Running> {
    let program = process::find("nginx").context("nginx is not installed")?;
    let file = path.join(format!("{name}.conf"));
    fs::write(&file, configuration).with_context(|| format!("write {name}.conf"))?;
    let mut command = command(&program.to_string_lossy());
    command.arg("-e").arg(path.join(format!("{name}.errors"))).arg("-p").arg(path).arg("-c").arg(&file);
    Running::start(name, path, &mut command)
}

fn common(path: &Path, name: &str, server: &str) -> String {
    format!(
        "daemon off; user root; worker_processes 1; pid {path}/{name}.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {path}; proxy_temp_path {path};\n\
         fastcgi_temp_path {path}; uwsgi_temp_path {path}; scgi_temp_path {path};\n{server}\n}}\n",
        path = path.display(),
    )
}

fn shadow_configuration(path: &Path, port: u16) -> String {
    let server = format!(
        "server {{ listen 127.0.0.1:{port}; location / {{ return 200 shadow; }} location = /requests {{ stub_status; }} }}"
    );
    common(path, "shadow", &server)
}

/// A file, and not a `return`: nginx mirrors only what gets as far as a handler of content.
fn primary_configuration(path: &Path, port: u16, shadow: Option<u16>) -> String {
    let (upstream, mirror, location) = match shadow {
        None => (String::new(), "", ""),
        Some(shadow) => (
            format!("upstream shadow {{ server 127.0.0.1:{shadow}; keepalive 32; }}"),
            "mirror /mirror;",
            "location = /mirror { internal; proxy_pass http://shadow$request_uri; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; }",
        ),
    };
    let server = format!(
        "{upstream}\nserver {{ listen 127.0.0.1:{port}; root {files}; location / {{ {mirror} }} {location} }}",
        files = path.join("files").display(),
    );
    common(path, "primary", &server)
}

fn envoy_configuration(entrance: u16, primary: u16, shadow: Option<u16>) -> String {
    let cluster = |name: &str, port: u16| {
        serde_json::json!({
            "name": name, "connect_timeout": "1s", "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
        })
    };
    let mut route = serde_json::json!({"cluster": "primary"});
    let mut clusters = vec![cluster("primary", primary)];
    if let Some(shadow) = shadow {
        route["request_mirror_policies"] = serde_json::json!([{"cluster": "shadow"}]);
        clusters.push(cluster("shadow", shadow));
    }
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let hosts = serde_json::json!([{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]);
    let configuration = serde_json::json!({"static_resources": {
        "listeners": [{
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": entrance}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": {
                "@type": manager, "stat_prefix": "http", "codec_type": "HTTP1",
                "route_config": {"virtual_hosts": hosts},
                "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
            }}]}],
        }],
        "clusters": clusters,
    }});
    configuration.to_string()
}

/// What the threads of a process group have run, in nanoseconds.
fn group_cpu(group: i32) -> Result<u64> {
    let mut nanoseconds = 0;
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let path = entry.context("list /proc")?.path();
        // Processes come and go; those of a group that is measured stay.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        if rest.split(' ').nth(2).and_then(|pgrp| pgrp.parse().ok()) != Some(group) {
            continue;
        }
        for thread in fs::read_dir(path.join("task")).into_iter().flatten().flatten() {
            let schedule = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let ran = schedule.split(' ').next().and_then(|ran| ran.parse::<u64>().ok());
            nanoseconds += ran.context("this kernel has no schedstat")?;
        }
    }
    Ok(nanoseconds)
}

/// What all CPUs have done but idle and wait, in microseconds.
fn machine_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    let [user, nice, system, _idle, _wait, hard, soft, ..] = ticks[..] else {
        bail!("/proc/stat is not understood: {line}");
    };
    // A tick is a hundredth of a second wherever Linux shows one.
    Ok((user + nice + system + hard + soft) * 1e4)
}

fn get(port: u16, path: &str) -> Result<String> {
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

    #[test]
    fn the_median_has_its_spread() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), "2.00 (1.00–3.00)");
    }
}

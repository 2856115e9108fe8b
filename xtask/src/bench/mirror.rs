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
//! | `tapped` | nginx alone, tapped; a collector keeps what is captured, and mirrors nothing |
//! | `tapped mirror` | the same, and the collector mirrors |
//!
//! What mirroring costs the application is a case beside its own baseline in the same round: `nginx mirror` beside `nginx`, `envoy
//! mirror` beside `envoy`, `tapped mirror` beside `tapped`; what the tap costs, `tapped` beside `nginx`; and what is noise,
//! `nginx again` beside `nginx`. These ratios are printed last, of the path's CPU for a request and of the 99th percentile.
//!
//! Told of each, as the median of the rounds with the spread: requests a second, CPU of the path's processes for a request, CPU of
//! the whole machine for a request (agent, collector, shadow and wrk among it), the 99th percentile of the latency, and the requests
//! that reached the shadow of those that were answered. Each connection of wrk pauses between its requests, so that the load is much
//! the same in all cases and no case is at its limit.
//!
//! Needs root (the tap), wrk, and for its cases Envoy: `envoy` on PATH, or the path in `ENVOY`. Agent and collector are built for
//! release, unless `PODTAP_BINARIES` names a directory in which they are.

mod cpu;
mod programs;
mod stage;

use std::{
    env,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use self::stage::Stage;
use crate::{process, workspace::Workspace};

const ROUNDS: usize = 3;
const LOAD_SECONDS: u32 = 8;

/// A case next to its baseline, so that what changes on the machine changes both.
const CASES: [Case; 7] = [
    Case::Nginx,
    Case::Tapped,
    Case::TappedMirror,
    Case::NginxMirror,
    Case::NginxAgain,
    Case::Envoy,
    Case::EnvoyMirror,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Nginx,
    NginxAgain,
    NginxMirror,
    Envoy,
    EnvoyMirror,
    Tapped,
    TappedMirror,
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
    println!("\n{:<32} {:>24} {:>24}", "beside its baseline", "path CPU", "p99");
    for (case, measured) in &results {
        let baseline = |of: &Case| results.iter().find(|(case, _)| case == of);
        let Some((of, baseline)) = case.baseline().as_ref().and_then(baseline) else { continue };
        let column = |value: fn(&Measured) -> f64| {
            spread(measured.iter().zip(baseline).map(|(one, other)| value(one) / value(other)).collect())
        };
        println!(
            "{:<32} {:>24} {:>24}",
            format!("{} / {}", case.name(), of.name()),
            column(|measured| measured.path_cpu),
            column(|measured| measured.p99),
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
            Self::Tapped => "tapped",
            Self::TappedMirror => "tapped mirror",
        }
    }

    /// What it is held beside.
    fn baseline(self) -> Option<Self> {
        match self {
            Self::Nginx | Self::Envoy => None,
            Self::NginxAgain | Self::NginxMirror | Self::Tapped => Some(Self::Nginx),
            Self::EnvoyMirror => Some(Self::Envoy),
            Self::TappedMirror => Some(Self::Tapped),
        }
    }

    fn needs_envoy(self) -> bool {
        matches!(self, Self::Envoy | Self::EnvoyMirror)
    }

    fn is_tapped(self) -> bool {
        matches!(self, Self::Tapped | Self::TappedMirror)
    }
}

fn measure(case: Case, envoy: Option<&Path>, binaries: &Path) -> Result<Measured> {
    let stage = Stage::set(case, envoy, binaries)?;
    // So that connections are open and caches warm.
    stage.load(1)?;
    stage.settle()?;
    let (path, machine, shadow) = (stage.path_cpu()?, cpu::machine()?, stage.at_the_shadow()?);
    let begin = Instant::now();
    let (requests, p99) = stage.load(LOAD_SECONDS)?;
    let seconds = begin.elapsed().as_secs_f64();
    let path_cpu = (stage.path_cpu()? - path) / requests;
    stage.settle()?;
    let machine_cpu = (cpu::machine()? - machine) / requests;
    let share = 100.0 * (stage.at_the_shadow()? - shadow) / requests;
    Ok(Measured { rate: requests / seconds, path_cpu, machine_cpu, p99, share })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_has_its_spread() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), "2.00 (1.00–3.00)");
    }
}

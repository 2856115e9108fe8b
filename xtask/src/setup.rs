//! Finds what is missing for building, testing and the demo, and installs it.
//!
//! Idempotent, and quick where nothing is missing: it looks before it does anything. Nothing is pinned to
//! one distribution's versions; what can't be installed is named, with the reason it is needed.

mod apt;
mod ebpf;
mod grpcurl;
mod helm;
mod python;
mod s3;

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Context as _, Result};

#[cfg(test)]
pub(crate) use self::helm::present as present_helm;
use crate::{chart::Helm, process::find, workspace::Workspace};

/// What setup found or installed.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) grpcurl: PathBuf,
    pub(crate) helm: Helm,
    /// With the libraries by which others read the table.
    pub(crate) python: PathBuf,
}

/// A program that the demo or the tests run.
struct Program {
    name: &'static str,
    why: &'static str,
    /// The first of these that the distribution offers is installed.
    packages: &'static [&'static str],
}

const PROGRAMS: [Program; 8] = [
    Program { name: "nginx", why: "the server that is tapped", packages: &["nginx"] },
    Program { name: "curl", why: "a client", packages: &["curl"] },
    Program { name: "tcpdump", why: "records what is imported", packages: &["tcpdump"] },
    Program { name: "tshark", why: "reads packets that are exported", packages: &["tshark"] },
    Program { name: "wrk", why: "a client that makes load", packages: &["wrk"] },
    Program { name: "python3", why: "a server and a client of the tests", packages: &["python3"] },
    Program { name: "node", why: "a server and a client of the tests", packages: &["nodejs"] },
    // Ubuntu has it in the kernel's tools.
    Program { name: "bpftool", why: "shows what is attached", packages: &["bpftool", "linux-tools-generic"] },
];

/// What other kernels are run with.
const MACHINES: [Program; 3] = [
    Program { name: "qemu-system-x86_64", why: "runs other kernels", packages: &["qemu-system-x86"] },
    Program {
        name: "busybox",
        why: "the programs beside the tests there",
        packages: &["busybox-static", "busybox"],
    },
    Program { name: "dpkg", why: "unpacks kernels", packages: &["dpkg"] },
];

/// Installs what is missing.
pub(crate) fn run(workspace: &Workspace) -> Result<Tools> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|program| find(program.name).is_none()).collect();
    if !missing.is_empty() {
        for program in &missing {
            println!("setup: {} is missing ({})", program.name, program.why);
        }
        let choices: Vec<_> = missing.iter().map(|program| program.packages).collect();
        apt::install(&choices)?;
    }
    ebpf::ensure(workspace).context("set up the eBPF toolchain")?;
    let grpcurl = grpcurl::ensure().context("set up grpcurl")?;
    let helm = helm().context("set up Helm")?;
    let python = python::ensure().context("set up Python's readers of Delta tables")?;
    s3::ensure(workspace).context("set up the S3 server of the tests")?;
    println!("setup: everything is here");
    Ok(Tools { grpcurl, helm, python })
}

/// Installs what virtual machines of other kernels need.
pub(crate) fn machines() -> Result<()> {
    let missing: Vec<_> = MACHINES.iter().filter(|program| find(program.name).is_none()).collect();
    for program in &missing {
        println!("setup: {} is missing ({})", program.name, program.why);
    }
    let choices: Vec<_> = missing.iter().map(|program| program.packages).collect();
    if choices.is_empty() { Ok(()) } else { apt::install(&choices) }
}

/// Installs what renders the chart, alone.
pub(crate) fn helm() -> Result<Helm> {
    helm::ensure()
}

impl Tools {
    /// PATH with the programs that setup keeps in its own directory, and the system's.
    pub(crate) fn path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = self.grpcurl.parent().map(PathBuf::from);
        let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)).chain(system))
            .context("compose PATH")
    }
}

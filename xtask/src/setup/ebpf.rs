//! The eBPF toolchain: a Rust compiler that can build `core` for the BPF target, and `bpf-linker` with the
//! same LLVM.
//!
//! The compiler is the first of these that is here or can be had:
//! 1. the rustup toolchain named `ebpf`, as made by 3;
//! 2. rustup's nightly with the component `rust-src`;
//! 3. the distribution's own compiler with its sources, linked as the rustup toolchain `ebpf`: for machines
//!    that reach their distribution's mirror, but not rustup's.
//!
//! The linker is the project's own static build, or is built against the distribution's LLVM.
//! `tap-agent/build.rs` makes the same choice of compiler.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::{
    process::{attempt, find, line, output, run},
    workspace::Workspace,
};

/// The rustup toolchain that stands for the distribution's compiler.
const LINKED: &str = "ebpf";

const NIGHTLY: &str = "nightly";

/// For downloads from rustup's and bpf-linker's own servers, which some networks do not let through.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);

/// The linker's release that is built from source, where the static build can't be had.
const LINKER_VERSION: &str = "0.13.0";

/// The distribution's compiler: Debian's security suite carries a recent one beside the release's own.
const DISTRIBUTION_COMPILERS: [DistributionCompiler; 2] = [
    DistributionCompiler { compiler: "rustc-web", packages: ["rust-web-src", "rust-web-llvm", "cargo-web"] },
    DistributionCompiler { compiler: "rustc", packages: ["rust-src", "rust-llvm", "cargo"] },
];

/// The oldest compiler, by its minor version, that knows the edition of this workspace.
const OLDEST_MINOR: u32 = 85;

struct DistributionCompiler {
    compiler: &'static str,
    packages: [&'static str; 3],
}

/// Finds the toolchain, or installs it.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    let toolchain = compiler()?;
    if find("bpf-linker").is_none() {
        println!("setup: bpf-linker is missing (links the eBPF programs)");
        install_linker(workspace, toolchain)?;
    }
    Ok(())
}

/// The rustup toolchain that builds the programs.
fn compiler() -> Result<&'static str> {
    if let Some(toolchain) = [LINKED, NIGHTLY].into_iter().find(|toolchain| has_sources(toolchain)) {
        return Ok(toolchain);
    }
    println!("setup: no compiler for eBPF (needs the sources of Rust's core library)");
    if find("rustup").is_none() {
        bail!("rustup is missing: install it from https://rustup.rs");
    }
    if install_nightly() {
        return Ok(NIGHTLY);
    }
    println!("setup: rustup's nightly with rust-src can't be had here; trying the distribution's compiler");
    link_distribution_compiler()?;
    Ok(LINKED)
}

/// Whether the toolchain is there with the sources of `core`.
fn has_sources(toolchain: &str) -> bool {
    sysroot(toolchain).is_some_and(|root| root.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists())
}

/// Where the toolchain is, by rustup's own layout: asking the compiler costs a third of a second.
fn sysroot(toolchain: &str) -> Option<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".rustup")))?;
    let names = std::fs::read_dir(home.join("toolchains")).ok()?;
    let host = format!("{toolchain}-{}-", env::consts::ARCH);
    names
        .filter_map(Result::ok)
        .find(|entry| {
            let name = entry.file_name();
            name == toolchain || name.to_string_lossy().starts_with(&host)
        })
        .map(|entry| entry.path())
}

fn install_nightly() -> bool {
    let mut command = Command::new("rustup");
    command.env("RUSTUP_MAX_RETRIES", "1");
    if sysroot(NIGHTLY).is_some() {
        command.args(["component", "add", "rust-src", "--toolchain", NIGHTLY]);
    } else {
        command.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
    }
    attempt(&mut command, DOWNLOAD_LIMIT) && has_sources(NIGHTLY)
}

fn link_distribution_compiler() -> Result<()> {
    if !apt::is_here() {
        bail!(
            "install by hand, then run this again: a Rust compiler of 1.{OLDEST_MINOR} or newer with the sources of its \
             library, linked by `rustup toolchain link {LINKED} <prefix>`, and bpf-linker with the LLVM of that compiler"
        );
    }
    apt::refresh()?;
    let found = DISTRIBUTION_COMPILERS.iter().find(|choice| {
        apt::candidate(choice.compiler).is_some_and(|version| minor_version(&version) >= Some(OLDEST_MINOR))
    });
    let Some(DistributionCompiler { compiler, packages }) = found else {
        bail!(
            "this distribution has no Rust compiler of 1.{OLDEST_MINOR} or newer, and rustup's can't be had"
        );
    };
    let mut all = vec![*compiler];
    all.extend(packages.iter().filter(|package| apt::offers(package)));
    let choices: Vec<_> = all.iter().map(std::slice::from_ref).collect();
    apt::install(&choices)?;
    run(Command::new("rustup").args(["toolchain", "link", LINKED, "/usr"]))?;
    if !has_sources(LINKED) {
        bail!("{compiler} is installed, but has no sources below /usr/lib/rustlib/src");
    }
    Ok(())
}

/// "1.96.0+dfsg1-1" → 96.
fn minor_version(version: &str) -> Option<u32> {
    let mut parts = version.split('.');
    if parts.next()? != "1" {
        return None;
    }
    parts.next()?.parse().ok()
}

fn install_linker(workspace: &Workspace, toolchain: &str) -> Result<()> {
    // The static build brings an LLVM that reads what nightly writes, and saves a minute of building.
    if toolchain == NIGHTLY && download_linker() {
        return Ok(());
    }
    let version = output(Command::new("rustup").args(["run", toolchain, "rustc", "-vV"]))
        .context("ask for LLVM's version")?;
    let llvm = llvm_version(&version)
        .with_context(|| format!("no LLVM version in what {toolchain}'s rustc -vV says"))?;
    let development = format!("llvm-{llvm}-dev");
    let polly = format!("libpolly-{llvm}-dev");
    let prefix = format!("/usr/lib/llvm-{llvm}");
    if !Path::new(&prefix).join("include/llvm-c").exists() || !Path::new("/usr/include/zstd.h").exists() {
        if !apt::is_here() {
            bail!(
                "install LLVM {llvm} with its headers, then `cargo install bpf-linker` with the feature llvm-{llvm}"
            );
        }
        let mut choices: Vec<&[&str]> = vec![&["libzstd-dev"]];
        let development = [development.as_str()];
        let polly = [polly.as_str()];
        choices.push(&development);
        if apt::offers(polly[0]) {
            choices.push(&polly);
        }
        apt::install(&choices)?;
    }
    let mut command = workspace.cargo();
    command
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            LINKER_VERSION,
            "--no-default-features",
            "--features",
        ])
        .arg(format!("llvm-{llvm}"))
        // A target directory of its own: the workspace's is for the workspace's profile.
        .env_remove("CARGO_TARGET_DIR")
        .env("LLVM_PREFIX", &prefix);
    run(&mut command).with_context(|| format!("build bpf-linker with LLVM {llvm}: {}", line(&command)))
}

/// The major version in `rustc -vV`'s "LLVM version: 22.1.8".
fn llvm_version(version: &str) -> Option<u32> {
    let version = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// Puts the project's static build of the linker beside cargo's binaries.
fn download_linker() -> bool {
    let Some(binaries) = find("cargo").and_then(|cargo| cargo.parent().map(Path::to_owned)) else {
        return false;
    };
    if find("zstd").is_none() && (!apt::is_here() || apt::install(&[&["zstd"]]).is_err()) {
        return false;
    }
    // The latest: nightly's LLVM moves on as well.
    let url = format!(
        "https://github.com/aya-rs/bpf-linker/releases/latest/download/bpf-linker-{}-unknown-linux-musl.tar.zst",
        env::consts::ARCH
    );
    let script = r#": download bpf-linker
set -e
part=$(mktemp); trap 'rm -f "$part"' EXIT
curl -fsSL --connect-timeout 5 --retry 1 -o "$part" "$1"
zstd -dc "$part" | tar -x -C "$2" bpf-linker
"#;
    attempt(Command::new("sh").args(["-c", script, "download"]).arg(url).arg(binaries), DOWNLOAD_LIMIT)
        && output(Command::new("bpf-linker").arg("--version")).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(minor_version("1.96.0+dfsg1-1~deb12u2"), Some(96));
        assert_eq!(minor_version("0.47.0"), None);
        assert_eq!(llvm_version("rustc 1.96.0\nLLVM version: 22.1.8"), Some(22));
        assert_eq!(llvm_version("rustc 1.96.0"), None);
    }
}

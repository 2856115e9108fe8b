//! Builds the kernel programs, or writes an empty object in their place where the eBPF toolchain is absent.
//!
//! They are compiled for another target, by a compiler that can build `core` for it, so cargo runs
//! again inside this build, with a target directory of its own (it would wait for its own lock
//! otherwise). `aya-build` does the same, but turns each line that the inner cargo prints into a
//! warning, and takes `RUSTC_BOOTSTRAP` from the environment of the whole build.
//!
//! `PODTAP_EBPF=build` makes an absent toolchain an error, `PODTAP_EBPF=stub` ignores a present one.

use std::{
    env,
    error::Error,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Toolchains that may be able to, by their names in rustup: one that `cargo xtask setup` links, the ordinary one.
const TOOLCHAINS: [&str; 2] = ["ebpf", "nightly"];

const LINKER: &str = "bpf-linker";

const MODE: &str = "PODTAP_EBPF";

fn main() -> Result<()> {
    let workspace = Path::new("..");
    for input in ["tap-ebpf", "tap-common", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    println!("cargo::rerun-if-env-changed={MODE}");

    let object = PathBuf::from(variable("OUT_DIR")?).join("tap-ebpf");
    match env::var(MODE).unwrap_or_default().as_str() {
        "build" => build(&find_toolchain()?, &object),
        "stub" => Ok(fs::write(&object, [])?),
        "" => match find_toolchain() {
            Ok(toolchain) => build(&toolchain, &object),
            Err(absent) => {
                println!(
                    "cargo::warning=built without the kernel programs: {absent}; run `cargo xtask setup`"
                );
                watch_for_linker();
                Ok(fs::write(&object, [])?)
            }
        },
        other => Err(format!("{MODE} is {other:?}: expected `build` or `stub`").into()),
    }
}

/// The first toolchain with the sources of `core`, provided that the linker is there.
fn find_toolchain() -> Result<String> {
    let linker = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join(LINKER))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("no {LINKER} on the PATH"))?;
    println!("cargo::rerun-if-changed={}", linker.display());

    TOOLCHAINS
        .into_iter()
        .find(|toolchain| has_sources(toolchain))
        .map(str::to_owned)
        .ok_or_else(|| format!("no rustup toolchain of {TOOLCHAINS:?} has rust-src").into())
}

fn has_sources(toolchain: &str) -> bool {
    let output = Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).output();
    let Ok(output) = output else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
}

/// Runs this script again when the linker may have been installed: the last step of `cargo xtask setup`.
fn watch_for_linker() {
    // Cargo sets CARGO_HOME for build scripts.
    if let Some(home) = env::var_os("CARGO_HOME") {
        let binaries = Path::new(&home).join("bin");
        if binaries.is_dir() {
            println!("cargo::rerun-if-changed={}", binaries.display());
        }
    }
}

fn build(toolchain: &str, object: &Path) -> Result<()> {
    let endian = if variable("CARGO_CFG_TARGET_ENDIAN")? == "big" { "bpfeb" } else { "bpfel" };
    let target = format!("{endian}-unknown-none");
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let target_dir = object.with_file_name("ebpf-target");
    // The loader needs the types of the maps (BTF), and the linker makes them from debug information.
    let flags =
        [&format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f");

    let mut cargo = Command::new("rustup");
    cargo.args([
        "run",
        toolchain,
        "cargo",
        "build",
        "--release",
        "--package",
        "tap-ebpf",
        "--bin",
        "tap-ebpf",
    ]);
    cargo.args(["-Z", "build-std=core", "--target", &target, "--target-dir"]).arg(&target_dir);
    cargo.current_dir("..");
    // What the outer cargo set for this build is about another compiler and target.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_") && name != "CARGO_HOME" && !name.starts_with("CARGO_NET_")
        }) {
            cargo.env_remove(name);
        }
    }
    for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);
    // A toolchain that isn't a nightly one builds `core` only with this.
    cargo.env("RUSTC_BOOTSTRAP", "1");

    let status = cargo.status().map_err(|error| format!("cannot run {cargo:?}: {error}"))?;
    if !status.success() {
        return Err(format!(
            "building the kernel programs failed ({status}); {MODE}=stub builds without them"
        )
        .into());
    }
    fs::copy(target_dir.join(target).join("release/tap-ebpf"), object)?;
    Ok(())
}

/// A variable that cargo sets for build scripts.
fn variable(name: impl AsRef<OsStr>) -> Result<String> {
    let name = name.as_ref();
    env::var(name).map_err(|error| format!("{}: {error}", name.display()).into())
}

//! The binaries that go into images, and what they need to run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::{Program, layer::Layer, strip};
use crate::{
    process::{self, line, output},
    test,
    workspace::Workspace,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// What the tests run: quick to have, with shared libraries.
    Dev,
    /// Optimised and static.
    Release,
}

/// Where Cargo puts what it builds.
pub(super) fn target_directory(workspace: &Workspace) -> PathBuf {
    let directory = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    workspace.root().join(directory)
}

/// Builds the binaries.
pub(super) fn build(workspace: &Workspace, profile: Profile, programs: &[Program]) -> Result<()> {
    match profile {
        // As the tests are built: with another choice of packages Cargo would build the large libraries again.
        Profile::Dev => test::build(workspace),
        Profile::Release => {
            let target = static_target()?;
            let mut command = workspace.cargo();
            command.args(["build", "--release", "--locked", "--target", &target, "--config"]);
            command.arg(format!(r#"target.{target}.rustflags=["-C", "target-feature=+crt-static"]"#));
            for program in programs {
                command.args(["--package", program.binary()]);
            }
            process::run(&mut command)
        }
    }
}

/// Adds a binary at the root, and the libraries that it needs where they are on this machine.
pub(super) fn add(workspace: &Workspace, profile: Profile, name: &str, layer: &mut Layer) -> Result<()> {
    let target = target_directory(workspace);
    let binary = match profile {
        Profile::Dev => target.join("debug").join(name),
        Profile::Release => target.join(static_target()?).join("release").join(name),
    };
    let libraries = shared_libraries(&binary)?;
    if profile == Profile::Release && !libraries.is_empty() {
        bail!("{} is not static: it needs {}", binary.display(), libraries.join(", "));
    }
    layer.file(name, 0o755, stripped(&binary)?);
    for library in libraries {
        let content = fs::read(&library).with_context(|| format!("read {library}"))?;
        layer.file(library.trim_start_matches('/'), 0o755, content);
    }
    Ok(())
}

/// The target that links statically: musl's where its library is here, else glibc's.
fn static_target() -> Result<String> {
    let arch = env::consts::ARCH;
    let sysroot =
        output(Command::new("rustc").args(["--print", "sysroot"])).context("ask for rustc's sysroot")?;
    let musl = format!("{arch}-unknown-linux-musl");
    let has_library = Path::new(&sysroot).join("lib/rustlib").join(&musl).exists();
    // Some libraries are in C.
    Ok(if has_library && process::find("musl-gcc").is_some() {
        musl
    } else {
        format!("{arch}-unknown-linux-gnu")
    })
}

/// Without symbols: names in backtraces are not worth half the size.
fn stripped(binary: &Path) -> Result<Vec<u8>> {
    let Some(strip) = strip() else {
        return fs::read(binary).with_context(|| format!("read {}", binary.display()));
    };
    let copy = tempfile::NamedTempFile::new().context("create a file for the stripped binary")?;
    let mut command = Command::new(strip);
    command.arg("-o").arg(copy.path()).arg(binary);
    let status = command.status().with_context(|| format!("run {}", line(&command)))?;
    if !status.success() {
        bail!("{}: {status}", line(&command));
    }
    fs::read(copy.path()).context("read the stripped binary")
}

/// Absolute paths of the loader and the shared libraries that a program needs; none of a static one.
fn shared_libraries(binary: &Path) -> Result<Vec<String>> {
    if !binary.exists() {
        bail!("{} is not there: build it first", binary.display());
    }
    let mut command = Command::new("ldd");
    let listed = command.arg(binary).env("LC_ALL", "C").output();
    let listed = listed.with_context(|| format!("run {}", line(&command)))?;
    let text = String::from_utf8_lossy(&listed.stdout);
    if !listed.status.success() {
        let complaint = String::from_utf8_lossy(&listed.stderr);
        if complaint.contains("not a dynamic executable") {
            return Ok(Vec::new());
        }
        bail!("{}: {}", line(&command), complaint.trim());
    }
    libraries_of(&text).with_context(|| binary.display().to_string())
}

/// Reads what `ldd` prints: `name => /path (0x…)`, or `/path (0x…)` for the loader.
fn libraries_of(listing: &str) -> Result<Vec<String>> {
    let mut libraries = Vec::new();
    for line in listing.lines().map(str::trim) {
        if line.ends_with("not found") {
            bail!("a shared library is missing: {line}");
        }
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        // Neither the kernel's own linux-vdso.so.1 nor "statically linked".
        if path.starts_with('/') {
            libraries.push(path.split(" (").next().unwrap_or(path).to_owned());
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ldd_prints() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            libraries_of(listing).unwrap(),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert!(libraries_of("\tstatically linked\n").unwrap().is_empty());
        assert!(libraries_of("\tlibx.so => not found\n").is_err());
    }
}

//! The machine's files, as the archive that the kernel unpacks into memory (cpio, "newc": Documentation/driver-api/
//! early-userspace/buffer-format.rst).
//!
//! The programs are those of the host, and so are the libraries that they load.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::process;

const INIT: &str = include_str!("init.sh");
const AGENT_CONFIG: &str = include_str!("agent.yaml");

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// Directories on which the init mounts, or into which it writes.
const EMPTY: [&str; 7] = ["proc", "sys", "dev", "tmp", "run", "www", "etc"];

/// A body past the agent's cap.
const LARGE: usize = 2 << 20;

/// Writes the archive.
pub(super) fn write(path: &Path, tests: &[PathBuf], agent: &Path) -> Result<()> {
    let file = fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut archive = Archive { out: BufWriter::new(file), serial: 0, directories: BTreeSet::new() };
    for directory in EMPTY {
        archive.directory(directory)?;
    }
    archive.entry("init", PROGRAM, INIT.as_bytes())?;
    archive.entry("etc/agent.yaml", FILE, AGENT_CONFIG.as_bytes())?;
    archive.entry("www/small", FILE, b"hello\n")?;
    archive.entry("www/large", FILE, &vec![b'x'; LARGE])?;
    let busybox = process::find("busybox").context("busybox is missing")?;
    archive.program("bin/busybox", &busybox)?;
    archive.entry("bin/sh", LINK, b"busybox")?;
    archive.program("bin/tap-agent", agent)?;
    for test in tests {
        let name = test.file_name().and_then(|name| name.to_str()).context("a test program's name")?;
        // Cargo adds a hash.
        let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
        archive.program(&format!("tests/{name}"), test)?;
    }
    let programs = tests.iter().map(PathBuf::as_path).chain([agent, &busybox]);
    let mut libraries = BTreeSet::new();
    for program in programs {
        libraries.extend(libraries_of(program)?);
    }
    for library in libraries {
        let content = fs::read(&library).with_context(|| format!("read {}", library.display()))?;
        archive.entry(&library.to_string_lossy(), PROGRAM, &content)?;
    }
    archive.finish()
}

/// The shared libraries that a program loads, the loader itself among them.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    // It fails on a static program, which needs none.
    let Some(listed) = process::output(Command::new("ldd").arg(program)) else { return Ok(Vec::new()) };
    if listed.contains("not found") {
        bail!("{} needs a library that is not here: {listed}", program.display());
    }
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

struct Archive<W> {
    out: W,
    serial: u32,
    directories: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    /// A program of the host, without what only a debugger reads.
    fn program(&mut self, name: &str, path: &Path) -> Result<()> {
        let stripped = tempfile::NamedTempFile::new().context("make a file")?;
        let is_stripped = Command::new("strip")
            .args(["--strip-all", "-o"])
            .args([stripped.path(), path])
            .status()
            .is_ok_and(|status| status.success());
        let path = if is_stripped { stripped.path() } else { path };
        let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        self.entry(name, PROGRAM, &content)
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        if self.directories.insert(PathBuf::from(name)) { self.write(name, DIRECTORY, &[]) } else { Ok(()) }
    }

    /// A file or link, with the directories above it.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let name = name.trim_start_matches('/');
        let above: Vec<_> = Path::new(name).ancestors().skip(1).collect();
        for directory in above.iter().rev().filter(|directory| !directory.as_os_str().is_empty()) {
            self.directory(&directory.to_string_lossy())?;
        }
        self.write(name, mode, content)
    }

    fn finish(mut self) -> Result<()> {
        self.write("TRAILER!!!", 0, &[])?;
        self.out.flush().context("write the archive")
    }

    fn write(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.serial += 1;
        let size = u32::try_from(content.len()).context("a file is too large for the archive")?;
        let fields = [
            self.serial,
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            size,
            0, // device, in two parts
            0,
            0, // of a device file, in two parts
            0,
            name.len() as u32 + 1,
            0, // checksum, which this format doesn't have
        ];
        let mut entry = b"070701".to_vec();
        for field in fields {
            entry.extend(format!("{field:08x}").bytes());
        }
        entry.extend(name.bytes());
        entry.push(0);
        pad(&mut entry);
        entry.extend(content);
        pad(&mut entry);
        self.out.write_all(&entry).context("write the archive")
    }
}

/// Names and contents end at multiples of four bytes.
fn pad(entry: &mut Vec<u8>) {
    entry.resize(entry.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_as_the_kernel_reads_them() {
        let mut out = Vec::new();
        let mut archive = Archive { out: &mut out, serial: 0, directories: BTreeSet::new() };
        archive.entry("/a/b", FILE, b"12345").expect("written");
        archive.finish().expect("written");
        let text = String::from_utf8_lossy(&out);
        let entries: Vec<_> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(entries.len(), 3, "the directory, the file, the end");
        assert!(entries.iter().all(|at| at % 4 == 0) && out.len() % 4 == 0);
        let file = &text[entries[1]..];
        assert_eq!(&file[14..22], "000081a4");
        assert_eq!(&file[54..62], "00000005");
        assert_eq!(&file[110..114], "a/b\0");
        assert!(text.contains("12345\0\0\0"));
    }
}

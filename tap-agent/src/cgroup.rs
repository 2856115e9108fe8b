//! The cgroup2 hierarchy of this host: where it is mounted, and which cgroup a target means.
//!
//! Reads `/proc` and directories, changes nothing but through [`OwnCgroup`]. Hosts differ: unified ones mount
//! cgroup2 at `/sys/fs/cgroup`, hybrid ones below it, containers elsewhere; so the mount is looked up.

use std::{
    fs, io,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use tap_flow::TapId;
use tracing::warn;

/// How many directories a search for a unit reads: a host with more cgroups than that is misread, not served.
const SEARCH_LIMIT: usize = 100_000;

/// Every cgroup2 directory has this file; a v1 hierarchy of the same name has it too, but is mounted elsewhere.
const PROCS: &str = "cgroup.procs";

/// Why a target has no cgroup. Each says what was looked for and where.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("can't read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("no cgroup2 mount in {mounts}: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`")]
    NoMount { mounts: PathBuf },
    #[error(
        "no cgroup2 file system at {root}, {root}/unified or mounted below: is the host's /sys/fs/cgroup mounted there?"
    )]
    NoMountBelow { root: PathBuf },
    #[error("no cgroup {path}")]
    NoCgroup { path: PathBuf },
    #[error(
        "cgroup {path} is not below the cgroup2 mount {mount}: give a path below it, or one that starts at its root"
    )]
    OutsideMount { path: PathBuf, mount: PathBuf },
    #[error("{path} is a directory but not a cgroup: it has no {PROCS}")]
    NotACgroup { path: PathBuf },
    #[error("no cgroup named {unit} below {mount}: is the unit running? `systemctl status {unit}` says")]
    NoUnit { unit: String, mount: PathBuf },
    #[error(
        "no cgroup named {unit} below {mount}; this host was not booted with systemd ({marker} is missing): name the target by cgroup or pid"
    )]
    NoSystemd { unit: String, mount: PathBuf, marker: PathBuf },
    #[error("several cgroups below {mount} are named {unit}: {paths:?}; name the target by cgroup")]
    AmbiguousUnit { unit: String, mount: PathBuf, paths: Vec<PathBuf> },
    #[error(
        "more than {SEARCH_LIMIT} cgroups below {mount}, {unit} not among the first: name the target by cgroup"
    )]
    SearchLimit { unit: String, mount: PathBuf },
    #[error("no process {pid} ({path} is missing)")]
    NoProcess { pid: u32, path: PathBuf },
    #[error("process {pid} is not the one that was named: it ended, and its number was used again")]
    ProcessReplaced { pid: u32 },
    #[error("process {pid} has no cgroup2 cgroup: {path} has no line that starts with 0::")]
    NoProcessCgroup { pid: u32, path: PathBuf },
    #[error("{reason}")]
    NoPod { reason: String },
    #[error("process {pid} is in cgroup {cgroup}, outside this cgroup namespace")]
    OutsideNamespace { pid: u32, cgroup: String },
}

/// The host's cgroup2 hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    mount: PathBuf,
    proc: PathBuf,
    systemd: PathBuf,
}

/// One existing cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    pub path: PathBuf,
    /// The kernel's cgroup id, which is the directory's inode number.
    pub tap: TapId,
}

/// A process, by a name that survives the reuse of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Clock ticks after boot at which it started: field 22 of `/proc/PID/stat`.
    pub started: u64,
}

/// A cgroup that this process made and removes again.
#[derive(Debug)]
pub struct OwnCgroup {
    cgroup: Cgroup,
}

impl Hierarchy {
    /// The hierarchy of this host.
    pub fn find() -> Result<Self, ResolveError> {
        Self::with_roots(Path::new("/proc"), Path::new("/run/systemd/system"))
    }

    /// The hierarchy according to another `/proc`; `systemd` is the directory whose presence tells that systemd runs.
    pub fn with_roots(proc: &Path, systemd: &Path) -> Result<Self, ResolveError> {
        let mounts = proc.join("self/mounts");
        let mount = read(&mounts)?.lines().find_map(cgroup2_mount).ok_or(ResolveError::NoMount { mounts })?;
        Ok(Self { mount, proc: proc.to_owned(), systemd: systemd.to_owned() })
    }

    /// The hierarchy at `root`, where the host's cgroup file systems are mounted: `root` itself, `root/unified` on a hybrid
    /// host, or what else is mounted below. `root` may also be a part of a hierarchy.
    pub fn below(root: &Path) -> Result<Self, ResolveError> {
        let host =
            Self { mount: root.to_owned(), proc: "/proc".into(), systemd: "/run/systemd/system".into() };
        let mounts = host.proc.join("self/mounts");
        let mounted = read(&mounts)?;
        let below = mounted.lines().filter_map(cgroup2_mount).filter(|mount| mount.starts_with(root));
        let candidates = [root.to_owned(), root.join("unified")].into_iter().chain(below);
        match candidates.into_iter().find(|path| is_cgroup2(path)) {
            Some(mount) => Ok(Self { mount, ..host }),
            None => Err(ResolveError::NoMountBelow { root: root.to_owned() }),
        }
    }

    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The cgroup at `path`: absolute below the mount, or counted from the hierarchy's root.
    pub fn by_path(&self, path: &Path) -> Result<Cgroup, ResolveError> {
        if path.components().any(|component| component == Component::ParentDir) {
            return Err(ResolveError::OutsideMount { path: path.to_owned(), mount: self.mount.clone() });
        }
        if path.starts_with(&self.mount) {
            return Cgroup::open(path.to_owned());
        }
        let joined = self.mount.join(path.strip_prefix("/").unwrap_or(path));
        match Cgroup::open(joined) {
            // An existing path elsewhere: most likely a cgroup of version 1.
            Err(ResolveError::NoCgroup { .. }) if path.is_absolute() && path.exists() => {
                Err(ResolveError::OutsideMount { path: path.to_owned(), mount: self.mount.clone() })
            }
            result => result,
        }
    }

    /// The cgroup of a running systemd unit; a name without a suffix is a service.
    pub fn by_unit(&self, unit: &str) -> Result<Cgroup, ResolveError> {
        let unit = unit_name(unit);
        let mount = self.mount.clone();
        let mut found = self.search(&unit)?;
        // A user's session may run a unit of the same name; the system's is what an administrator means.
        if found.len() > 1 {
            let system: Vec<_> = found
                .iter()
                .filter(|path| !path.to_string_lossy().contains("/user.slice/"))
                .cloned()
                .collect();
            if system.len() == 1 {
                found = system;
            }
        }
        match found.len() {
            0 if !self.systemd.exists() => {
                Err(ResolveError::NoSystemd { unit, mount, marker: self.systemd.clone() })
            }
            0 => Err(ResolveError::NoUnit { unit, mount }),
            1 => Cgroup::open(found.remove(0)),
            _ => Err(ResolveError::AmbiguousUnit { unit, mount, paths: found }),
        }
    }

    /// The process that has this number at the moment.
    pub fn process(&self, pid: u32) -> Result<Process, ResolveError> {
        let path = self.proc.join(pid.to_string()).join("stat");
        let stat = fs::read_to_string(&path).map_err(|source| process_error(pid, &path, source))?;
        // The second field is the command in parentheses and may itself hold spaces and parentheses.
        let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let started = after_command.split_whitespace().nth(19).and_then(|field| field.parse().ok());
        match started {
            Some(started) => Ok(Process { pid, started }),
            None => Err(ResolveError::Read { path, source: io::ErrorKind::InvalidData.into() }),
        }
    }

    /// The cgroup in which a process is.
    pub fn by_process(&self, process: Process) -> Result<Cgroup, ResolveError> {
        let Process { pid, .. } = process;
        if self.process(pid)? != process {
            return Err(ResolveError::ProcessReplaced { pid });
        }
        let path = self.proc.join(pid.to_string()).join("cgroup");
        let text = fs::read_to_string(&path).map_err(|source| process_error(pid, &path, source))?;
        let Some(cgroup) = unified_line(&text) else {
            return Err(ResolveError::NoProcessCgroup { pid, path });
        };
        if cgroup.starts_with("/..") {
            return Err(ResolveError::OutsideNamespace { pid, cgroup: cgroup.to_owned() });
        }
        self.by_path(Path::new(cgroup))
    }

    /// The cgroup of this process, where it has one in this hierarchy.
    pub fn own(&self) -> Option<Cgroup> {
        let text = fs::read_to_string(self.proc.join("self/cgroup")).ok()?;
        self.by_path(Path::new(unified_line(&text)?)).ok()
    }

    /// Makes a cgroup below this process's own, or below the root where that is refused.
    pub fn create(&self, name: &str) -> io::Result<OwnCgroup> {
        let own = self.own().map(|own| own.path);
        let parents = own.into_iter().chain([self.mount.clone()]);
        let mut refused = None;
        for parent in parents {
            let path = parent.join(name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    let cgroup = Cgroup::open(path).map_err(io::Error::other)?;
                    return Ok(OwnCgroup { cgroup });
                }
                Err(error) => {
                    refused = Some(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
                }
            }
        }
        Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Every directory below the mount of this name. What disappears while it is read is not there.
    fn search(&self, name: &str) -> Result<Vec<PathBuf>, ResolveError> {
        let mut found = Vec::new();
        let mut open = vec![self.mount.clone()];
        let mut seen = 0;
        while let Some(directory) = open.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                seen += 1;
                if seen > SEARCH_LIMIT {
                    return Err(ResolveError::SearchLimit {
                        unit: name.to_owned(),
                        mount: self.mount.clone(),
                    });
                }
                if entry.file_name() == name {
                    found.push(entry.path());
                } else {
                    open.push(entry.path());
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Cgroup {
    fn open(path: PathBuf) -> Result<Self, ResolveError> {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ResolveError::NoCgroup { path });
            }
            Err(source) => return Err(ResolveError::Read { path, source }),
        };
        if !path.join(PROCS).exists() {
            return Err(ResolveError::NotACgroup { path });
        }
        Ok(Self { path, tap: TapId(metadata.ino()) })
    }

    /// Whether the directory is still the one that was opened.
    pub fn exists(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.tap.0)
    }

    /// Whether `other` is this cgroup or below it.
    pub fn contains(&self, other: &Self) -> bool {
        other.path.starts_with(&self.path)
    }
}

impl OwnCgroup {
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let path = self.cgroup.path.display();
        match fs::remove_dir(&self.cgroup.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!(
                cgroup = %path,
                "the command's cgroup could not be removed ({error}): processes that the command left behind are still in it; \
                 remove it with rmdir when they have ended"
            ),
        }
    }
}

/// Moves this process into the cgroup at `path`.
pub fn join(path: &Path) -> io::Result<()> {
    fs::write(path.join(PROCS), "0")
}

fn is_cgroup2(path: &Path) -> bool {
    statfs(path).is_ok_and(|file_system| file_system.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// The mount point, if this line of `/proc/self/mounts` is a cgroup2 mount.
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let mut fields = line.split(' ');
    let (_source, mount_point, kind) = (fields.next()?, fields.next()?, fields.next()?);
    (kind == "cgroup2").then(|| unescape(mount_point))
}

/// `/proc/self/mounts` writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// The cgroup2 path in the text of `/proc/PID/cgroup`.
fn unified_line(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(" (deleted)").unwrap_or(path))
}

fn unit_name(unit: &str) -> String {
    const SUFFIXES: [&str; 4] = [".service", ".scope", ".slice", ".socket"];
    if SUFFIXES.iter().any(|suffix| unit.ends_with(suffix)) {
        unit.to_owned()
    } else {
        format!("{unit}.service")
    }
}

fn read(path: &Path) -> Result<String, ResolveError> {
    fs::read_to_string(path).map_err(|source| ResolveError::Read { path: path.to_owned(), source })
}

fn process_error(pid: u32, path: &Path, source: io::Error) -> ResolveError {
    // ESRCH: the process ended between opening the file and reading it.
    if source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(nix::libc::ESRCH) {
        ResolveError::NoProcess { pid, path: path.to_owned() }
    } else {
        ResolveError::Read { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;

//! A control group of one's own, for a process whose sockets are to be tapped.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long the members of a cgroup may take to vanish after SIGKILL.
const EMPTYING: Duration = Duration::from_secs(10);

/// A cgroup (v2) directory, emptied and removed on drop.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup below the mount of cgroup2, wherever that is. `name` is made unique.
    pub fn create(name: &str) -> Result<Self> {
        Self::create_below(&cgroup_mount()?, name)
    }

    /// Makes a cgroup within this one, with its own guard; drop it first.
    pub fn child(&self, name: &str) -> Result<Self> {
        Self::create_below(&self.path, name)
    }

    fn create_below(parent: &Path, name: &str) -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("podtap-{name}-{}-{serial}", process::id()));
        fs::create_dir(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's id of the cgroup: its inode.
    pub fn id(&self) -> Result<u64> {
        let metadata =
            fs::metadata(&self.path).with_context(|| format!("look at {}", self.path.display()))?;
        Ok(metadata.ino())
    }

    /// A command that is in this cgroup before its program begins, so that all of its sockets are.
    ///
    /// A shell joins and then becomes the program: the child's pid is the program's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#]).arg(&self.path).arg(program);
        command
    }

    /// Puts this very process into the cgroup until the guard is dropped, so that the sockets that it makes meanwhile are.
    ///
    /// Only one guard exists at a time in a process: another thread that wants one waits.
    pub fn join(&self) -> Result<Membership> {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let mine = mine.lines().find_map(|line| line.strip_prefix("0::/")).context("not in any cgroup v2")?;
        let membership = Membership { home: cgroup_mount()?.join(mine), _one: one };
        fs::write(self.path.join("cgroup.procs"), "0")
            .with_context(|| format!("join {}", self.path.display()))?;
        Ok(membership)
    }

    /// The processes that are in it.
    pub fn members(&self) -> io::Result<Vec<Pid>> {
        let text = fs::read_to_string(self.path.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect())
    }

    fn empty(&self) -> io::Result<()> {
        let deadline = Instant::now() + EMPTYING;
        loop {
            let members = self.members()?;
            if members.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("still has {members:?}")));
            }
            for member in members {
                // It may be gone since the list was read.
                let _ = kill(member, Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = self.empty().and_then(|()| {
            // A member that has just been reaped keeps its cgroup busy for a moment.
            let deadline = Instant::now() + EMPTYING;
            loop {
                match fs::remove_dir(&self.path) {
                    Err(error)
                        if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
                    {
                        thread::sleep(Duration::from_millis(5));
                    }
                    result => return result,
                }
            }
        });
        if let Err(error) = removed {
            eprintln!("the cgroup {} stays behind: {error}", self.path.display());
        }
    }
}

/// This process is in a cgroup: see [`Cgroup::join`].
#[derive(Debug)]
pub struct Membership {
    home: PathBuf,
    _one: MutexGuard<'static, ()>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.home.join("cgroup.procs"), "0") {
            eprintln!("cannot go back to the cgroup {}: {error}", self.home.display());
        }
    }
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or below it on hosts that have both versions.
pub fn cgroup_mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    mounts
        .lines()
        .find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        })
        .context("no cgroup2 is mounted: mount it with `mount -t cgroup2 none /some/directory`")
}

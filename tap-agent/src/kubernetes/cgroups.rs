//! The cgroups of this node's pods: found when the agent starts, and told as they come and go.
//!
//! A kubelet makes a directory for each pod before anything of it starts. Where it lies and how it is called depends on
//! the kubelet's cgroup driver and root, on the pod's QoS class, and on what the node itself runs in:
//!
//! ```text
//! kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID with _ for ->.slice      systemd
//! kubepods/burstable/pod<UID>                                                                 cgroupfs
//! kubepods/pod<UID>                                                                           guaranteed, cgroupfs
//! kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<UID with _ for ->.slice           kind
//! ```
//!
//! So nothing is computed: the tree is searched for what looks like a kubelet's root, and that root and its QoS classes
//! are watched by inotify. A search now and then finds what a watch has missed.

mod name;

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
    },
};
use tracing::{debug, info, warn};

use self::name::{is_kubelets_root, is_qos_class, pod_of};
use crate::taps::Command;

/// How deep a kubelet's root may lie: one in a container in a container is at 5.
const MAX_DEPTH: usize = 8;

/// Directories that one search reads.
const MAX_DIRECTORIES: usize = 50_000;

/// Pods that are known at once.
const MAX_PODS: usize = 4096;

/// How often everything is searched anew, while there is a kubelet's root.
const SEARCH_INTERVAL: Duration = Duration::from_secs(30);

/// And while there is none.
const SEARCH_INTERVAL_EMPTY: Duration = Duration::from_secs(2);

/// How long the thread waits for an event before it looks whether it is to end.
const WAIT: Duration = Duration::from_millis(250);

/// The thread that looks for pods' cgroups. Dropping it ends the thread.
#[derive(Debug)]
pub struct PodCgroups {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PodCgroups {
    /// Tells of every pod's cgroup below `mount`, now and as they come and go.
    pub fn start(mount: &Path, commands: SyncSender<Command>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut search = Search::new(mount, commands)?;
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("pod-cgroups".to_owned())
            .spawn(move || while !stopped.load(Ordering::Relaxed) && search.step(WAIT) {})?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for PodCgroups {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that looks for pods' cgroups has panicked");
        }
    }
}

/// The state of the thread.
struct Search {
    mount: PathBuf,
    commands: SyncSender<Command>,
    inotify: Inotify,
    epoll: Epoll,
    watched: HashMap<WatchDescriptor, PathBuf>,
    pods: HashMap<Arc<str>, PathBuf>,
    next_search: Instant,
    /// What was said of a tree without pods.
    told_empty: bool,
    /// Nobody listens any more.
    closed: bool,
}

impl Search {
    fn new(mount: &Path, commands: SyncSender<Command>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&inotify, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self {
            mount: mount.to_owned(),
            commands,
            inotify,
            epoll,
            watched: HashMap::new(),
            pods: HashMap::new(),
            next_search: Instant::now(),
            told_empty: false,
            closed: false,
        })
    }

    /// Searches if it is time, and handles what happens within `wait`. False when nobody listens any more.
    fn step(&mut self, wait: Duration) -> bool {
        if Instant::now() >= self.next_search {
            self.search();
        }
        let milliseconds = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
        match self.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::from(milliseconds)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => match self.inotify.read_events() {
                Ok(events) => events.into_iter().for_each(|event| self.take(event)),
                Err(Errno::EAGAIN) => {}
                Err(error) => warn!("can't read what happens to cgroups: {error}"),
            },
            Err(error) => {
                warn!("can't wait for what happens to cgroups: {error}");
                thread::sleep(wait);
            }
        }
        !self.closed
    }

    fn take(&mut self, event: InotifyEvent) {
        let InotifyEvent { wd, mask, name, .. } = event;
        if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // What it was, only a search can tell.
            self.next_search = Instant::now();
            return;
        }
        if mask.contains(AddWatchFlags::IN_IGNORED) {
            self.watched.remove(&wd);
            return;
        }
        let (Some(directory), Some(name)) = (self.watched.get(&wd), name) else { return };
        let path = directory.join(&name);
        let name = name.to_string_lossy();
        let appears = mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO);
        match pod_of(&name) {
            Some(pod) if appears => self.found(pod.as_str().into(), path),
            Some(pod) => self.gone(pod.as_str(), &path),
            None if appears && is_qos_class(&name) => {
                let mut found = Found::default();
                self.read_root(&path, &mut found);
                found.pods.into_iter().for_each(|(pod, path)| self.found(pod, path));
            }
            None => {}
        }
    }

    /// Goes through the whole tree, and tells what differs from what is known.
    fn search(&mut self) {
        let mut found = Found::default();
        let mut open = vec![(self.mount.clone(), 0)];
        while let Some((directory, depth)) = open.pop() {
            let is_root = directory.file_name().is_some_and(|name| is_kubelets_root(&name.to_string_lossy()));
            if is_root {
                found.roots += 1;
                self.read_root(&directory, &mut found);
                continue;
            }
            if depth >= MAX_DEPTH {
                continue;
            }
            for name in directories(&directory) {
                found.directories += 1;
                if found.directories > MAX_DIRECTORIES {
                    warn!("more than {MAX_DIRECTORIES} cgroups below {}", self.mount.display());
                    open.clear();
                    break;
                }
                open.push((directory.join(name), depth + 1));
            }
        }
        let pause = if found.roots == 0 { SEARCH_INTERVAL_EMPTY } else { SEARCH_INTERVAL };
        self.next_search = Instant::now() + pause;
        self.tell_if_empty(found.roots);
        let gone: Vec<_> = self
            .pods
            .iter()
            .filter(|(pod, _)| !found.pods.contains_key(*pod))
            .map(|(pod, path)| (Arc::clone(pod), path.clone()))
            .collect();
        gone.into_iter().for_each(|(pod, path)| self.gone(&pod, &path));
        found.pods.into_iter().for_each(|(pod, path)| self.found(pod, path));
    }

    /// A kubelet's root or one of its QoS classes: watched first, then read, so that nothing falls in between.
    fn read_root(&mut self, root: &Path, found: &mut Found) {
        let mut open = vec![root.to_owned()];
        let mut read = HashSet::new();
        while let Some(directory) = open.pop() {
            if !read.insert(directory.clone()) {
                continue;
            }
            self.watch(&directory);
            for name in directories(&directory) {
                found.directories += 1;
                match pod_of(&name) {
                    Some(pod) if found.pods.len() < MAX_PODS => {
                        found.pods.insert(pod.as_str().into(), directory.join(&name));
                    }
                    Some(_) => warn!("more than {MAX_PODS} pods have cgroups: {name} is left out"),
                    None if is_qos_class(&name) => open.push(directory.join(&name)),
                    None => {}
                }
            }
        }
    }

    fn watch(&mut self, directory: &Path) {
        let what = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_ONLYDIR;
        // For a directory that is watched already this gives the same descriptor.
        match self.inotify.add_watch(directory, what) {
            Ok(watch) => {
                self.watched.insert(watch, directory.to_owned());
            }
            Err(Errno::ENOENT) => {}
            Err(error) => {
                warn!(
                    "can't watch {}: {error}; new pods are found every {SEARCH_INTERVAL:?} only (fs.inotify limits?)",
                    directory.display()
                );
            }
        }
    }

    fn found(&mut self, pod: Arc<str>, path: PathBuf) {
        if self.pods.get(&pod) == Some(&path) || self.pods.len() >= MAX_PODS {
            return;
        }
        debug!(pod = &*pod, cgroup = %path.display(), "a pod's cgroup");
        self.pods.insert(Arc::clone(&pod), path.clone());
        self.tell(Command::PodCgroup { pod, path });
    }

    fn gone(&mut self, pod: &str, path: &Path) {
        // It may have moved to another QoS class.
        if self.pods.get(pod).is_some_and(|known| known == path) {
            self.pods.remove(pod);
            self.tell(Command::PodCgroupGone { pod: pod.into() });
        }
    }

    fn tell_if_empty(&mut self, roots: usize) {
        if roots > 0 {
            if std::mem::take(&mut self.told_empty) {
                info!("found the cgroups of this node's pods");
            }
            return;
        }
        if std::mem::replace(&mut self.told_empty, true) {
            return;
        }
        let reason = format!(
            "no kubepods cgroup below {}: is this the node's own cgroup2 hierarchy (kubernetes.cgroup_root)? On a host with \
             cgroup v1 the kubelet's pods are in a cgroup2 hierarchy only with the systemd driver",
            self.mount.display()
        );
        warn!("{reason}");
        self.tell(Command::NoPodCgroups { reason });
    }

    fn tell(&mut self, command: Command) {
        self.closed |= self.commands.send(command).is_err();
    }
}

/// What a search comes across.
#[derive(Debug, Default)]
struct Found {
    roots: usize,
    directories: usize,
    pods: HashMap<Arc<str>, PathBuf>,
}

/// The names of the directories in a directory; none where it is gone.
fn directories(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_directory).filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests;

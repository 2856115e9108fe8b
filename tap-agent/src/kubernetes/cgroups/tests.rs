//! Trees as kubelets make them, in a directory.

use std::sync::mpsc::{Receiver, sync_channel};

use super::*;

const FIRST: &str = "2b5ed1d0-6c1a-4b3e-9f10-0123456789ab";
const SECOND: &str = "aaaaaaaa-6c1a-4b3e-9f10-0123456789ab";

struct Host {
    root: tempfile::TempDir,
    search: Search,
    commands: Receiver<Command>,
}

impl Host {
    fn new(directories: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in directories {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let (commands_tx, commands) = sync_channel(100);
        let search = Search::new(root.path(), commands_tx).unwrap();
        Self { root, search, commands }
    }

    fn make(&self, directory: &str) {
        fs::create_dir_all(self.root.path().join(directory)).unwrap();
    }

    fn remove(&self, directory: &str) {
        fs::remove_dir_all(self.root.path().join(directory)).unwrap();
    }

    /// What is told in one step: "+UID path", "-UID", "none".
    fn told(&mut self) -> Vec<String> {
        assert!(self.search.step(Duration::from_millis(20)));
        let mut told: Vec<_> = self
            .commands
            .try_iter()
            .map(|command| match command {
                Command::PodCgroup { pod, path } => {
                    format!("+{pod} {}", path.strip_prefix(self.root.path()).unwrap().display())
                }
                Command::PodCgroupGone { pod } => format!("-{pod}"),
                Command::NoPodCgroups { .. } => "none".to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        told.sort();
        told
    }
}

fn systemd(parent: &str, class: &str, uid: &str) -> String {
    let slice = if class.is_empty() { parent.to_owned() } else { format!("{parent}-{class}") };
    let uid = uid.replace('-', "_");
    let directory =
        if class.is_empty() { format!("{parent}.slice") } else { format!("{parent}.slice/{slice}.slice") };
    format!("{directory}/{slice}-pod{uid}.slice")
}

#[test]
fn pods_of_every_layout_are_found_at_start() {
    for pod in [
        systemd("kubepods", "", FIRST),
        systemd("kubepods", "burstable", FIRST),
        systemd("kubepods", "besteffort", FIRST),
        format!("kubelet.slice/{}", systemd("kubelet-kubepods", "burstable", FIRST)),
        format!("system.slice/docker-aaaa.scope/kubelet.slice/{}", systemd("kubelet-kubepods", "", FIRST)),
        format!("kubepods/pod{FIRST}"),
        format!("kubepods/burstable/pod{FIRST}"),
        format!("kubelet/kubepods/besteffort/pod{FIRST}"),
    ] {
        let mut host = Host::new(&[&pod, &format!("{pod}/cri-containerd-bbbb.scope"), "user.slice/pod1234"]);
        assert_eq!(host.told(), [format!("+{FIRST} {pod}")], "{pod}");
        assert!(host.told().is_empty(), "told once");
    }
}

#[test]
fn pods_are_told_as_they_come_and_go() {
    let mut host = Host::new(&["kubepods/burstable", &format!("kubepods/pod{FIRST}")]);
    assert_eq!(host.told(), [format!("+{FIRST} kubepods/pod{FIRST}")]);
    host.make(&format!("kubepods/burstable/pod{SECOND}/cccc"));
    assert_eq!(host.told(), [format!("+{SECOND} kubepods/burstable/pod{SECOND}")]);
    host.remove(&format!("kubepods/pod{FIRST}"));
    assert_eq!(host.told(), [format!("-{FIRST}")]);
    // Its place is taken again.
    host.make(&format!("kubepods/pod{FIRST}"));
    assert_eq!(host.told(), [format!("+{FIRST} kubepods/pod{FIRST}")]);
}

#[test]
fn a_class_that_comes_later_is_watched_with_what_is_in_it() {
    let mut host = Host::new(&["kubepods"]);
    assert!(host.told().is_empty());
    host.make(&format!("kubepods/besteffort/pod{FIRST}"));
    assert_eq!(host.told(), [format!("+{FIRST} kubepods/besteffort/pod{FIRST}")]);
    host.make(&format!("kubepods/besteffort/pod{SECOND}"));
    assert_eq!(host.told(), [format!("+{SECOND} kubepods/besteffort/pod{SECOND}")]);
}

#[test]
fn a_node_without_a_kubelet_says_so_once_and_is_searched_again() {
    let mut host = Host::new(&["system.slice"]);
    assert_eq!(host.told(), ["none"]);
    host.make(&format!("kubepods/pod{FIRST}"));
    assert!(host.told().is_empty(), "nothing is watched, and it is not time yet");
    host.search.next_search = Instant::now();
    assert_eq!(host.told(), [format!("+{FIRST} kubepods/pod{FIRST}")]);
}

#[test]
fn a_search_finds_what_no_event_told() {
    let mut host = Host::new(&["kubepods/burstable", &format!("kubepods/pod{FIRST}")]);
    host.told();
    // The whole tree is made anew, and its watches with it.
    host.remove("kubepods");
    host.make(&format!("kubepods/burstable/pod{SECOND}"));
    host.search.next_search = Instant::now();
    let mut told = host.told();
    told.extend(host.told());
    told.sort();
    assert_eq!(told, [format!("+{SECOND} kubepods/burstable/pod{SECOND}"), format!("-{FIRST}")]);
}

#[test]
fn the_thread_ends_when_nobody_listens() {
    let mut host = Host::new(&["kubepods"]);
    host.told();
    let (_, commands) = sync_channel(100);
    drop(std::mem::replace(&mut host.commands, commands));
    host.make(&format!("kubepods/pod{FIRST}"));
    assert!(!host.search.step(Duration::from_millis(20)));
}

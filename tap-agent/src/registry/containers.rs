//! Which container a socket is of, told by its cgroup.
//!
//! Below a pod's cgroup, every container has one that carries its id in the name; the runtime's own pause container has one
//! too, but no sockets that speak HTTP. What a container makes below its own belongs to it.

use std::{collections::HashMap, fs, os::unix::fs::DirEntryExt as _, path::Path, sync::Arc};

use tap_flow::CgroupId;

/// Cgroups below one pod that are looked at. A container may make cgroups without end.
const MAX_CGROUPS: usize = 1024;

/// Cgroups that one pod's map holds, those of containers that ended among them: a container that crashes again and again
/// makes a new one each time.
const MAX_KNOWN: usize = 2048;

/// One container, as a pod's status has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub name: Arc<str>,
    /// Without the name of the runtime; empty while it has not started.
    pub id: String,
}

/// The containers of a target by their cgroups.
#[derive(Clone, Debug, Default)]
pub struct Containers {
    /// Where a pod has just one, there is nothing to tell apart.
    only: Option<Arc<str>>,
    by_cgroup: HashMap<CgroupId, Option<Arc<str>>>,
}

impl Containers {
    /// For a pod with one container.
    pub fn only(name: Arc<str>) -> Self {
        Self { only: Some(name), by_cgroup: HashMap::new() }
    }

    /// The name; `None` where it is not known. `Err` where the cgroup was never seen.
    pub fn name(&self, cgroup: CgroupId) -> Result<Option<&str>, UnknownCgroup> {
        match &self.only {
            Some(name) => Ok(Some(name)),
            None if self.by_cgroup.is_empty() => Ok(None),
            None => self.by_cgroup.get(&cgroup).map(Option::as_deref).ok_or(UnknownCgroup),
        }
    }

    /// Looks for the cgroups of containers below a pod's; those that were known and are gone stay known, as exchanges
    /// come late.
    pub fn scanned(&self, pod: &Path, pod_cgroup: CgroupId, containers: &[Container]) -> Self {
        let mut by_cgroup =
            if self.by_cgroup.len() < MAX_KNOWN { self.by_cgroup.clone() } else { HashMap::new() };
        by_cgroup.insert(pod_cgroup, None);
        let mut open = vec![(pod.to_owned(), None::<Arc<str>>)];
        let mut seen = 0;
        while let Some((directory, owner)) = open.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                seen += 1;
                if seen > MAX_CGROUPS {
                    return Self { only: None, by_cgroup };
                }
                let file_name = entry.file_name();
                let name = owner.clone().or_else(|| container_of(&file_name.to_string_lossy(), containers));
                by_cgroup.insert(CgroupId(entry.ino()), name.clone());
                open.push((entry.path(), name));
            }
        }
        Self { only: None, by_cgroup }
    }
}

/// Nothing is known of the cgroup, not even that it is of no container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCgroup;

/// The container whose id is in a cgroup's name: `ID` (cgroupfs), `cri-containerd-ID.scope`, `crio-ID.scope`,
/// `docker-ID.scope` (systemd).
fn container_of(cgroup: &str, containers: &[Container]) -> Option<Arc<str>> {
    let id = cgroup.strip_suffix(".scope").unwrap_or(cgroup);
    let id = id.rsplit_once('-').map_or(id, |(_, id)| id);
    let found = containers.iter().find(|container| !container.id.is_empty() && container.id == id);
    found.map(|container| Arc::clone(&container.name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn container(name: &str, id: &str) -> Container {
        Container { name: name.into(), id: id.to_owned() }
    }

    fn make(root: &Path, path: &str) -> CgroupId {
        let directory = root.join(path);
        fs::create_dir_all(&directory).unwrap();
        CgroupId(fs::metadata(directory).unwrap().ino())
    }

    #[test]
    fn a_cgroup_carries_its_containers_id() {
        let root = tempfile::tempdir().unwrap();
        let app = make(root.path(), "cri-containerd-aaaa.scope");
        let below = make(root.path(), "cri-containerd-aaaa.scope/init/worker");
        let sidecar = make(root.path(), "bbbb");
        let pause = make(root.path(), "crio-cccc.scope");
        let pod = make(root.path(), "");
        let names = [container("app", "aaaa"), container("sidecar", "bbbb"), container("late", "")];
        let containers = Containers::default().scanned(root.path(), pod, &names);
        assert_eq!(containers.name(app), Ok(Some("app")));
        assert_eq!(containers.name(below), Ok(Some("app")));
        assert_eq!(containers.name(sidecar), Ok(Some("sidecar")));
        assert_eq!(containers.name(pause), Ok(None));
        assert_eq!(containers.name(pod), Ok(None));
        assert_eq!(containers.name(CgroupId(1)), Err(UnknownCgroup));

        fs::remove_dir(root.path().join("bbbb")).unwrap();
        let again = make(root.path(), "docker-dddd.scope");
        let names = [container("app", "aaaa"), container("sidecar", "dddd")];
        let containers = containers.scanned(root.path(), pod, &names);
        assert_eq!(containers.name(again), Ok(Some("sidecar")));
        assert_eq!(containers.name(sidecar), Ok(Some("sidecar")), "late exchanges of the one that ended");
    }

    #[test]
    fn one_container_needs_no_search() {
        assert_eq!(Containers::only("app".into()).name(CgroupId(7)), Ok(Some("app")));
        assert_eq!(Containers::default().name(CgroupId(7)), Ok(None));
    }

    #[test]
    fn what_a_container_makes_is_looked_at_within_bounds() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..MAX_CGROUPS + 50 {
            make(root.path(), &format!("aaaa/{number}"));
        }
        let containers = Containers::default().scanned(root.path(), CgroupId(1), &[container("app", "aaaa")]);
        assert!(containers.by_cgroup.len() <= MAX_CGROUPS + 1);
    }
}

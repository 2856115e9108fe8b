//! How much memory the kernel lets the agent have, and how much it has.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Above this a limit of version 1 is none: the kernel rounds "unlimited" down to pages.
const NO_LIMIT: u64 = 1 << 60;

/// The smallest limit on memory of the cgroups in which this process is, in bytes; `None` where there is none.
///
/// Both versions are read, as a host may have both: `memory.max` of cgroup2 and `memory.limit_in_bytes` of the version 1
/// controller, of the process's own cgroup and of all above it that can be seen.
pub fn memory_limit(proc: &Path) -> Option<u64> {
    let mounts = fs::read_to_string(proc.join("self/mounts")).ok()?;
    let cgroups = fs::read_to_string(proc.join("self/cgroup")).ok()?;
    let mut limits = Vec::new();
    for mount in mounts.lines() {
        let mut words = mount.split(' ');
        let (Some(_), Some(target), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let file = match kind {
            "cgroup2" => "memory.max",
            "cgroup" if options.split(',').any(|option| option == "memory") => "memory.limit_in_bytes",
            _ => continue,
        };
        let own = cgroups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let is_own = match kind {
                "cgroup2" => controllers.is_empty(),
                _ => controllers.split(',').any(|controller| controller == "memory"),
            };
            is_own.then_some(path)
        });
        let Some(own) = own else { continue };
        let root = PathBuf::from(target);
        let mut directory = root.join(own.trim_start_matches('/'));
        loop {
            limits.extend(read_limit(&directory.join(file)));
            if directory == root || !directory.pop() {
                break;
            }
        }
    }
    limits.into_iter().min()
}

fn read_limit(file: &Path) -> Option<u64> {
    // "max" is no number.
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// Memory of this process that is its own, in bytes: neither files nor what it shares. 0 where that can't be read.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these mounts and this place in them; `files` are limits by path.
    fn host(mounts: &[(&str, &str, &str)], cgroup: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        fs::create_dir_all(path("proc/self")).unwrap();
        let mounts: String = mounts
            .iter()
            .map(|(target, kind, options)| {
                format!("cgroup {} {kind} {options} 0 0\n", path(target).display())
            })
            .collect();
        fs::write(path("proc/self/mounts"), mounts).unwrap();
        fs::write(path("proc/self/cgroup"), cgroup).unwrap();
        for (file, limit) in files {
            fs::create_dir_all(path(file).parent().unwrap()).unwrap();
            fs::write(path(file), limit).unwrap();
        }
        memory_limit(&path("proc"))
    }

    #[test]
    fn the_smallest_limit_above_the_process_holds() {
        let limit = host(
            &[("cg", "cgroup2", "rw")],
            "0::/kubepods/pod1/agent\n",
            &[
                ("cg/kubepods/memory.max", "1000000\n"),
                ("cg/kubepods/pod1/memory.max", "5000\n"),
                ("cg/kubepods/pod1/agent/memory.max", "max\n"),
                ("cg/other/memory.max", "1\n"),
            ],
        );
        assert_eq!(limit, Some(5000));
    }

    #[test]
    fn a_container_sees_its_own_cgroup_as_the_root() {
        let limit = host(&[("cg", "cgroup2", "ro")], "0::/\n", &[("cg/memory.max", "536870912\n")]);
        assert_eq!(limit, Some(512 << 20));
    }

    #[test]
    fn version_1_counts_too_and_its_unlimited_is_none() {
        let mounts = [("memory", "cgroup", "rw,memory"), ("cpu", "cgroup", "rw,cpu"), ("u", "cgroup2", "rw")];
        let cgroup = "5:memory:/agent\n4:cpu:/\n0::/agent\n";
        let limited = host(&mounts, cgroup, &[("memory/agent/memory.limit_in_bytes", "7000\n")]);
        assert_eq!(limited, Some(7000));
        let unlimited =
            host(&mounts, cgroup, &[("memory/agent/memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(unlimited, None);
    }

    #[test]
    fn what_can_not_be_read_is_no_limit() {
        assert_eq!(memory_limit(Path::new("/nonexistent")), None);
        assert!(resident_bytes() > 0);
    }
}

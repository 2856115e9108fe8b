use super::*;

/// A host in a directory: `/proc`, a cgroup2 mount, and whether systemd runs.
struct Host {
    root: tempfile::TempDir,
    mount: PathBuf,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mount = root.path().join("sys/fs/cgroup/with space");
        let proc = root.path().join("proc/self");
        fs::create_dir_all(&mount).unwrap();
        fs::create_dir_all(&proc).unwrap();
        let escaped = mount.to_str().unwrap().replace(' ', "\\040");
        fs::write(
            proc.join("mounts"),
            format!("tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 {escaped} cgroup2 rw 0 0\n"),
        )
        .unwrap();
        let host = Self { root, mount };
        host.cgroup("");
        host
    }

    fn cgroup(&self, path: &str) -> PathBuf {
        let directory = self.mount.join(path);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(PROCS), "").unwrap();
        directory
    }

    fn process(&self, pid: u32, started: u64, cgroup: &str) {
        let directory = self.root.path().join("proc").join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        let zeros = "0 ".repeat(18);
        fs::write(directory.join("stat"), format!("{pid} (a ) b) S {zeros}{started} 0 0\n")).unwrap();
        fs::write(directory.join("cgroup"), cgroup).unwrap();
    }

    fn hierarchy(&self) -> Hierarchy {
        Hierarchy::with_roots(&self.root.path().join("proc"), &self.root.path().join("run/systemd/system"))
            .unwrap()
    }
}

#[test]
fn the_mount_is_found_and_unescaped() {
    let host = Host::new();
    assert_eq!(host.hierarchy().mount(), host.mount);
}

#[test]
fn a_host_without_cgroup2_says_so() {
    let host = Host::new();
    fs::write(host.root.path().join("proc/self/mounts"), "tmpfs /tmp tmpfs rw 0 0\n").unwrap();
    let error = Hierarchy::with_roots(&host.root.path().join("proc"), Path::new("/none")).unwrap_err();
    assert!(error.to_string().contains("no cgroup2 mount in"), "{error}");
}

#[test]
fn paths_resolve_from_the_root_and_from_the_mount() {
    let host = Host::new();
    let web = host.cgroup("system.slice/web.service");
    let hierarchy = host.hierarchy();
    for path in ["/system.slice/web.service", "system.slice/web.service", web.to_str().unwrap()] {
        assert_eq!(hierarchy.by_path(Path::new(path)).unwrap().path, web);
    }
    assert_eq!(hierarchy.by_path(Path::new("/")).unwrap().path, host.mount.join(""));
}

#[test]
fn wrong_paths_say_what_was_looked_for() {
    let host = Host::new();
    let hierarchy = host.hierarchy();
    let absent = hierarchy.by_path(Path::new("/nowhere")).unwrap_err().to_string();
    assert!(absent.contains("with space/nowhere"), "{absent}");
    let climbing = hierarchy.by_path(Path::new("/a/../../etc")).unwrap_err();
    assert!(matches!(climbing, ResolveError::OutsideMount { .. }), "{climbing}");
    let elsewhere = hierarchy.by_path(host.root.path()).unwrap_err();
    assert!(matches!(elsewhere, ResolveError::OutsideMount { .. }), "{elsewhere}");
    fs::create_dir(host.mount.join("plain")).unwrap();
    let plain = hierarchy.by_path(Path::new("/plain")).unwrap_err();
    assert!(matches!(plain, ResolveError::NotACgroup { .. }), "{plain}");
}

#[test]
fn units_are_found_by_name() {
    let host = Host::new();
    let web = host.cgroup("system.slice/system-web.slice/web@1.service");
    let hierarchy = host.hierarchy();
    assert_eq!(hierarchy.by_unit("web@1").unwrap().path, web);
    assert_eq!(hierarchy.by_unit("web@1.service").unwrap().path, web);
}

#[test]
fn the_systems_unit_is_preferred_to_a_users() {
    let host = Host::new();
    let system = host.cgroup("system.slice/web.service");
    host.cgroup("user.slice/user-1.slice/user@1.service/app.slice/web.service");
    assert_eq!(host.hierarchy().by_unit("web").unwrap().path, system);
}

#[test]
fn two_units_of_one_name_are_refused() {
    let host = Host::new();
    host.cgroup("a.slice/web.service");
    host.cgroup("b.slice/web.service");
    let error = host.hierarchy().by_unit("web").unwrap_err();
    assert!(matches!(&error, ResolveError::AmbiguousUnit { paths, .. } if paths.len() == 2), "{error}");
}

#[test]
fn a_missing_unit_says_whether_systemd_runs() {
    let host = Host::new();
    let hierarchy = host.hierarchy();
    assert!(matches!(hierarchy.by_unit("web").unwrap_err(), ResolveError::NoSystemd { .. }));
    fs::create_dir_all(host.root.path().join("run/systemd/system")).unwrap();
    assert!(matches!(hierarchy.by_unit("web").unwrap_err(), ResolveError::NoUnit { .. }));
}

#[test]
fn a_process_is_followed_to_its_cgroup() {
    let host = Host::new();
    let web = host.cgroup("system.slice/web.service");
    host.process(7, 1000, "12:cpu:/elsewhere\n0::/system.slice/web.service\n");
    let hierarchy = host.hierarchy();
    let process = hierarchy.process(7).unwrap();
    assert_eq!(process, Process { pid: 7, started: 1000 });
    assert_eq!(hierarchy.by_process(process).unwrap().path, web);
}

#[test]
fn a_process_that_is_gone_or_replaced_is_not_followed() {
    let host = Host::new();
    host.process(7, 1000, "0::/\n");
    let hierarchy = host.hierarchy();
    let process = hierarchy.process(7).unwrap();
    host.process(7, 2000, "0::/\n");
    assert!(matches!(hierarchy.by_process(process).unwrap_err(), ResolveError::ProcessReplaced { pid: 7 }));
    assert!(matches!(hierarchy.process(8).unwrap_err(), ResolveError::NoProcess { pid: 8, .. }));
}

#[test]
fn processes_outside_the_hierarchy_are_refused() {
    let host = Host::new();
    host.process(7, 1, "1:name=systemd:/\n");
    host.process(8, 1, "0::/../outside\n");
    let hierarchy = host.hierarchy();
    let without = hierarchy.by_process(hierarchy.process(7).unwrap()).unwrap_err();
    assert!(matches!(without, ResolveError::NoProcessCgroup { .. }), "{without}");
    let outside = hierarchy.by_process(hierarchy.process(8).unwrap()).unwrap_err();
    assert!(matches!(outside, ResolveError::OutsideNamespace { .. }), "{outside}");
}

#[test]
fn a_cgroup_that_was_made_again_is_another() {
    let host = Host::new();
    let path = host.cgroup("web");
    let cgroup = host.hierarchy().by_path(Path::new("/web")).unwrap();
    assert!(cgroup.exists());
    fs::rename(&path, host.mount.join("old")).unwrap();
    host.cgroup("web");
    assert!(!cgroup.exists());
}

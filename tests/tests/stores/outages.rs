//! A bucket that is away or refuses, a disk that is full: states that are told, held out, and left without a restart.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::Ordering},
};

use podtap_tests::{Conduct, S3Server, until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    collectors::{QUICK, Replica, found},
    spooled::{Signals, Spool},
};

/// An agent that sends all the while.
struct Sending {
    runtime: Runtime,
    signals: Arc<Signals>,
    agent: tokio::task::JoinHandle<Spool>,
}

impl Sending {
    fn to(replica: &Replica) -> Self {
        let runtime = Runtime::new().unwrap();
        let signals = Arc::new(Signals::default());
        let spool = Spool::new("node-1", 1);
        let agent = runtime.spawn(spool.run(vec![replica.url()], Arc::clone(&signals), 1));
        Self { runtime, signals, agent }
    }

    fn acknowledged(&self) -> u64 {
        self.signals.acknowledged.load(Ordering::Relaxed)
    }

    fn until_acknowledged_more(&self) {
        let before = self.acknowledged();
        until("acknowledgements", || match self.acknowledged() {
            now if now > before => Ok(()),
            now => Err(format!("{now} batches")),
        })
        .unwrap();
    }

    /// All that it sent is in the table, once.
    fn finish(self, replica: &Replica) {
        self.signals.finish.store(true, Ordering::Relaxed);
        let mut made = self.runtime.block_on(self.agent).unwrap().ids;
        let found = self.runtime.block_on(found(&replica.url())).unwrap();
        let mut stored: Vec<_> = found.into_iter().map(|exchange| exchange.id).collect();
        made.sort_unstable();
        stored.sort_unstable();
        assert_eq!(stored, made);
    }
}

fn outage(replica: &Replica, reason: &str) -> Option<f64> {
    replica.metric(&format!("podtap_collector_store_outage{{reason=\"{reason}\"}}"))
}

fn until_away(replica: &Replica, reason: &str) {
    until(&format!("the outage {reason}"), || {
        let told = (outage(replica, reason), replica.metric("podtap_collector_store_reachable"));
        if told == (Some(1.0), Some(0.0)) {
            Ok(())
        } else {
            Err(format!("{told:?}\n{}", replica.collector.log()))
        }
    })
    .unwrap();
    assert!(replica.collector.admin("/ready").is_err());
    assert!(replica.collector.admin("/live").is_ok());
}

/// Waits for some attempts more.
fn until_failed_more(replica: &Replica) {
    let failed = || replica.metric("podtap_collector_commits_total{result=\"error\"}").unwrap_or_default();
    let before = failed();
    until("attempts to commit", || match failed() {
        now if now >= before + 3.0 => Ok(()),
        now => Err(format!("{now} have failed, {before} at first")),
    })
    .unwrap();
}

fn until_back(replica: &Replica, reason: &str) {
    until("the store is used again", || replica.collector.admin("/ready").map_err(|error| error.to_string()))
        .unwrap();
    assert_eq!(
        (outage(replica, reason), replica.metric("podtap_collector_store_reachable")),
        (Some(0.0), Some(1.0))
    );
}

#[test]
fn a_bucket_that_is_away_is_a_state_and_nothing_grows_or_gets_lost() {
    let mut server = S3Server::start().unwrap();
    let lines = "commit: {interval: 100ms, bytes: 1MiB}\nqueue: {bytes: 1MiB}\n";
    let replica = Replica::start(&server, "prod", lines);
    let sending = Sending::to(&replica);
    sending.until_acknowledged_more();

    server.front().conduct(Conduct::Deny);
    until_away(&replica, "denied");
    assert!(replica.warned(&["denied", "credentials", "s3://captures/prod"]), "{}", replica.collector.log());
    // Another reason is told, too.
    server.front().conduct(Conduct::Pass);
    server.stop().unwrap();
    until_away(&replica, "unreachable");
    assert!(replica.warned(&["unreachable", "endpoint"]), "{}", replica.collector.log());
    assert_eq!(outage(&replica, "denied"), Some(0.0));
    // The queue takes what it may, counted in whole KiB for each batch, and the agent is held back.
    until("a full queue", || match replica.metric("podtap_collector_queue_bytes") {
        Some(bytes) if bytes > 900_000.0 => Ok(()),
        bytes => Err(format!("{bytes:?}")),
    })
    .unwrap();
    until_failed_more(&replica);
    let queued = replica.metric("podtap_collector_queue_bytes").unwrap();
    assert!(queued <= 1_048_576.0, "{queued} bytes in a queue of 1 MiB");

    server.restart().unwrap();
    until_back(&replica, "unreachable");
    sending.until_acknowledged_more();
    sending.finish(&replica);
}

/// A file system of a few megabytes, unmounted in the end.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let directory = TempDir::with_prefix("podtap-disk-").unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=6m", "podtap-test"], directory.path());
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        // The write that fails is the purpose.
        let mut ballast = fs::File::create(self.path("ballast")).unwrap();
        let _ = io::copy(&mut io::repeat(0).take(64 * 1024 * 1024), &mut ballast);
    }

    fn free(&self) {
        fs::remove_file(self.path("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], self.directory.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_full_disk_is_a_state_and_leaves_no_halves_of_files() {
    let disk = SmallDisk::mount();
    let table = disk.path("table");
    let replica = Replica::start_on(table.to_str().unwrap(), Vec::new(), QUICK);
    let sending = Sending::to(&replica);
    sending.until_acknowledged_more();

    disk.fill();
    until_away(&replica, "disk_full");
    assert!(replica.warned(&["disk_full", "is full", "free space"]), "{}", replica.collector.log());
    let acknowledged = sending.acknowledged();
    // Each of which might leave something.
    until_failed_more(&replica);
    assert_eq!(sending.acknowledged(), acknowledged);

    disk.free();
    until_back(&replica, "disk_full");
    sending.until_acknowledged_more();
    sending.finish(&replica);
    assert_eq!(unused_files(&table.join("exchanges")), Vec::<String>::new());
}

/// Data files that no commit names.
fn unused_files(table: &Path) -> Vec<String> {
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let log: String = files(&table.join("_delta_log")).iter().map(|path| read(path)).collect();
    let folders = files(table).into_iter().filter(|path| path.is_dir() && !path.ends_with("_delta_log"));
    let data = folders.flat_map(|folder| files(&folder));
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    data.map(name).filter(|name| !log.contains(name)).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

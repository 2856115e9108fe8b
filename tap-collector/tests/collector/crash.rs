//! `kill -9` of a real collector process under ingest: nothing acknowledged is lost, nothing is stored twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use tap_proto::v1::{Batch, Exchange};
use tempfile::tempdir;
use tokio::task::JoinHandle;

use crate::support::{Agent, exchange, get, search, until};

const AGENTS: u64 = 3;
const KILLS: usize = 4;
const EXCHANGES_PER_BATCH: usize = 5;

/// A collector in a process of its own.
struct Process {
    child: Child,
    grpc: SocketAddr,
    admin: SocketAddr,
}

/// What one agent knows: kept over reconnects, as a spool is.
#[derive(Debug, Default)]
struct Spool {
    sent: BTreeMap<u64, Vec<Exchange>>,
    acknowledged: u64,
}

impl Process {
    async fn start(store: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tap-collector"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--commit-interval", "10ms", "--log-format", "json", "--store"])
            .arg(store)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first line names the ports; the rest goes on to this test's output.
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        log.read_line(&mut first).unwrap();
        let address = |name: &str| {
            let (_, rest) = first.split_once(&format!("\"{name}\":\"")).expect(&first);
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let (grpc, admin) = (address("grpc"), address("admin"));
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        until("ready", async || get(admin, "/ready").await.0 == 200).await;
        Self { child, grpc, admin }
    }

    fn kill(mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends until the collector is gone: first what an earlier one did not acknowledge, then new batches. Returns
/// how it noticed.
fn ingest(grpc: SocketAddr, epoch: u64, spool: Arc<Mutex<Spool>>) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut agent = match Agent::try_connect(grpc, &format!("node-{epoch}"), epoch).await {
            Ok(agent) => agent,
            Err(status) => return format!("connect: {status}"),
        };
        let waiting: Vec<(u64, Vec<Exchange>)> = {
            let mut spool = spool.lock().unwrap();
            assert!(agent.welcome >= spool.acknowledged, "an acknowledged batch is gone");
            spool.acknowledged = agent.welcome;
            spool.sent.range(agent.welcome + 1..).map(|(sequence, sent)| (*sequence, sent.clone())).collect()
        };
        for (sequence, exchanges) in waiting {
            if agent.try_send(Batch { sequence, exchanges, ledger: None }).await.is_err() {
                return "send".to_owned();
            }
        }
        loop {
            let (sequence, exchanges) = {
                let mut spool = spool.lock().unwrap();
                let sequence = spool.sent.last_key_value().map_or(0, |(last, _)| *last) + 1;
                let exchanges: Vec<_> = (0..EXCHANGES_PER_BATCH).map(|_| exchange("/")).collect();
                spool.sent.insert(sequence, exchanges.clone());
                (sequence, exchanges)
            };
            if agent.try_send(Batch { sequence, exchanges, ledger: None }).await.is_err() {
                return "send".to_owned();
            }
            // At most a few on the way, so that acknowledgements and kills meet.
            while agent.acknowledged + 4 < sequence {
                match agent.answer().await {
                    Ok(Some(acknowledged)) => spool.lock().unwrap().acknowledged = acknowledged,
                    Ok(None) => return "the stream ended".to_owned(),
                    Err(status) => return format!("answer: {status}"),
                }
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_was_acknowledged_and_stores_nothing_twice() {
    let store = tempdir().unwrap();
    let spools: Vec<Arc<Mutex<Spool>>> = (0..AGENTS).map(|_| Arc::default()).collect();
    let acknowledged = || spools.iter().map(|spool| spool.lock().unwrap().acknowledged).collect::<Vec<_>>();
    for _ in 0..KILLS {
        let process = Process::start(store.path()).await;
        let before = acknowledged();
        let mut agents: Vec<_> =
            (1..).zip(&spools).map(|(epoch, spool)| ingest(process.grpc, epoch, Arc::clone(spool))).collect();
        // In the middle of it: every agent has seen some acknowledgements of this process.
        until("acknowledgements", async || {
            for agent in &mut agents {
                if agent.is_finished() {
                    panic!("an agent ended before the kill: {}", agent.await.unwrap());
                }
            }
            acknowledged().iter().zip(&before).all(|(after, before)| *after > before + 5)
        })
        .await;
        process.kill();
        for agent in agents {
            agent.await.unwrap();
        }
    }

    let process = Process::start(store.path()).await;
    let stored = search(process.grpc, "").await;
    assert_eq!(get(process.admin, "/ready").await.0, 200);
    let ids: BTreeSet<&str> = stored.iter().map(|exchange| exchange.id.as_str()).collect();
    assert_eq!(ids.len(), stored.len(), "an exchange is stored twice");
    let mut missing = 0;
    for spool in &spools {
        let spool = spool.lock().unwrap();
        let acknowledged = spool.sent.range(..=spool.acknowledged).flat_map(|(_, sent)| sent);
        missing += acknowledged.filter(|exchange| !ids.contains(exchange.id.as_str())).count();
    }
    assert_eq!(missing, 0, "acknowledged exchanges are lost");
}

//! `kill -9` of a real collector process under ingest: nothing acknowledged is lost, nothing is stored or mirrored twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tap_proto::v1::{Batch, Exchange};
use tempfile::tempdir;
use tokio::task::JoinHandle;

use crate::{
    mirror::shadow,
    process::Process,
    support::{Agent, exchange, get, search, until},
};

const AGENTS: u64 = 3;
const KILLS: usize = 4;
const EXCHANGES_PER_BATCH: usize = 5;

/// What one agent knows: kept over reconnects, as a spool is.
#[derive(Debug, Default)]
struct Spool {
    sent: BTreeMap<u64, Vec<Exchange>>,
    acknowledged: u64,
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
                let path = |number| format!("/{epoch}/{sequence}/{number}");
                let exchanges: Vec<_> =
                    (0..EXCHANGES_PER_BATCH).map(|number| exchange(&path(number))).collect();
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
async fn kill_9_loses_nothing_that_was_acknowledged_and_stores_or_mirrors_nothing_twice() {
    let store = tempdir().unwrap();
    let (address, heads) = shadow().await;
    let settings = store.path().join("collector.yaml");
    std::fs::write(&settings, format!("mirrors: [{{target: 'http://{address}'}}]\n")).unwrap();
    let start = async || {
        let process = Process::start_with(&store.path().join("table"), |command| {
            command.arg("--config").arg(&settings);
        });
        process.until_ready().await;
        process
    };
    let spools: Vec<Arc<Mutex<Spool>>> = (0..AGENTS).map(|_| Arc::default()).collect();
    let acknowledged = || spools.iter().map(|spool| spool.lock().unwrap().acknowledged).collect::<Vec<_>>();
    for _ in 0..KILLS {
        let process = start().await;
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

    let process = start().await;
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

    let heads = heads.lock().unwrap();
    let target = |head: &str| head.split(' ').nth(1).unwrap_or_default().to_owned();
    let mirrored: BTreeSet<String> = heads.iter().map(|head| target(head)).collect();
    assert!(!mirrored.is_empty());
    assert_eq!(mirrored.len(), heads.len(), "an exchange is mirrored twice");
    let stored: BTreeSet<&str> =
        stored.iter().filter_map(|exchange| Some(exchange.request.as_ref()?.path.as_str())).collect();
    assert!(mirrored.iter().all(|path| stored.contains(path.as_str())), "what is mirrored is in the table");
}

//! The collector keeps the table by itself.

use std::path::Path;

use prost_types::Timestamp;
use tap_collector::Settings;
use tap_proto::v1::{Batch, GetLedgerRequest, Ledger};
use tap_store::{AgentEpoch, Store};
use tempfile::tempdir;
use url::Url;

use crate::support::{Collector, exchange, settings, until};

const COMMITS: u64 = 40;

/// As many commits of three exchanges, of `seconds` since 1970.
async fn fill(folder: &Path, agent: &AgentEpoch, sequences: std::ops::RangeInclusive<u64>, seconds: i64) {
    let store = Store::open(&Url::from_directory_path(folder).unwrap()).await.unwrap();
    for sequence in sequences {
        let exchanges = (0..3).map(|number| {
            let mut exchange = exchange(&format!("/{sequence}/{number}"));
            exchange.time = Some(Timestamp { seconds: seconds + sequence as i64, nanos: number });
            exchange.wire_bytes = 10;
            exchange
        });
        let batch = Batch { sequence, exchanges: exchanges.collect(), ledger: None };
        store.append(vec![(agent.clone(), batch)]).await.unwrap();
    }
    let ledger = Ledger { agent: agent.agent.clone(), epoch: agent.epoch, ..Ledger::default() };
    store.put_ledger(&ledger).await.unwrap();
}

#[tokio::test]
async fn old_exchanges_go_small_files_are_merged_and_the_account_stays_true() {
    let folder = tempdir().unwrap();
    let agent = AgentEpoch { agent: "node-1".to_owned(), epoch: 7 };
    // 2026-01-02, and 2100-01-01, which no age reaches.
    fill(folder.path(), &agent, 1..=4, 1_767_323_045).await;
    fill(folder.path(), &agent, 5..=COMMITS + 4, 4_102_444_800).await;
    let retention_max_age = Some("1d".to_owned());
    let collector = Collector::start_with(Settings { retention_max_age, ..settings(folder.path()) }).await;
    let is = async |metric: &str, value: f64| collector.metric(metric).await == Some(value);
    until("expiry", async || is(r#"podtap_collector_expired_exchanges_total{reason="age"}"#, 12.0).await)
        .await;
    until("a merge", async || is("podtap_collector_compacted_files_total", COMMITS as f64).await).await;
    until("its size", async || is("podtap_collector_table_files", 1.0).await).await;
    assert!(is(r#"podtap_collector_expired_bytes_total{reason="age"}"#, 120.0).await);
    assert_eq!(collector.search("").await.len() as u64, COMMITS * 3);

    let ledgers = collector.ledger().await.get_ledger(GetLedgerRequest::default()).await.unwrap();
    let [account] = &ledgers.into_inner().agents[..] else { panic!("one agent") };
    let (in_table, expired) = (account.in_table.unwrap(), account.expired.unwrap());
    assert_eq!((in_table.exchanges, expired.exchanges), (COMMITS * 3, 12));
    assert_eq!((in_table.bytes, expired.bytes), (COMMITS * 30, 120));
    collector.stop().await;
}

//! The agents' ledgers, and what the table holds of each agent.

use std::{collections::HashSet, time::Duration};

use prost_types::Timestamp;
use tap_proto::v1::{Amount, Ledger, TargetLedger};
use tap_store::RecentLedgers;

use crate::sample::{agent, batch, store, url};

fn ledger(agent: &str, epoch: u64, seconds: i64) -> Ledger {
    let stored = Amount { exchanges: seconds as u64, bytes: 7, segments: 0 };
    let target =
        TargetLedger { target: "shop/cart-1".to_owned(), stored: Some(stored), ..TargetLedger::default() };
    let time = Some(Timestamp { seconds, nanos: 0 });
    Ledger {
        agent: agent.to_owned(),
        epoch,
        time,
        r#final: false,
        targets: vec![target],
        ..Ledger::default()
    }
}

#[tokio::test]
async fn ledgers_come_with_what_the_table_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    assert!(store.ledgers().await.unwrap().is_empty());

    let epoch = u64::MAX - 5;
    store.append(vec![(agent("a/b c", epoch), batch("a/b c", 1, 0..10))]).await.unwrap();
    store.put_ledger(&ledger("a/b c", epoch, 20)).await.unwrap();
    store.put_ledger(&ledger("a/b c", epoch, 10)).await.unwrap();
    store.put_ledger(&ledger("idle", 1, 5)).await.unwrap();
    store
        .append(vec![
            (agent("a/b c", epoch), batch("a/b c", 2, 10..15)),
            (agent("silent", 3), batch("silent", 1, 0..1)),
        ])
        .await
        .unwrap();

    let reopened = tap_store::Store::open_read_only(&url(&folder)).await.unwrap();
    for store in [store, reopened] {
        let ledgers = store.ledgers().await.unwrap();
        let of = |name: &str| {
            let found: Vec<_> =
                ledgers.iter().filter(|ledger| ledger.ledger.as_ref().unwrap().agent == name).collect();
            let [one] = *found else { panic!("{found:?}") };
            (one.ledger.clone().unwrap(), one.in_table.unwrap())
        };
        assert_eq!(ledgers.len(), 3);
        let bytes = (0..15).map(|number| 100 + number).sum();
        assert_eq!(of("a/b c"), (ledger("a/b c", epoch, 20), Amount { exchanges: 15, bytes, segments: 0 }));
        assert_eq!(of("idle"), (ledger("idle", 1, 5), Amount::default()));
        let (silent, in_table) = of("silent");
        assert_eq!((silent.epoch, silent.time, in_table.exchanges), (3, None, 1));
    }
}

#[tokio::test]
async fn ledgers_that_were_put_lately_are_read_by_other_collectors() {
    let folder = tempfile::tempdir().unwrap();
    let (store, other) = (store(&folder).await, store(&folder).await);
    store.put_ledger(&ledger("own", 1, 5)).await.unwrap();
    store.put_ledger(&ledger("a/b c", 2, 5)).await.unwrap();
    store.put_ledger(&ledger("third", 3, 5)).await.unwrap();

    let mut recent = RecentLedgers::new(other);
    let own = HashSet::from([agent("own", 1)]);
    let seconds = |recent: &RecentLedgers| {
        let mut found: Vec<_> =
            recent.iter().map(|(ledger, _)| (ledger.agent.clone(), ledger.time.unwrap().seconds)).collect();
        found.sort();
        found
    };
    let hour = Duration::from_secs(3_600);
    recent.refresh(hour, &own).await.unwrap();
    assert_eq!(seconds(&recent), [("a/b c".to_owned(), 5), ("third".to_owned(), 5)]);
    let unchanged = recent.iter().find(|(ledger, _)| ledger.agent == "third").unwrap().0;

    store.put_ledger(&ledger("a/b c", 2, 7)).await.unwrap();
    recent.refresh(hour, &own).await.unwrap();
    assert_eq!(seconds(&recent), [("a/b c".to_owned(), 7), ("third".to_owned(), 5)]);
    // What did not change is not read again.
    let still = recent.iter().find(|(ledger, _)| ledger.agent == "third").unwrap().0;
    assert!(std::sync::Arc::ptr_eq(&unchanged, &still));

    // What was put long ago is of an agent that is gone.
    let third =
        std::fs::File::options().write(true).open(folder.path().join("ledger/third/3.binpb")).unwrap();
    third.set_modified(std::time::SystemTime::now() - 2 * hour).unwrap();
    recent.refresh(hour, &own).await.unwrap();
    assert_eq!(seconds(&recent), [("a/b c".to_owned(), 7)]);
}

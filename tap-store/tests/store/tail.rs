//! Tails see every commit once, whoever made it.

use futures::StreamExt;
use tap_expr::Condition;
use tap_store::{Store, StoreError, TailStream};
use tokio::time::{Duration, timeout};

use crate::sample::{agent, batch, store, url};

async fn tail(store: &Store, condition: &str, token: Option<String>) -> TailStream {
    store.tail(Condition::parse(condition).unwrap(), token, false).await.unwrap()
}

/// Reads on until that many exchanges have come; their numbers, and the last token.
async fn read(tail: &mut TailStream, count: usize) -> (Vec<u64>, String) {
    let mut numbers = Vec::new();
    loop {
        let page =
            timeout(Duration::from_secs(20), tail.next()).await.expect("a page in time").unwrap().unwrap();
        numbers.extend(page.exchanges.iter().map(|e| e.flow * 4 + u64::from(e.flow_index)));
        if numbers.len() >= count {
            return (numbers, page.resume_token);
        }
    }
}

#[tokio::test]
async fn a_tail_sees_each_commit_of_each_writer_once_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (here, elsewhere) = (store(&folder).await, store(&folder).await);
    here.append(vec![(agent("a", 1), batch("a", 1, 0..5))]).await.unwrap();

    let mut from_now = tail(&elsewhere, "", None).await;
    let appends = async {
        for sequence in 2..12 {
            let writer = if sequence % 2 == 0 { &here } else { &elsewhere };
            let first = sequence * 5;
            writer.append(vec![(agent("a", 1), batch("a", sequence, first..first + 5))]).await.unwrap();
        }
    };
    let (mut read_first, ()) = tokio::join!(read(&mut from_now, 25), appends);
    let mut resumed = tail(&here, "", Some(read_first.1.clone())).await;
    let (rest, token) = read(&mut resumed, 50 - read_first.0.len()).await;
    read_first.0.extend(rest);
    read_first.0.sort_unstable();
    assert_eq!(read_first.0, (10..60).collect::<Vec<_>>());

    let mut filtered = tail(&here, "request.method == \"POST\"", Some(token)).await;
    here.append(vec![(agent("a", 1), batch("a", 12, 60..72))]).await.unwrap();
    let (numbers, _) = read(&mut filtered, 4).await;
    assert_eq!(numbers.len(), 4);
    assert!(numbers.iter().all(|number| number % 3 == 1));
}

#[tokio::test]
async fn a_large_commit_comes_in_pages_and_a_tail_resumes_within_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let mut from_now = tail(&store, "", None).await;
    let mut batch = batch("a", 1, 0..20);
    for exchange in &mut batch.exchanges {
        let body = exchange.request.as_mut().unwrap().body.insert(tap_proto::v1::Body::default());
        body.content = Some(tap_proto::v1::body::Content::Binary(vec![0xff; 1024 * 1024].into()));
    }
    store.append(vec![(agent("a", 1), batch)]).await.unwrap();
    let (mut numbers, token) = read(&mut from_now, 7).await;
    assert!(numbers.len() < 10, "a page of {} MiB", numbers.len());
    let (rest, token) = read(&mut tail(&store, "", Some(token)).await, 20 - numbers.len()).await;
    numbers.extend(rest);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    let next = timeout(Duration::from_millis(100), tail(&store, "", Some(token)).await.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn tokens_that_lead_nowhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    for sequence in 1..4 {
        store.append(vec![(agent("a", 1), batch("a", sequence, 0..1))]).await.unwrap();
    }
    let mut tail = tail(&store, "", None).await;
    store.append(vec![(agent("a", 1), batch("a", 4, 0..1))]).await.unwrap();
    let (_, token) = read(&mut tail, 1).await;
    let refused = async |token: String| {
        let tail = store.tail(Condition::parse("").unwrap(), Some(token), false).await;
        match tail {
            Err(StoreError::InvalidToken(reason)) => reason,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("not refused"),
        }
    };
    let table = token.split('.').nth(1).unwrap();
    assert!(refused("t1".to_owned()).await.contains("malformed"));
    assert!(refused(format!("t1.{table}.99.0")).await.contains("another table"));
    assert!(refused("t1.00000000.1.0".to_owned()).await.contains("another table"));

    std::fs::remove_file(
        url(&folder).to_file_path().unwrap().join("exchanges/_delta_log/00000000000000000001.json"),
    )
    .unwrap();
    assert!(refused(format!("t1.{table}.1.0")).await.contains("expired"));
}

//! The same on a real S3 server: tables, racing writers, rights to read alone, and buckets that are away.

use std::{net::Ipv4Addr, time::Duration};

use futures::StreamExt as _;
use podtap_tests::{Conduct, S3Server, skip};
use tap_expr::Condition;
use tap_proto::v1::{Ledger, Order};
use tap_store::{Outage, Store, StoreError, StoreOptions};
use url::Url;

use crate::sample::{agent, batch, exchange, ids, query};

/// `None`, and said so, where none is installed. Another thread starts it, as the launcher waits.
async fn server() -> Option<S3Server> {
    if !S3Server::is_installed() {
        skip("no S3 server: `cargo xtask setup` builds s3s-fs");
        return None;
    }
    Some(tokio::task::spawn_blocking(|| S3Server::start().unwrap()).await.unwrap())
}

fn options(server: &S3Server) -> StoreOptions {
    server.environment().into_iter().collect()
}

fn url(server: &S3Server) -> Url {
    server.url("prod").parse().unwrap()
}

async fn open(server: &S3Server) -> Store {
    Store::open_with(&url(server), &options(server)).await.unwrap()
}

fn everything() -> Condition {
    Condition::parse("").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_sees_what_another_one_commits_and_takes_over_its_tail() {
    let Some(server) = server().await else { return };
    let (first, second) = (open(&server).await, open(&server).await);
    let mut tail = first.tail(everything(), None, false).await.unwrap();
    second.append(vec![(agent("a", 1), batch("a", 1, 0..10))]).await.unwrap();
    let mut page = tail.next().await.unwrap().unwrap();
    while page.exchanges.is_empty() {
        page = tail.next().await.unwrap().unwrap();
    }
    assert_eq!(page.exchanges.len(), 10);
    drop(tail);

    first.append(vec![(agent("a", 1), batch("a", 2, 10..13))]).await.unwrap();
    second.append(vec![(agent("a", 1), batch("a", 2, 10..13))]).await.unwrap();
    second.append(vec![(agent("a", 1), batch("a", 3, 13..15))]).await.unwrap();
    let mut tail = second.tail(everything(), Some(page.resume_token), false).await.unwrap();
    let mut tailed = Vec::new();
    while tailed.len() < 5 {
        tailed.extend(tail.next().await.unwrap().unwrap().exchanges.into_iter().map(|e| e.id));
    }
    tailed.sort();
    assert_eq!(tailed, (10..15).map(|number| exchange("a", number).id).collect::<Vec<_>>());
    assert_eq!(ids(&first).await.len(), 15);
    assert_eq!(ids(&second).await.len(), 15);
}

/// Ten collectors, each with batches of its own and redeliveries of an agent's that all of them have got.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_racing_writers_all_get_through_and_store_every_batch_once() {
    const WRITERS: u64 = 10;
    const BATCHES: u64 = 4;
    let Some(server) = server().await else { return };
    drop(open(&server).await);
    let writers = (0..WRITERS).map(|number| {
        let (url, options) = (url(&server), options(&server));
        tokio::spawn(async move {
            let store = Store::open_with(&url, &options).await.unwrap();
            let own = format!("own-{number}");
            let mut lost = 0;
            for sequence in 1..=BATCHES {
                let numbers = sequence * 2..sequence * 2 + 2;
                let shared = batch("shared", sequence, numbers.clone());
                let mine = batch(&own, sequence, numbers);
                let batches = vec![(agent("shared", 9), shared), (agent(&own, 9), mine)];
                lost += store.append(batches).await.unwrap().lost;
            }
            lost
        })
    });
    let mut lost = 0;
    for writer in writers.collect::<Vec<_>>() {
        lost += writer.await.unwrap();
    }
    assert!(lost > 0, "ten writers at once were never in each other's way");
    let names = (0..WRITERS).map(|number| format!("own-{number}")).chain(["shared".to_owned()]);
    let mut expected: Vec<_> =
        names.flat_map(|name| (2..(BATCHES + 1) * 2).map(move |number| exchange(&name, number).id)).collect();
    expected.sort();
    let mut found = ids(&open(&server).await).await;
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_needs_no_right_but_to_list_and_get() {
    let Some(server) = server().await else { return };
    let front = server.read_only_front(Ipv4Addr::LOCALHOST).unwrap();
    let read_only: StoreOptions = server.environment_by(&front).into_iter().collect();
    let url = url(&server);
    let none = Store::open_read_only_with(&url, &read_only).await;
    assert!(matches!(none, Err(StoreError::NoTable { .. })), "{none:?}");
    let refused = Store::open_with(&url, &read_only).await.unwrap_err();
    assert_eq!(refused.outage(), Outage::Denied, "{refused}");

    let writer = open(&server).await;
    for sequence in 1..=3 {
        writer
            .append(vec![(agent("a", 1), batch("a", sequence, sequence * 10..sequence * 10 + 10))])
            .await
            .unwrap();
    }
    writer.put_ledger(&Ledger { agent: "a".to_owned(), epoch: 1, ..Ledger::default() }).await.unwrap();
    let before = front.answered("PUT", 403) + front.answered("POST", 403);
    let reader = Store::open_read_only_with(&url, &read_only).await.unwrap();
    assert_eq!(ids(&reader).await, ids(&writer).await);
    assert!(reader.get(&exchange("a", 11).id).await.unwrap().is_some());
    assert_eq!(reader.ledgers().await.unwrap()[0].in_table.as_ref().unwrap().exchanges, 30);
    let found = reader.search(query("response.status == 503", Order::NewestFirst)).await.unwrap();
    assert_eq!(found.exchanges.len(), 5);
    let mut tail = reader.tail(everything(), None, false).await.unwrap();
    writer.append(vec![(agent("a", 1), batch("a", 4, 40..41))]).await.unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap().exchanges.len(), 1);
    let append = reader.append(vec![(agent("a", 1), batch("a", 5, 50..51))]).await;
    assert!(matches!(append, Err(StoreError::ReadOnly { .. })));
    // It did not even try.
    assert_eq!(front.answered("PUT", 403) + front.answered("POST", 403), before);
    assert!(front.answered("GET", 200) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_away_is_named_and_used_again_once_it_is_back() {
    let Some(server) = server().await else { return };
    let store = open(&server).await;
    for (sequence, (conduct, outage)) in (1..).zip([
        (Conduct::Deny, Outage::Denied),
        (Conduct::Throttle, Outage::Throttled),
        (Conduct::HangUp, Outage::Unreachable),
    ]) {
        let batches = || vec![(agent("a", 1), batch("a", sequence, sequence * 5..sequence * 5 + 5))];
        server.front().conduct(conduct);
        let error = store.append(batches()).await.unwrap_err();
        assert_eq!(error.outage(), outage, "{error}");
        server.front().conduct(Conduct::Pass);
        store.append(batches()).await.unwrap();
    }
    server.front().conduct(Conduct::Slow(Duration::from_millis(200)));
    store.append(vec![(agent("a", 1), batch("a", 4, 20..25))]).await.unwrap();
    assert_eq!(ids(&store).await, (5..25).map(|number| exchange("a", number).id).collect::<Vec<_>>());
    let nowhere = Store::open_with(&"s3://no-such-bucket/prod".parse().unwrap(), &options(&server)).await;
    let nowhere = nowhere.unwrap_err();
    assert_eq!(nowhere.outage(), Outage::Missing, "{nowhere}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_and_missing_settings_are_told_apart() {
    let Some(server) = server().await else { return };
    let mut options = options(&server);
    options.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "wrong".to_owned());
    let error = Store::open_with(&url(&server), &options).await.unwrap_err();
    assert_eq!(error.outage(), Outage::Denied, "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    options.remove("AWS_ALLOW_HTTP");
    let error = Store::open_with(&url(&server), &options).await.unwrap_err();
    assert!(error.to_string().contains("AWS_ALLOW_HTTP"), "{error}");
}

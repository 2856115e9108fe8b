//! Searches against a plain filter over the same exchanges.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tap_expr::Condition;
use tap_proto::v1::{Exchange, Order, body::Content};
use tap_store::{Query, Store, StoreError};

use crate::sample::{after_start, agent, batch, exchange, query, search_all, store};

/// Conditions that are pushed down whole, in part, and not at all.
const CONDITIONS: [&str; 12] = [
    "",
    "request.method == \"POST\"",
    "request.path.startsWith(\"/cart/1\")",
    "response.status >= 500 && namespace == \"shop\"",
    "response.status != 200",
    "response.status == 503 || request.method == \"DELETE\"",
    "!(response.status == 200)",
    "namespace == \"nowhere\"",
    "response.body.text.contains(\"number 3\")",
    "response.body.text.contains(\"number 3\") && request.method == \"GET\"",
    "duration > duration(\"20ms\")",
    "role == \"inbound\" && source.port == 40000",
];

/// As the store must give the exchanges of that agent back.
fn stored(agent: &str, epoch: u64, sequence: u64, number: u64) -> Exchange {
    Exchange { agent: agent.to_owned(), epoch, sequence, ..exchange(agent, number) }
}

fn in_order(mut exchanges: Vec<Exchange>, order: Order) -> Vec<Exchange> {
    let key = |e: &Exchange| (e.time.unwrap().seconds, e.time.unwrap().nanos, e.id.clone());
    exchanges.sort_by_key(key);
    if order == Order::NewestFirst {
        exchanges.reverse();
    }
    exchanges
}

/// Two agents, batches out of the order of time, several files.
async fn fill(store: &Store) -> Vec<Exchange> {
    let mut numbers: Vec<u64> = (0..240).collect();
    numbers.shuffle(&mut StdRng::seed_from_u64(1));
    let mut all = Vec::new();
    for (index, numbers) in numbers.chunks(40).enumerate() {
        let name = ["node-a", "node-b"][index % 2];
        let sequence = index as u64 + 1;
        let exchanges: Vec<_> = numbers.iter().map(|number| exchange(name, *number)).collect();
        let batch = tap_proto::v1::Batch { sequence, exchanges, ledger: None };
        store.append(vec![(agent(name, u64::MAX - 1), batch)]).await.unwrap();
        all.extend(numbers.iter().map(|number| stored(name, u64::MAX - 1, sequence, *number)));
    }
    all
}

#[tokio::test]
async fn a_search_finds_what_a_plain_filter_finds_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let all = fill(&store).await;
    for source in CONDITIONS {
        let condition = Condition::parse(source).unwrap();
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let expected: Vec<_> = all.iter().filter(|e| condition.matches(*e)).cloned().collect();
            let expected = in_order(expected, order);
            // The condition with the most rows is enough for the pages' seams.
            let page_size = if source.is_empty() { 30 } else { 1000 };
            let found = search_all(&store, source, order, page_size).await;
            assert_eq!(found, expected, "{source} by {order:?}");
        }
    }
}

#[tokio::test]
async fn a_time_range_includes_its_start_and_excludes_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.append(vec![(agent("node-a", 1), batch("node-a", 1, 0..100))]).await.unwrap();
    let found = async |start, end| {
        let query = Query { start, end, ..query("", Order::OldestFirst) };
        let page = store.search(query).await.unwrap();
        page.exchanges.iter().map(|e| e.flow * 4 + u64::from(e.flow_index)).collect::<Vec<_>>()
    };
    // The sample's times lie 123 ns after the millisecond.
    assert_eq!(found(Some(after_start(10)), Some(after_start(13))).await, [10, 11, 12]);
    assert_eq!(found(None, Some(after_start(2))).await, [0, 1]);
    assert_eq!(found(Some(after_start(98)), None).await, [98, 99]);
    assert_eq!(found(Some(after_start(50)), Some(after_start(50))).await, [0; 0]);
}

#[tokio::test]
async fn pages_are_of_one_version_while_ingest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let expected = in_order(fill(&store).await, Order::NewestFirst);

    let mut found = Vec::new();
    let mut page_token = None;
    for sequence in 1.. {
        let page =
            store.search(Query { page_size: 30, page_token, ..query("", Order::NewestFirst) }).await.unwrap();
        found.extend(page.exchanges);
        page_token = page.next_page_token;
        if page_token.is_none() {
            break;
        }
        // Newer, older, and in the middle of what is paged through.
        let number = StdRng::seed_from_u64(sequence).random_range(0..2000);
        store.append(vec![(agent("late", 1), batch("late", sequence, number..number + 3))]).await.unwrap();
        if sequence == 5 {
            // Another replica goes on from the token.
            let other = Store::open(&crate::sample::url(&folder)).await.unwrap();
            let query =
                Query { page_size: 30, page_token: page_token.clone(), ..query("", Order::NewestFirst) };
            let page = other.search(query).await.unwrap();
            assert_eq!(page.exchanges, expected[150..180]);
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_token_of_another_query_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.append(vec![(agent("node-a", 1), batch("node-a", 1, 0..10))]).await.unwrap();
    let first = store.search(Query { page_size: 2, ..query("", Order::NewestFirst) }).await.unwrap();
    let token = first.next_page_token.unwrap();
    let refused = async |query: Query| match store.search(query).await {
        Err(StoreError::InvalidToken(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let with = |token: &str, condition| Query {
        page_token: Some(token.to_owned()),
        ..query(condition, Order::NewestFirst)
    };
    assert!(refused(with(&token, "namespace == \"shop\"")).await.contains("another query"));
    let oldest_first = Query { order: Order::OldestFirst, ..with(&token, "") };
    assert!(refused(oldest_first).await.contains("another query"));
    assert!(refused(with("p1.x", "")).await.contains("malformed"));
    assert!(refused(with("", "")).await.contains("malformed"));

    let elsewhere = tempfile::tempdir().unwrap();
    let other = crate::sample::store(&elsewhere).await;
    assert!(matches!(other.search(with(&token, "")).await, Err(StoreError::InvalidToken(_))));
}

#[tokio::test]
async fn a_page_ends_before_three_mebibytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let mut batch = batch("node-a", 1, 0..20);
    for exchange in &mut batch.exchanges {
        let body = exchange.request.as_mut().unwrap().body.insert(tap_proto::v1::Body::default());
        body.content = Some(Content::Binary(vec![0xff; 1024 * 1024].into()));
    }
    batch.exchanges[3].request.as_mut().unwrap().body.as_mut().unwrap().content =
        Some(Content::Binary(vec![0xff; 5 * 1024 * 1024].into()));
    store.append(vec![(agent("node-a", 1), batch)]).await.unwrap();
    let mut sizes = Vec::new();
    let mut page_token = None;
    loop {
        let page = store.search(Query { page_token, ..query("", Order::OldestFirst) }).await.unwrap();
        sizes.push(page.exchanges.len());
        page_token = page.next_page_token;
        if page_token.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]);
}

#[tokio::test]
async fn a_summary_leaves_details_out_and_filters_by_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.append(vec![(agent("node-a", 1), batch("node-a", 1, 0..100))]).await.unwrap();
    for (condition, count) in [("", 100), ("response.body.text.contains(\"number 3\")", 8)] {
        let query = Query { summary: true, ..query(condition, Order::NewestFirst) };
        let page = store.search(query).await.unwrap();
        assert_eq!(page.exchanges.len(), count, "{condition}");
        for exchange in page.exchanges {
            let request = exchange.request.unwrap();
            assert_eq!((request.headers.len(), request.path.is_empty()), (0, false));
            if let Some(response) = exchange.response {
                let body = response.body.unwrap();
                assert_eq!((body.content, body.size), (None, 20));
            }
        }
    }
}

#[tokio::test]
async fn get_finds_each_exchange_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    for expected in fill(&store).await.into_iter().step_by(47) {
        assert_eq!(store.get(&expected.id).await.unwrap(), Some(expected));
    }
    for unknown in ["", "x", "019b7c5e-0000-7000-8000-000000000000", "ffffffff-ffff-7fff-bfff-ffffffffffff"] {
        assert_eq!(store.get(unknown).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_read_only_store_reads_and_refuses_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let url = crate::sample::url(&folder);
    assert!(matches!(Store::open_read_only(&url).await, Err(StoreError::NoTable { .. })));
    let writer = store(&folder).await;
    let reader = Store::open_read_only(&url).await.unwrap();
    writer.append(vec![(agent("node-a", 1), batch("node-a", 1, 0..10))]).await.unwrap();
    assert_eq!(crate::sample::ids(&reader).await.len(), 10);
    let append = reader.append(vec![(agent("node-a", 1), batch("node-a", 2, 10..11))]).await;
    assert!(matches!(append, Err(StoreError::ReadOnly { .. })));
}

#[tokio::test]
async fn another_schema_and_other_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("exchanges"), "a file").unwrap();
    let error = Store::open(&crate::sample::url(&folder)).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");

    let folder = tempfile::tempdir().unwrap();
    drop(store(&folder).await);
    let commit = folder.path().join("exchanges/_delta_log/00000000000000000000.json");
    let log = std::fs::read_to_string(&commit).unwrap();
    std::fs::write(&commit, log.replace("wire_bytes", "wire_bites")).unwrap();
    let error = Store::open(&crate::sample::url(&folder)).await.unwrap_err();
    assert!(error.to_string().ends_with("it has no column wire_bytes"), "{error}");
}

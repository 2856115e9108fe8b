//! Statistics: the same as counting what a search finds, whatever the groups, the files and the condition.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;
use tap_expr::Condition;
use tap_proto::v1::{Batch, Exchange, Order, StatsGroup, StatsOrder, StatsResponse, StatsSummary};
use tap_store::{StatsQuery, Store, StoreError};
use tempfile::tempdir;

use crate::sample::{START, after_start, agent, batch, exchange, search_all, store};

/// The conditions of the tests: all, one that the scan answers, one that it can't, one that it can in part.
const CONDITIONS: [&str; 4] = [
    "",
    "response.status >= 500 && namespace == 'shop'",
    "request.headers['accept'] == '*/*' && response.body.text.endsWith('3')",
    "request.method == 'GET' && request.path.contains('7')",
];

fn query(condition: &str, group_by: &[&str]) -> StatsQuery {
    StatsQuery {
        condition: Condition::parse(condition).unwrap(),
        start: None,
        end: None,
        group_by: group_by.iter().map(|name| name.parse().unwrap()).collect(),
        step: None,
        percentiles: vec![50.0, 99.0],
        order: StatsOrder::Count,
        limit: 1000,
    }
}

/// Three commits whose times overlap, 600 exchanges.
async fn six_hundred(store: &Store) -> Vec<Exchange> {
    store.append(vec![(agent("a", 1), batch("a", 1, 0..250))]).await.unwrap();
    store.append(vec![(agent("b", 1), batch("b", 1, 100..300))]).await.unwrap();
    store.append(vec![(agent("a", 1), batch("a", 2, 250..400))]).await.unwrap();
    let all = search_all(store, "", Order::OldestFirst, 1000).await;
    assert_eq!(all.len(), 600);
    all
}

/// What `key` says of the exchanges, counted one by one.
fn counted(
    exchanges: &[Exchange],
    key: impl Fn(&Exchange) -> Vec<String>,
) -> BTreeMap<Vec<String>, [u64; 6]> {
    let mut groups: BTreeMap<Vec<String>, [u64; 6]> = BTreeMap::new();
    for exchange in exchanges {
        let status = exchange.response.as_ref().map(|response| response.status);
        let latency = exchange.duration.as_ref().map_or(0, |duration| duration.nanos as u64);
        let group = groups.entry(key(exchange)).or_default();
        group[0] += 1;
        group[1] += u64::from(status.is_none_or(|status| status >= 500));
        group[2] += u64::from(status.is_some_and(|status| (400..500).contains(&status)));
        group[3] += u64::from(status.is_none());
        group[4] += exchange.wire_bytes;
        group[5] = group[5].max(latency);
    }
    groups
}

fn figures(summary: &StatsSummary) -> [u64; 6] {
    let max = summary.latency.as_ref().and_then(|latency| latency.max).map_or(0, |max| max.nanos as u64);
    [summary.exchanges, summary.errors, summary.client_errors, summary.no_response, summary.bytes, max]
}

fn found(groups: &[StatsGroup]) -> BTreeMap<Vec<String>, [u64; 6]> {
    groups.iter().map(|group| (group.key.clone(), figures(group.summary.as_ref().unwrap()))).collect()
}

fn key(exchange: &Exchange) -> Vec<String> {
    let status = exchange.response.as_ref().map_or_else(String::new, |response| response.status.to_string());
    vec![exchange.namespace.clone(), exchange.request.as_ref().unwrap().method.clone(), status]
}

#[tokio::test]
async fn groups_are_what_a_search_finds() {
    let folder = tempdir().unwrap();
    let store = store(&folder).await;
    let all = six_hundred(&store).await;
    for condition in CONDITIONS {
        let matching = search_all(&store, condition, Order::OldestFirst, 1000).await;
        let answer = store.stats(query(condition, &["namespace", "method", "status"])).await.unwrap();
        assert_eq!(found(&answer.groups), counted(&matching, key), "{condition}");
        let total = counted(&matching, |_| Vec::new());
        assert_eq!(Some(&figures(answer.total.as_ref().unwrap())), total.get(&Vec::new()), "{condition}");
        assert_eq!((answer.other, answer.other_groups, answer.ungrouped_exchanges), (None, 0, 0));
        assert_eq!(answer.rows_read, all.len() as u64);
        // No response of the sample says how complete it is.
        assert_eq!(answer.total.unwrap().incomplete, matching.len() as u64);
    }
}

#[tokio::test]
async fn what_is_beyond_the_limit_is_counted_together() {
    let folder = tempdir().unwrap();
    let store = store(&folder).await;
    let all = six_hundred(&store).await;
    let mut query = query("", &["namespace", "method", "status"]);
    query.limit = 3;
    query.order = StatsOrder::Errors;
    let answer = store.stats(query).await.unwrap();
    let mut by_errors: Vec<_> = counted(&all, key).into_iter().collect();
    by_errors.sort_by_key(|(key, figures)| (std::cmp::Reverse(figures[1]), key.clone()));
    let shown: Vec<_> = answer.groups.iter().map(|group| group.key.clone()).collect();
    assert_eq!(shown, by_errors[..3].iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
    let rest = by_errors[3..].iter().map(|(_, figures)| figures[0]).sum::<u64>();
    assert_eq!(answer.other.unwrap().exchanges, rest);
    assert_eq!(answer.other_groups, by_errors.len() as u64 - 3);
    assert_eq!(answer.total.unwrap().exchanges, 600);
}

#[tokio::test]
async fn buckets_of_a_group_add_up_to_it() {
    let folder = tempdir().unwrap();
    let store = store(&folder).await;
    // A second apart, from a minute's fifth second on.
    let mut exchanges: Vec<_> = (0..150).map(|number| exchange("a", number * 1000)).collect();
    exchanges.retain(|exchange| !(70..80).contains(&(exchange.time.as_ref().unwrap().seconds - START)));
    let batch = Batch { sequence: 1, exchanges, ledger: None };
    store.append(vec![(agent("a", 1), batch)]).await.unwrap();

    let mut query = query("", &["method"]);
    query.step = Some(Duration::from_secs(10));
    query.start = Some(after_start(10_000));
    query.end = Some(after_start(130_000));
    let answer = store.stats(query).await.unwrap();
    let starts: Vec<_> =
        answer.buckets.iter().map(|bucket| bucket.start_time.as_ref().unwrap().seconds - START).collect();
    // Buckets begin at multiples of ten seconds; that of the pause is only half empty.
    assert_eq!(starts, [5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 105, 115, 125]);
    let counts: Vec<_> = answer.buckets.iter().map(|bucket| bucket.summary.as_ref().unwrap()).collect();
    let count = counts.iter().map(|summary| summary.exchanges).collect::<Vec<_>>();
    assert_eq!(count, [5, 10, 10, 10, 10, 10, 5, 5, 10, 10, 10, 10, 5]);
    // The first bucket is in the span for five of its seconds.
    assert!(counts.iter().take(6).all(|summary| (summary.rate - 1.0).abs() < 1e-9), "{counts:?}");
    assert!((counts[6].rate - 0.5).abs() < 1e-9);
    let total = answer.total.as_ref().unwrap();
    assert_eq!(total.exchanges, 110);
    assert!((total.rate - 110.0 / 120.0).abs() < 1e-9);
    for group in &answer.groups {
        let summaries = group.buckets.iter().map(|bucket| bucket.summary.as_ref().unwrap());
        let sum = summaries.map(|summary| summary.exchanges).sum::<u64>();
        assert_eq!(sum, group.summary.as_ref().unwrap().exchanges, "{:?}", group.key);
    }
}

#[tokio::test]
async fn ids_in_paths_are_one_endpoint() {
    let folder = tempdir().unwrap();
    let store = store(&folder).await;
    let mut exchanges: Vec<_> = (0..200).map(|number| exchange("a", number)).collect();
    // Names that don't look like ids, more than there are kinds of things: known as ids only in the end.
    for (number, exchange) in exchanges.iter_mut().enumerate().skip(100) {
        let name: String = format!("{number:03}").bytes().map(|digit| char::from(digit + 49)).collect();
        exchange.request.as_mut().unwrap().path = format!("/users/{name}/orders");
    }
    exchanges[199].request = None;
    store.append(vec![(agent("a", 1), Batch { sequence: 1, exchanges, ledger: None })]).await.unwrap();
    let mut query = query("", &["path_template", "status_class"]);
    query.step = Some(Duration::from_secs(1));
    let answer = store.stats(query).await.unwrap();
    let mut paths: BTreeMap<&str, u64> = BTreeMap::new();
    for group in &answer.groups {
        let count = group.summary.as_ref().unwrap().exchanges;
        assert_eq!(
            group.buckets.iter().map(|bucket| bucket.summary.as_ref().unwrap().exchanges).sum::<u64>(),
            count
        );
        *paths.entry(&group.key[0]).or_default() += count;
    }
    assert_eq!(paths, [("/cart/{id}", 100), ("/users/{id}/orders", 99), ("", 1)].into());
    let classes: Vec<_> = answer.groups.iter().map(|group| group.key[1].as_str()).collect();
    assert!(["", "2xx", "4xx", "5xx"].iter().all(|class| classes.contains(class)), "{classes:?}");
}

#[tokio::test]
async fn labels_ports_and_hosts_are_dimensions() {
    let folder = tempdir().unwrap();
    let store = store(&folder).await;
    let mut exchanges: Vec<_> = (0..4).map(|number| exchange("a", number)).collect();
    exchanges[0].labels = [("app".to_owned(), "cart".to_owned()), ("v".to_owned(), "1".to_owned())].into();
    exchanges[1].labels = [("app".to_owned(), "cart".to_owned())].into();
    exchanges[2].destination.as_mut().unwrap().port = 8080;
    exchanges[3].destination = None;
    exchanges[3].request.as_mut().unwrap().host = "shop.example:8080".to_owned();
    store.append(vec![(agent("a", 1), Batch { sequence: 1, exchanges, ledger: None })]).await.unwrap();
    let mut query = query("", &["labels.app", "destination.port", "destination.host", "role"]);
    query.order = StatsOrder::Key;
    let answer = store.stats(query).await.unwrap();
    let keys: Vec<_> = answer.groups.iter().map(|group| group.key.join("|")).collect();
    assert_eq!(
        keys,
        ["|8080|shop.example|inbound", "||shop.example|inbound", "cart|80|shop.example|inbound"]
    );
}

#[tokio::test]
async fn memory_is_bounded_and_what_has_no_room_is_said() {
    let folder = tempdir().unwrap();
    let store = store(&folder).await;
    let mut exchanges: Vec<_> = (0..9_000).map(|number| exchange("a", number)).collect();
    for (number, exchange) in exchanges.iter_mut().enumerate() {
        exchange.request.as_mut().unwrap().path = format!("/{number}/{}", "é".repeat(200));
    }
    store.append(vec![(agent("a", 1), Batch { sequence: 1, exchanges, ledger: None })]).await.unwrap();
    let answer = store.stats(query("", &["path"])).await.unwrap();
    assert_eq!(answer.groups.len(), 1000);
    assert_eq!(answer.other_groups, 8192 - 1000);
    assert_eq!(answer.ungrouped_exchanges, 9_000 - 8192);
    assert_eq!(answer.other.unwrap().exchanges, 8_000);
    assert_eq!(answer.total.unwrap().exchanges, 9_000);
    assert!(answer.groups.iter().all(|group| group.key[0].len() <= 256));

    let mut query = query("", &["path"]);
    query.step = Some(Duration::from_secs(1));
    let error = store.stats(query).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::InvalidQuery(reason) if reason.starts_with("step: 9 buckets of 1000 groups")),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_is_an_answer() {
    let folder = tempdir().unwrap();
    let store = store(&folder).await;
    let mut nothing = query("", &["path_template"]);
    nothing.step = Some(Duration::from_secs(1));
    let answer = store.stats(nothing).await.unwrap();
    let summary = Some(StatsSummary::default());
    let instant = Some(Timestamp::default());
    let empty =
        StatsResponse { total: summary, start_time: instant, end_time: instant, ..StatsResponse::default() };
    assert_eq!(answer, empty);

    store.append(vec![(agent("a", 1), batch("a", 1, 0..10))]).await.unwrap();
    let mut earlier = query("", &[]);
    earlier.end = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
    let answer = store.stats(earlier).await.unwrap();
    assert_eq!((answer.total.unwrap().exchanges, answer.files_read, answer.files_skipped), (0, 0, 1));
}

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tap_proto::v1::{Exchange, Request};
use tokio::time::Instant;

use super::*;

fn chaos(yaml: &str, side: Side) -> Chaos {
    Chaos::new(&Settings::parse(yaml).unwrap(), Some(7), side).unwrap()
}

fn exchange(path: &str) -> Exchange {
    Exchange { request: Some(Request { path: path.into(), ..Request::default() }), ..Exchange::default() }
}

fn draw(chaos: &Chaos, key: u32) -> Faults {
    chaos.draw(&exchange("/pay"), &key.to_le_bytes(), 0, Duration::ZERO)
}

/// The body as it comes out in the end, and whether it was cut.
async fn read(mut body: FaultyBody<Full<Bytes>>) -> (Vec<u8>, bool) {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => read.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => return (read, true),
        }
    }
    (read, false)
}

const MIXED: &str = "
rules:
  - {name: slow, when: 'request.path == \"/pay\"', probability: 0.3, latency: {distribution: exponential, mean: 50ms}}
  - {name: errors, probability: 0.1, error: {statuses: {500: 1, 503: 3}}}
  - {name: resets, probability: 0.1, reset: before}
";

#[test]
fn the_same_seed_gives_the_same_faults_in_any_order() {
    let drawn = |chaos: &Chaos, keys: &mut dyn Iterator<Item = u32>| -> BTreeMap<u32, String> {
        keys.map(|key| (key, format!("{:?}", draw(chaos, key)))).collect()
    };
    let forwards = drawn(&chaos(MIXED, Side::Server), &mut (0..2_000));
    let backwards = drawn(&chaos(MIXED, Side::Server), &mut (0..2_000).rev());
    assert_eq!(forwards, backwards);

    let settings = Settings::parse(MIXED).unwrap();
    let other_seed = Chaos::new(&settings, Some(8), Side::Server).unwrap();
    assert_ne!(forwards, drawn(&other_seed, &mut (0..2_000)));
}

#[test]
fn a_rule_added_in_front_changes_no_other() {
    let more = MIXED.replace("rules:", "rules:\n  - {name: more, probability: 0.5, slow_body: 1KiB}");
    let (fewer, more) = (chaos(MIXED, Side::Server), chaos(&more, Side::Server));
    for key in 0..1_000 {
        let (fewer, more) = (draw(&fewer, key), draw(&more, key));
        assert_eq!((fewer.delay, fewer.ending), (more.delay, more.ending));
    }
}

#[test]
fn an_occurrence_of_a_key_draws_anew() {
    let chaos = chaos("rules: [{probability: 0.5, close: true}]", Side::Server);
    let closed = (0..1_000).filter(|occurrence| {
        chaos.draw(&exchange("/"), b"key", *occurrence, Duration::ZERO).ending == Some(Ending::Close)
    });
    let closed = closed.count();
    assert!((400..600).contains(&closed), "{closed}");
}

#[test]
fn shares_and_counts_are_those_of_the_settings() {
    let chaos = chaos(MIXED, Side::Server);
    let (mut delayed, mut statuses, mut resets) = (0, BTreeMap::<u16, u64>::new(), 0);
    for key in 0..10_000 {
        let faults = draw(&chaos, key);
        delayed += u64::from(!faults.delay.is_zero());
        match faults.ending {
            Some(Ending::Error(answer)) => *statuses.entry(answer.status.as_u16()).or_default() += 1,
            Some(Ending::Reset(ResetAt::Before)) => resets += 1,
            _ => {}
        }
    }
    assert!((2_800..3_200).contains(&delayed), "{delayed}");
    let errors = statuses[&500] + statuses[&503];
    assert!((900..1_100).contains(&errors), "{statuses:?}");
    assert!((2.5..3.6).contains(&(statuses[&503] as f64 / statuses[&500] as f64)), "{statuses:?}");
    // A tenth of those that no error took.
    assert!((800..1_000).contains(&resets), "{resets}");

    let counts: Vec<_> =
        chaos.counts().into_iter().map(|FaultCount { rule, kind, count }| (rule, kind, count)).collect();
    assert_eq!(
        counts,
        [
            ("slow".into(), Kind::Latency, delayed),
            ("errors".into(), Kind::Error, errors),
            ("resets".into(), Kind::Reset, resets),
        ]
    );
}

#[test]
fn a_rule_holds_where_its_condition_and_within_its_window() {
    let chaos = chaos(
        "rules: [{when: 'request.path.startsWith(\"/pay\")', from: 10s, until: 20s, close: true}]",
        Side::Client,
    );
    let closes = |path: &str, seconds: u64| {
        chaos.draw(&exchange(path), b"", 0, Duration::from_secs(seconds)).ending.is_some()
    };
    assert!(closes("/pay", 10) && closes("/pay/2", 19));
    assert!(!closes("/pay", 9) && !closes("/pay", 20) && !closes("/cart", 15));
}

#[test]
fn delays_add_up_and_the_first_of_everything_else_wins() {
    let chaos = chaos(
        "rules:
          - {latency: 100ms, error: {status: 500}}
          - {latency: 50ms, close: true, slow_body: 10}
          - {latency: 9m}
          - {latency: 9m, slow_body: 20}",
        Side::Server,
    );
    let faults = draw(&chaos, 1);
    assert_eq!(faults.delay, MAX_DELAY);
    assert!(matches!(faults.ending, Some(Ending::Error(_))));
    assert_eq!(faults.body.rate.unwrap().fault, 10);
}

#[test]
fn all_wrong_settings_are_told_together_and_where() {
    let settings = Settings::parse(
        "rules:
          - {when: 'request.pth == 1', probability: 2, latency: {distribution: uniform, min: 2s, max: 1s}}
          - {name: rule-1, slow_body: 0, bandwidth: 0, corrupt: 0, content_type: \"a\\nb\"}
          - {from: 2s, until: 1s, error: {status: 99}, close: true}
          - {error: {statuses: {500: -1}, headers: {content-length: '1'}}}
          - {name: nothing}",
    );
    let errors = Chaos::new(&settings.unwrap(), None, Side::Server).unwrap_err();
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    for place in [
        "rules[0].when: line 1, column",
        "rules[0].probability: ",
        "rules[0].latency: ",
        "rules[1].name: another",
        "rules[1].slow_body: ",
        "rules[1].bandwidth: ",
        "rules[1].corrupt: ",
        "rules[1].content_type: ",
        "rules[2].until: ",
        "rules[2].error: `error`, `close`",
        "rules[2].error: 99",
        "rules[3].error: \"content-length\"",
        "rules[3].error: the weight",
        "rules[4].name: the rule has no fault",
    ] {
        assert!(errors.iter().any(|error| error.starts_with(place)), "{place}: {errors:#?}");
    }

    let error = Settings::parse("rules:\n  - {latncy: 1s}").unwrap_err().to_string();
    assert!(error.contains("latncy") && error.contains("line 2"), "{error}");
    let settings = Settings::parse("rules: [{error: {status: 500}}]").unwrap();
    assert!(Chaos::new(&settings, None, Side::Client).is_err());
}

#[tokio::test]
async fn a_slow_body_takes_its_time_and_stays_whole() {
    let chaos = chaos("rules: [{slow_body: 1000}]", Side::Server);
    let body = Bytes::from(vec![7; 200]);
    let begun = Instant::now();
    let faults = draw(&chaos, 1).body;
    assert!(chaos.counts().is_empty());
    let (read, cut) = read(FaultyBody::new(Full::new(body.clone()), faults, None)).await;
    assert_eq!((read, cut), (body.to_vec(), false));
    assert!(begun.elapsed() >= Duration::from_millis(199));
    assert_eq!(chaos.counts()[0].kind, Kind::SlowBody);
}

#[tokio::test]
async fn bodies_share_a_bandwidth() {
    let chaos = chaos("rules: [{bandwidth: 1000}]", Side::Server);
    let begun = Instant::now();
    let bodies = (0..4).map(|key| {
        let faults = draw(&chaos, key).body;
        read(FaultyBody::new(Full::new(Bytes::from(vec![0; 50])), faults, None))
    });
    futures::future::join_all(bodies).await;
    assert!(begun.elapsed() >= Duration::from_millis(199));
}

#[tokio::test]
async fn a_cut_body_announces_its_whole_length() {
    for (at, length, given) in [("50%", 10, 5), ("3", 10, 3), ("100%", 10, 9), ("0", 10, 0)] {
        let chaos = chaos(&format!("rules: [{{truncate: {at}}}]"), Side::Server);
        let was_cut = Arc::new(AtomicU64::new(0));
        let on_cut = {
            let was_cut = Arc::clone(&was_cut);
            move || {
                was_cut.fetch_add(1, Ordering::Relaxed);
            }
        };
        let body = Full::new(Bytes::from(vec![1; length]));
        let body = FaultyBody::new(body, draw(&chaos, 1).body, Some(Box::new(on_cut)));
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(length as u64));
        assert!(!hyper::body::Body::is_end_stream(&body));
        assert_eq!(read(body).await, (vec![1; given], true), "{at}");
        assert_eq!(was_cut.load(Ordering::Relaxed), 1);
        assert_eq!(chaos.counts()[0].count, 1);
    }
}

#[tokio::test]
async fn what_has_no_effect_is_not_counted() {
    let chaos = chaos("rules: [{truncate: 10, corrupt: 1, slow_body: 1}]", Side::Server);
    let empty = FaultyBody::new(Full::new(Bytes::new()), draw(&chaos, 1).body, None);
    assert!(hyper::body::Body::is_end_stream(&empty));
    assert_eq!(read(empty).await, (vec![], false));
    assert!(chaos.counts().is_empty());
    // Shorter than the cut.
    let short = FaultyBody::new(Full::new(Bytes::from_static(b"12345")), draw(&chaos, 1).body, None);
    assert!(!read(short).await.1);
    assert!(chaos.counts().iter().all(|count| count.kind != Kind::Truncate));
}

#[tokio::test]
async fn corrupted_bytes_are_others_and_always_the_same() {
    let body = || Full::new(Bytes::from(vec![b'a'; 1_000]));
    let corrupted = async |key| {
        let chaos = chaos("rules: [{corrupt: 5}]", Side::Server);
        read(FaultyBody::new(body(), draw(&chaos, key).body, None)).await.0
    };
    let first = corrupted(1).await;
    let changed = first.iter().filter(|byte| **byte != b'a').count();
    assert_eq!((first.len(), changed), (1_000, 5));
    assert_eq!(first, corrupted(1).await);
    assert_ne!(first, corrupted(2).await);
}

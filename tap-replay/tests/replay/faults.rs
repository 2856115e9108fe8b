//! Replays whose requests go wrong on purpose.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use tap_proto::v1::{Body, Exchange, body::Content};

use crate::{
    plan, recorded, run,
    target::{Target, respond},
};

/// A recorded POST of ten bytes to /`name`.
fn post(name: &str) -> Exchange {
    let mut exchange = recorded(0, 0);
    exchange.id = name.into();
    let request = exchange.request.as_mut().unwrap();
    (request.method, request.path) = ("POST".into(), format!("/{name}"));
    request.body =
        Some(Body { content: Some(Content::Text("0123456789".into())), size: 10, ..Body::default() });
    exchange
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_reaches_the_target_and_the_report() {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let target = Target::start({
        let seen = Arc::clone(&seen);
        move |request: Request<Bytes>| {
            let content_type =
                request.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
            let path = request.uri().path().to_owned();
            seen.lock().unwrap().insert(path, (content_type, request.into_body()));
            async { respond(StatusCode::OK, "text/plain", "ok") }
        }
    })
    .await;
    let rule = |name: &str, fault: &str| {
        format!("  - {{name: {name}, when: 'request.path == \"/{name}\"', {fault}}}\n")
    };
    let faults = [
        ("close", "close: true"),
        ("reset", "reset: before"),
        ("half", "reset: body"),
        ("cut", "truncate: 3"),
        ("slow", "slow_body: 1000, latency: 1ms"),
        ("wrong", "corrupt: 1"),
        ("type", "content_type: text/wrong"),
    ];
    let rules: String = faults.iter().map(|(name, fault)| rule(name, fault)).collect();
    let plan = plan(&target.url(), |raw| {
        raw.allow_methods = vec!["POST".into()];
        raw.no_compare = true;
        raw.chaos = format!("rules:\n{rules}");
    });
    let exchanges = faults.iter().map(|(name, _)| *name).chain(["well"]).map(post).collect();

    let report = run(plan, exchanges).await;

    let not_sent = BTreeMap::from([("chaos_close".to_owned(), 1), ("chaos_reset".to_owned(), 1)]);
    assert_eq!((report.selected, report.sent, report.answered), (8, 6, 4));
    assert_eq!(report.not_sent, not_sent);
    assert_eq!(report.failed, BTreeMap::from([("chaos".to_owned(), 2)]));
    let counted: Vec<_> =
        report.faults.iter().map(|fault| (fault.rule.as_str(), fault.kind.as_str(), fault.count)).collect();
    assert_eq!(
        counted,
        [
            ("close", "close", 1),
            ("reset", "reset", 1),
            ("half", "reset", 1),
            ("cut", "truncate", 1),
            ("slow", "latency", 1),
            ("slow", "slow_body", 1),
            ("wrong", "corrupt", 1),
            ("type", "content_type", 1),
        ]
    );
    let seen = seen.lock().unwrap();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["/slow", "/type", "/well", "/wrong"]);
    assert_eq!(seen["/slow"].1, "0123456789");
    assert_ne!(seen["/wrong"].1, "0123456789");
    assert_eq!(seen["/type"], (Some("text/wrong".into()), Bytes::from_static(b"0123456789")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_leaves_out_the_same_requests_and_each_pass_others() {
    let target =
        Target::start(|_: Request<Bytes>| async { respond(StatusCode::OK, "text/plain", "ok") }).await;
    let closed = async |seed: u64, loops: u64, in_flight: u32| {
        let plan = plan(&target.url(), |raw| {
            raw.chaos = "rules: [{name: some, probability: 0.3, close: true}]".into();
            (raw.seed, raw.loops, raw.max_in_flight) = (seed, loops, in_flight);
            raw.no_compare = true;
        });
        let exchanges =
            (0..100).map(|index| Exchange { id: format!("x{index}"), ..recorded(index, 0) }).collect();
        run(plan, exchanges).await.not_sent["chaos_close"]
    };
    let once = closed(7, 1, 1).await;
    assert!((15..45).contains(&once), "{once}");
    assert_eq!(once, closed(7, 1, 64).await);
    let twice = closed(7, 2, 8).await;
    assert!(twice > once && twice < 90, "{twice}");
}

#[test]
fn settings_that_can_not_be_used_are_errors_of_the_plan() {
    let raw = tap_replay::RawPlan {
        id: "x".into(),
        target: "http://127.0.0.1".into(),
        chaos: "rules: [{probability: 2, close: true}, {error: {status: 500}}]".into(),
        ..tap_replay::RawPlan::default()
    };
    let errors: Vec<_> =
        tap_replay::Plan::validate(raw).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(errors[0].starts_with("chaos: rules[0].probability"), "{errors:?}");
    assert!(errors[1].starts_with("chaos: rules[1].error: a replay"), "{errors:?}");
}

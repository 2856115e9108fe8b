//! A primary, a second instance of it, and a candidate, on 10,000 exchanges with real servers in this process.
//!
//! Every answer is full of noise: times, ids, shuffled arrays, header fields that come and go, numbers at random,
//! members that are there at random. The candidate differs in one field of some answers of one endpoint. That
//! field must be found, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test panics")]

#[path = "../replay/target.rs"]
#[expect(dead_code, reason = "the other test uses the rest")]
mod target;

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};
use tap_proto::v1::{self, Completeness, Exchange, ReplayReport, completeness::State};
use tap_replay::{DiffPlan, End, Outcome, Plan, RawPlan, diff, report::real_fields};
use target::{Target, respond};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const EXCHANGES: u64 = 10_000;
/// Remainder by 20 of the numbers of orders that the candidate gets wrong. Orders have multiples of 4.
const WRONG: u64 = 8;

/// A server of version `changed`. What is at random differs between instances, and is the same in every run.
async fn server(instance: u64, changed: bool) -> Target {
    Target::start(move |request: Request<Bytes>| async move { answer(instance, changed, &request) }).await
}

fn answer(instance: u64, changed: bool, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let number: u64 = path.rsplit('/').find_map(|segment| segment.parse().ok()).unwrap_or_default();
    let mut random = StdRng::seed_from_u64(instance << 48 ^ number << 8 ^ path.len() as u64);
    let mood = ["good", "bad", "ugly"][random.random_range(0..3)];
    let mut body = match path.split('/').nth(1).unwrap_or_default() {
        "orders" => {
            // What is sold does not depend on the instance; the order of it does.
            let mut items: Vec<Value> = (0..5_u64)
                .map(|item| {
                    let wrong = changed && number % 20 == WRONG && item == 2;
                    let cents = number % 900 + item * 7 + u64::from(wrong);
                    json!({"sku": format!("sku-{item}"), "cents": cents, "seen": time(&mut random)})
                })
                .collect();
            items.shuffle(&mut random);
            json!({"order": number, "items": items})
        }
        "users" => json!({
            "user": number,
            "name": format!("user {}", number % 100),
            "session": uuid(&mut random),
            "csrf": token(&mut random),
            "mood": mood,
        }),
        "feed" => {
            let mut tags = vec!["a", "b", "c", "d", "e", "f"];
            tags.shuffle(&mut random);
            json!({"tags": tags, "next": random.random_range(0..1_000_000_u64)})
        }
        _ => json!({"page": number, "took_ms": random.random_range(0..50_u64)}),
    };
    body["at"] = json!(time(&mut random));
    if random.random_bool(0.01) {
        body["debug"] = json!("slow");
    }
    if random.random_bool(0.5) {
        body["hint"] = json!(random.random_range(0..9_u64));
    }
    let mut response = respond(StatusCode::OK, "application/json", body.to_string());
    let headers = response.headers_mut();
    headers.insert("x-request-id", uuid(&mut random).parse().unwrap());
    headers.insert("x-weight", random.random_range(0..1_000_u64).into());
    if random.random_bool(0.3) {
        headers.insert("x-sometimes", "1".parse().unwrap());
    }
    headers.insert("set-cookie", format!("sid={}; Path=/", token(&mut random)).parse().unwrap());
    response
}

fn time(random: &mut StdRng) -> String {
    format!(
        "2026-11-21T14:{:02}:{:02}.{:03}Z",
        random.random_range(0..60),
        random.random_range(0..60),
        random.random_range(0..1_000)
    )
}

fn uuid(random: &mut StdRng) -> String {
    let digits = format!("{:032x}", random.random::<u128>());
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

fn token(random: &mut StdRng) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..40).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

fn exchange(number: u64) -> Exchange {
    let path = match number % 4 {
        0 => format!("/orders/{number}"),
        1 => format!("/users/{number}"),
        2 => format!("/feed/{number}"),
        _ => format!("/pages/{number}"),
    };
    Exchange {
        id: format!("exchange-{number}"),
        request: Some(v1::Request {
            method: "GET".into(),
            path,
            completeness: Some(Completeness { state: State::Complete.into(), ..Completeness::default() }),
            ..v1::Request::default()
        }),
        ..Exchange::default()
    }
}

async fn compare(candidate: &str, primary: &str, secondary: Option<&str>, count: u64) -> ReplayReport {
    let plan = |target: &str| {
        Plan::validate(RawPlan {
            id: "diff".into(),
            target: target.into(),
            max_in_flight: 16,
            ..RawPlan::default()
        })
        .unwrap()
    };
    let plan =
        DiffPlan { candidate: plan(candidate), primary: plan(primary), secondary: secondary.map(plan) };
    let exchanges = stream::iter((0..count).map(|number| Ok::<_, Infallible>(exchange(number))));
    let (progress, _) = watch::channel(ReplayReport::default());
    let Outcome { report, end } = diff(plan, exchanges, progress, CancellationToken::new()).await;
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!((report.selected, report.answered), (count, count), "{:?}", report.failed);
    assert_eq!(report.answered, report.matched + report.differed);
    report
}

/// The endpoints with a field that is not noise: path and field.
fn found(report: &ReplayReport) -> Vec<(String, String)> {
    let fields = report
        .endpoints
        .iter()
        .flat_map(|endpoint| real_fields(endpoint).map(|field| (endpoint.path.clone(), field.field.clone())));
    fields.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_changed_field_among_noisy_ones_is_found_and_nothing_else() {
    let (primary, secondary) = (server(1, false).await, server(2, false).await);
    let (unchanged, changed) = (server(3, false).await, server(4, true).await);

    let report = compare(&unchanged.url(), &primary.url(), Some(&secondary.url()), EXCHANGES).await;
    assert_eq!(found(&report), []);
    assert_eq!((report.mismatches, report.noise_source.as_str()), (0, "secondary"));
    assert!(report.differed > EXCHANGES / 2, "there was no noise: {report:?}");
    assert!(report.dynamic["timestamp"] > 0 && report.dynamic["uuid"] > 0 && report.dynamic["token"] > 0);

    let report = compare(&changed.url(), &primary.url(), Some(&secondary.url()), EXCHANGES).await;
    assert_eq!(found(&report), [("/orders/{id}".to_owned(), "body.$.items[].cents".to_owned())]);
    // None of the others is listed before it, and every wrong answer counts, no other does.
    let wrong = (0..EXCHANGES).filter(|number| number % 4 == 0 && number % 20 == WRONG).count() as u64;
    assert_eq!((report.endpoints[0].mismatches, report.mismatches), (wrong, wrong));
    let example = &report.endpoints[0].fields[0].examples[0];
    let (expected, answered): (u64, u64) =
        (example.expected.parse().unwrap(), example.answered.parse().unwrap());
    assert_eq!(answered, expected + 1);
    assert!(report.arm_latencies.len() == 3 && report.arm_failures.is_empty());
}

#[tokio::test]
async fn a_target_that_fails_is_told_and_what_can_be_compared_is() {
    let (primary, candidate) = (server(1, false).await, server(3, false).await);
    let (_bound, closed) = target::closed_port();

    let report = compare(&candidate.url(), &primary.url(), Some(&closed), 40).await;
    assert_eq!(report.arm_failures["secondary.connection_refused"], 40);
    assert_eq!(report.noise_source, "");
    assert!(report.mismatches > 0);

    let plan = |target: &str| {
        Plan::validate(RawPlan { id: "diff".into(), target: target.into(), ..RawPlan::default() }).unwrap()
    };
    for (candidate, primary) in [(&closed, &primary.url()), (&candidate.url(), &closed)] {
        let plan = DiffPlan { candidate: plan(candidate), primary: plan(primary), secondary: None };
        let exchanges = stream::iter((0..10).map(|number| Ok::<_, Infallible>(exchange(number))));
        let (progress, _) = watch::channel(ReplayReport::default());
        let report = diff(plan, exchanges, progress, CancellationToken::new()).await.report;
        let failed: u64 = report.failed.values().sum();
        let uncompared = report.not_compared.get("response_missing").copied().unwrap_or_default();
        assert_eq!((report.sent, failed + uncompared, report.differed), (10, 10, 0), "{report:?}");
    }
}

#[tokio::test]
async fn a_stop_sends_nothing_more() {
    let primary = server(1, false).await;
    let plan = |target: &str| {
        Plan::validate(RawPlan { id: "diff".into(), target: target.into(), ..RawPlan::default() }).unwrap()
    };
    let plan = DiffPlan { candidate: plan(&primary.url()), primary: plan(&primary.url()), secondary: None };
    let stop = CancellationToken::new();
    stop.cancel();
    let exchanges = stream::iter((0..10).map(|number| Ok::<_, Infallible>(exchange(number))));
    let (progress, _) = watch::channel(ReplayReport::default());
    let Outcome { report, end } = diff(plan, exchanges, progress, stop).await;
    assert!(matches!(end, End::Stopped));
    assert_eq!((report.sent, primary.requests()), (0, 0));
}

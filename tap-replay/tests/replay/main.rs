//! Replays against real servers in this process. What is asserted is structure (sums, order, limits, what
//! arrived), never a duration.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod faults;
mod flows;
mod target;
mod tls;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use prost_types::Timestamp;
use tap_proto::v1::{
    self, Body, Completeness, Exchange, Header, ReplayReport, body::Content, completeness::State,
};
use tap_replay::{End, Outcome, Plan, RawPlan, replay};
use target::{Target, respond};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// A recorded GET of /`index`, `milliseconds` after the first, answered with "/`index`" as plain text.
fn recorded(index: u64, milliseconds: u64) -> Exchange {
    let complete = Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
    let path = format!("/{index}");
    Exchange {
        time: Some(Timestamp {
            seconds: 1_700_000_000 + (milliseconds / 1_000) as i64,
            nanos: (milliseconds % 1_000 * 1_000_000) as i32,
        }),
        request: Some(v1::Request {
            method: "GET".into(),
            path: path.clone(),
            completeness: complete.clone(),
            ..v1::Request::default()
        }),
        response: Some(v1::Response {
            status: 200,
            headers: vec![Header {
                name: "content-type".into(),
                value: "text/plain".into(),
                ..Header::default()
            }],
            body: Some(Body {
                size: path.len() as u64,
                content: Some(Content::Text(path)),
                ..Body::default()
            }),
            completeness: complete,
            ..v1::Response::default()
        }),
        ..Exchange::default()
    }
}

fn selection(exchanges: Vec<Exchange>) -> impl Stream<Item = Result<Exchange, Infallible>> + Send {
    stream::iter(exchanges.into_iter().map(Ok))
}

fn plan(target: &str, change: impl FnOnce(&mut RawPlan)) -> Plan {
    let mut raw = RawPlan { id: "test".into(), target: target.into(), ..RawPlan::default() };
    change(&mut raw);
    Plan::validate(raw).unwrap()
}

async fn run(plan: Plan, exchanges: Vec<Exchange>) -> ReplayReport {
    let (progress, _) = watch::channel(ReplayReport::default());
    let source = move || selection(exchanges.clone());
    let Outcome { report, end } = replay(plan, source, progress, CancellationToken::new()).await;
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_balanced(&report, 0);
    report
}

fn assert_balanced(report: &ReplayReport, in_flight: u64) {
    let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    assert_eq!(report.selected, report.sent + sum(&report.not_sent), "{report:?}");
    assert_eq!(report.sent, report.answered + sum(&report.failed) + in_flight, "{report:?}");
    assert_eq!(report.answered, report.statuses.values().sum::<u64>(), "{report:?}");
    let uncompared = report.not_compared.get("response_missing").copied().unwrap_or_default();
    assert_eq!(report.answered, report.matched + report.differed + uncompared, "{report:?}");
    let measured = report.latency.as_ref().map_or(0, |latency| latency.count);
    assert_eq!(report.answered, measured, "{report:?}");
}

fn echo_path(request: &Request<Bytes>) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, "text/plain", request.uri().path().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_arrives_once_marked_and_matches() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let target = Target::start({
        let seen = Arc::clone(&seen);
        move |request: Request<Bytes>| {
            assert_eq!(request.headers()["podtap-replay"], "test");
            seen.lock().unwrap().push(request.uri().path().to_owned());
            let answer = echo_path(&request);
            async move { answer }
        }
    })
    .await;

    // 500 requests in 100 ms of recorded time, at three times the pace.
    let exchanges = (0..500).map(|index| recorded(index, index / 5)).collect();
    let report = run(plan(&target.url(), |raw| raw.speed = 3.0), exchanges).await;

    assert_eq!((report.selected, report.sent, report.matched), (500, 500, 500));
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 500);
}

#[tokio::test]
async fn with_one_in_flight_requests_arrive_in_order_on_one_connection() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let target = Target::start({
        let seen = Arc::clone(&seen);
        move |request: Request<Bytes>| {
            seen.lock().unwrap().push(request.uri().path().to_owned());
            let answer = echo_path(&request);
            async move { answer }
        }
    })
    .await;

    let exchanges = (0..50).map(|index| recorded(index, 0)).collect();
    let report = run(plan(&target.url(), |raw| raw.max_in_flight = 1), exchanges).await;

    assert_eq!(report.matched, 50);
    assert_eq!(*seen.lock().unwrap(), (0..50).map(|index| format!("/{index}")).collect::<Vec<_>>());
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn no_more_than_max_in_flight_are_in_flight() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let target = Target::start({
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move |request: Request<Bytes>| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                echo_path(&request)
            }
        }
    })
    .await;

    let exchanges = (0..200).map(|index| recorded(index, 0)).collect();
    let report = run(plan(&target.url(), |raw| raw.max_in_flight = 7), exchanges).await;

    assert_eq!(report.matched, 200);
    assert_eq!(most.load(Ordering::SeqCst), 7);
    assert!(target.connections() <= 7, "{}", target.connections());
    // Waiting for a place is lateness of the send, and part of its latency.
    assert!(report.late > 0);
    assert!(report.latency.unwrap().max_us >= report.send_error.unwrap().max_us);
}

#[tokio::test]
async fn a_stuck_target_times_out_and_what_had_no_place_is_counted() {
    let target = Target::start(|_| async { std::future::pending().await }).await;
    let exchanges = (0..20).map(|index| recorded(index, 0)).collect();
    let report = run(
        plan(&target.url(), |raw| {
            raw.max_in_flight = 3;
            raw.timeout = Some(Duration::from_millis(100));
        }),
        exchanges,
    )
    .await;

    assert_eq!(report.selected, 20);
    assert_eq!(report.failed["timeout"], report.sent);
    assert_eq!(report.not_sent.get("max_in_flight").copied().unwrap_or_default(), 20 - report.sent);
    assert!(report.sent >= 3);
}

#[tokio::test]
async fn differences_are_named() {
    let target = Target::start(|request: Request<Bytes>| async move {
        match request.uri().path() {
            "/0" => echo_path(&request),
            "/1" => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "/1"),
            "/2" => respond(StatusCode::OK, "text/html", "/2"),
            _ => respond(StatusCode::OK, "text/plain", "something else"),
        }
    })
    .await;
    let report = run(plan(&target.url(), |_| {}), (0..4).map(|index| recorded(index, 0)).collect()).await;

    assert_eq!((report.matched, report.differed), (1, 3));
    for difference in ["status", "header.content-type", "body"] {
        assert_eq!(report.mismatched[difference], 1, "{difference}");
    }
    assert_eq!(report.statuses[&500], 1);
}

#[tokio::test]
async fn bodies_are_sent_and_large_answers_compared_without_being_kept() {
    let target = Target::start(|request: Request<Bytes>| async move {
        respond(StatusCode::OK, "text/plain", request.into_body())
    })
    .await;
    let mut exchange = recorded(0, 0);
    let body = "0123456789".repeat(100_000);
    let request = exchange.request.as_mut().unwrap();
    request.method = "POST".into();
    request.body = Some(Body { content: Some(Content::Text(body.clone())), ..Body::default() });
    exchange.response.as_mut().unwrap().body =
        Some(Body { content: Some(Content::Binary(body.into())), ..Body::default() });

    let report =
        run(plan(&target.url(), |raw| raw.allow_methods = vec!["POST".into()]), vec![exchange]).await;
    assert_eq!(report.matched, 1, "{report:?}");
}

#[tokio::test]
async fn what_is_not_safe_or_not_whole_is_never_sent() {
    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let with = |change: fn(&mut Exchange)| {
        let mut exchange = recorded(0, 0);
        change(&mut exchange);
        exchange
    };
    let exchanges = vec![
        recorded(0, 0),
        with(|exchange| exchange.request.as_mut().unwrap().method = "DELETE".into()),
        with(|exchange| exchange.request.as_mut().unwrap().completeness = None),
        with(|exchange| exchange.request = None),
        with(|exchange| exchange.request.as_mut().unwrap().path = "no path".into()),
        with(|exchange| exchange.response.as_mut().unwrap().status = 101),
    ];
    let report = run(plan(&target.url(), |_| {}), exchanges).await;

    assert_eq!((report.selected, report.sent, report.matched), (6, 1, 1));
    assert_eq!(report.not_sent["method"], 1);
    assert_eq!(report.not_sent["incomplete"], 2);
    assert_eq!(report.not_sent["unsendable"], 1);
    assert_eq!(report.not_sent["upgrade"], 1);
    assert_eq!(target.requests(), 1);
}

#[tokio::test]
async fn a_target_that_refuses_connections_fails_each_send() {
    let (_bound, closed) = target::closed_port();
    let report = run(plan(&closed, |_| {}), (0..10).map(|index| recorded(index, 0)).collect()).await;
    assert_eq!(report.failed["connection_refused"], 10);
    assert_eq!(report.send_error, None);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_fails_each_send() {
    let plan = plan("http://does-not-exist.invalid", |_| {});
    let report = run(plan, (0..2).map(|index| recorded(index, 0)).collect()).await;
    assert_eq!(report.failed["connect"], 2);
}

#[tokio::test]
async fn broken_answers_fail_by_their_kind() {
    for (answer, failure) in [
        (&b"this is not HTTP\r\n\r\n"[..], "invalid_response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "incomplete_response"),
        (b"", "incomplete_response"),
        (b"HTTP/1.1 200 OK\r\nContent-", "incomplete_response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "invalid_response"),
    ] {
        let target = target::raw(answer, false).await;
        let report = run(plan(&target, |_| {}), (0..5).map(|index| recorded(index, 0)).collect()).await;
        assert_eq!(report.failed.get(failure), Some(&5), "{answer:?}: {report:?}");
    }
}

#[tokio::test]
async fn a_reset_is_a_failure_of_its_own() {
    let target = target::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", true).await;
    let report = run(plan(&target, |_| {}), (0..5).map(|index| recorded(index, 0)).collect()).await;
    assert_eq!(report.failed.get("connection_reset"), Some(&5), "{report:?}");
}

#[tokio::test]
async fn a_target_that_closes_after_each_answer_loses_nothing() {
    let target = Target::start(|request: Request<Bytes>| async move {
        let mut answer = echo_path(&request);
        answer.headers_mut().insert("connection", "close".parse().unwrap());
        answer
    })
    .await;
    let exchanges = (0..100).map(|index| recorded(index, index)).collect();
    let report = run(plan(&target.url(), |raw| raw.speed = 10.0), exchanges).await;
    assert_eq!(report.matched, 100, "{report:?}");
    assert_eq!(target.connections(), 100);
}

#[tokio::test]
async fn max_requests_ends_the_replay() {
    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let report = run(
        plan(&target.url(), |raw| raw.max_requests = 3),
        (0..10).map(|index| recorded(index, 0)).collect(),
    )
    .await;
    assert_eq!((report.selected, report.sent), (3, 3));
}

#[tokio::test]
async fn a_stop_sends_nothing_more_and_awaits_what_is_in_flight() {
    let release = Arc::new(Semaphore::new(0));
    let arrived = Arc::new(Semaphore::new(0));
    let target = Target::start({
        let (release, arrived) = (Arc::clone(&release), Arc::clone(&arrived));
        move |request: Request<Bytes>| {
            let (release, arrived) = (Arc::clone(&release), Arc::clone(&arrived));
            async move {
                arrived.add_permits(1);
                let _permit = release.acquire().await.unwrap();
                echo_path(&request)
            }
        }
    })
    .await;

    // Two at once, one an hour later, and a selection that never ends.
    let exchanges =
        || selection(vec![recorded(0, 0), recorded(1, 0), recorded(2, 3_600_000)]).chain(stream::pending());
    let (progress, mut watched) = watch::channel(ReplayReport::default());
    let stop = CancellationToken::new();
    let running = tokio::spawn(replay(plan(&target.url(), |_| {}), exchanges, progress, stop.clone()));
    let _ = arrived.acquire_many(2).await.unwrap();
    let report = watched.wait_for(|report| report.sent == 2).await.unwrap().clone();
    assert_balanced(&report, 2);

    stop.cancel();
    release.add_permits(1);
    let Outcome { report, end } = running.await.unwrap();

    assert!(matches!(end, End::Stopped), "{end:?}");
    assert_balanced(&report, 0);
    assert_eq!((report.selected, report.matched), (3, 2));
    assert_eq!(report.not_sent["stopped"], 1);
    assert_eq!(*watched.borrow(), report);
}

#[tokio::test]
async fn an_error_of_the_selection_is_returned_with_the_report() {
    #[derive(Debug, PartialEq)]
    struct Broken;

    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let exchanges = || stream::iter([Ok(recorded(0, 0)), Err(Broken), Ok(recorded(1, 0))]);
    let (progress, _) = watch::channel(ReplayReport::default());
    let Outcome { report, end } =
        replay(plan(&target.url(), |_| {}), exchanges, progress, CancellationToken::new()).await;

    assert!(matches!(end, End::Failed(Broken)), "{end:?}");
    assert_balanced(&report, 0);
    assert_eq!((report.selected, report.matched), (1, 1));
}

#[tokio::test]
async fn reading_ahead_is_bounded() {
    let read = Arc::new(AtomicU64::new(0));
    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let exchanges = {
        let read = Arc::clone(&read);
        move || {
            let read = Arc::clone(&read);
            stream::iter(0..1_000_000_u64).map(move |index| {
                read.fetch_add(1, Ordering::SeqCst);
                let mut exchange = recorded(index, index * 3_600_000);
                let content = Some(Content::Binary(vec![0; 1024 * 1024].into()));
                exchange.response.as_mut().unwrap().body = Some(Body { content, ..Body::default() });
                Ok::<_, Infallible>(exchange)
            })
        }
    };
    let (progress, mut watched) = watch::channel(ReplayReport::default());
    let stop = CancellationToken::new();
    let running = tokio::spawn(replay(plan(&target.url(), |_| {}), exchanges, progress, stop.clone()));
    watched.wait_for(|report| report.answered == 1).await.unwrap();
    // The reader is far ahead of the one send of the first hour, and must have come to rest.
    let mut before = 0;
    while before == 0 || before != read.load(Ordering::SeqCst) {
        before = read.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!((16..64).contains(&before), "{before}");

    stop.cancel();
    let Outcome { report, .. } = running.await.unwrap();
    assert_balanced(&report, 0);
    assert_eq!(report.selected, read.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_endless_answer_ends_with_the_timeout() {
    let target = target::endless().await;
    let report = run(
        plan(&target, |raw| raw.timeout = Some(Duration::from_millis(200))),
        (0..3).map(|index| recorded(index, 0)).collect(),
    )
    .await;
    assert_eq!(report.failed["timeout"], 3);
}

#[tokio::test]
async fn a_replay_that_is_dropped_stops() {
    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let (progress, mut watched) = watch::channel(ReplayReport::default());
    let exchanges = || selection((0..1_000).map(|index| recorded(index, index * 3_600_000)).collect());
    let running =
        tokio::spawn(replay(plan(&target.url(), |_| {}), exchanges, progress, CancellationToken::new()));
    watched.wait_for(|report| report.answered == 1).await.unwrap();
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // The runtime of this test can only end when the pacer's thread has.
    assert_eq!(target.requests(), 1);
}

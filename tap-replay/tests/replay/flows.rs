//! Sessions, transformations, arrivals and what ends a replay, against real servers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tap_proto::v1::{Body, Exchange, Header, ReplayReport, body::Content};
use tap_replay::{End, Outcome, RawPlan, RawTls, replay};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    assert_balanced, echo_path, plan, recorded, run, selection,
    target::{self, Target, respond},
};

/// A shop that issues tokens, ids and receipts, different ones for each `seed`, and refuses what it has not issued.
#[derive(Clone)]
struct Shop {
    seed: u64,
    issued: Arc<AtomicU64>,
    /// Carts by token.
    carts: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Shop {
    fn new(seed: u64) -> Self {
        Self { seed, issued: Arc::default(), carts: Arc::default() }
    }

    fn issue(&self) -> u64 {
        self.seed + self.issued.fetch_add(1, Ordering::SeqCst)
    }

    /// Status, cookie and body of the answer.
    fn answer(
        &self,
        path: &str,
        headers: &BTreeMap<String, String>,
        body: &str,
    ) -> (u16, Option<String>, Value) {
        let refused = (401, None, json!({"error": "who are you?"}));
        if path == "/login" {
            let number = self.issue();
            let token = format!("token-{number}");
            self.carts.lock().unwrap().insert(token.clone(), 0);
            return (200, Some(format!("sid=sid-{token}; Path=/")), json!({"token": token, "name": "Ann"}));
        }
        let token =
            headers.get("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
        let known = self.carts.lock().unwrap().get(token).copied();
        let cookie = headers.get("cookie").is_some_and(|cookie| *cookie == format!("sid=sid-{token}"));
        let (Some(cart), true) = (known, cookie) else { return refused };
        if path == "/carts" {
            let id = self.issue();
            self.carts.lock().unwrap().insert(token.to_owned(), id);
            return (201, None, json!({"cart": {"id": id, "items": []}}));
        }
        let sent: Value = serde_json::from_str(body).unwrap_or_default();
        if path == format!("/carts/{cart}/items") {
            (200, None, json!({"cart": {"id": cart, "items": [sent["item"]]}}))
        } else if path == "/pay" && sent["cart"] == json!(cart) {
            (200, None, json!({"receipt": format!("R-{}", self.issue()), "paid": true}))
        } else {
            (404, None, json!({"error": "no such cart"}))
        }
    }

    async fn start(self) -> Target {
        Target::start(move |request: Request<Bytes>| {
            let (head, body) = request.into_parts();
            let headers = head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect();
            let (status, cookie, json) =
                self.answer(head.uri.path(), &headers, std::str::from_utf8(&body).unwrap());
            let mut response =
                respond(StatusCode::from_u16(status).unwrap(), "application/json", json.to_string());
            if let Some(cookie) = cookie {
                response.headers_mut().insert("set-cookie", cookie.parse().unwrap());
            }
            async move { response }
        })
        .await
    }
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into(), ..Header::default() }
}

/// What a customer of `shop` on connection `flow` did, as it was captured: login, cart, item, payment.
fn visit(shop: &Shop, flow: u64, start: u64) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let mut step = |path: &str, headers: &[(&str, String)], body: String| {
        let known = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        let (status, cookie, answer) = shop.answer(path, &known, &body);
        assert!(status < 400, "{path}: {answer}");
        let mut exchange = recorded(0, start + exchanges.len() as u64);
        (exchange.agent, exchange.flow) = ("node-1".into(), flow);
        let request = exchange.request.as_mut().unwrap();
        request.method = "POST".into();
        request.path = path.into();
        request.headers = headers.iter().map(|(name, value)| header(name, value)).collect();
        request.body =
            Some(Body { size: body.len() as u64, content: Some(Content::Text(body)), ..Body::default() });
        let response = exchange.response.as_mut().unwrap();
        response.status = status.into();
        response.headers = vec![header("content-type", "application/json")];
        response.headers.extend(cookie.map(|cookie| header("set-cookie", &cookie)));
        response.body = Some(Body { content: Some(Content::Text(answer.to_string())), ..Body::default() });
        exchanges.push(exchange);
        answer
    };
    let login = step("/login", &[], json!({"user": "ann"}).to_string());
    let token = login["token"].as_str().unwrap();
    let who = [("Authorization", format!("Bearer {token}")), ("Cookie", format!("sid=sid-{token}"))];
    let cart = step("/carts", &who, String::new())["cart"]["id"].clone();
    step(&format!("/carts/{cart}/items"), &who, json!({"item": "tea"}).to_string());
    step("/pay", &who, json!({"cart": cart, "amount": 17}).to_string());
    exchanges
}

/// Twenty visits, interleaved.
fn visits() -> Vec<Exchange> {
    let production = Shop::new(1_000);
    let mut all: Vec<_> = (1..=20).flat_map(|flow| visit(&production, flow, flow)).collect();
    all.sort_by_key(|exchange| exchange.time.unwrap().nanos);
    all
}

const VARIABLES: &str = r#"
variables:
- {name: token, when: 'request.path == "/login"', json: $.token}
- {name: cart, when: 'request.path == "/carts"', json: $.cart.id}
- {name: receipt, when: 'request.path == "/pay"', json: $.receipt}
"#;

fn posting(raw: &mut RawPlan) {
    raw.allow_methods = vec!["POST".into()];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_flow_replays_whole_through_what_its_answers_hold() {
    let staging = Shop::new(500_000).start().await;
    let with = |document: &'static str| {
        plan(&staging.url(), |raw| {
            posting(raw);
            raw.transform = document.into();
        })
    };
    let report = run(with(VARIABLES), visits()).await;
    assert_eq!((report.sent, report.matched, report.differed), (80, 80, 0), "{report:?}");
    assert!(report.transform_errors.is_empty(), "{report:?}");

    // It finds them by itself, too: all but the receipt, which nothing sends again.
    let report = run(with("correlate: true"), visits()).await;
    assert_eq!(report.statuses.keys().copied().collect::<Vec<_>>(), [200, 201], "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_variables_the_comparison_says_what_differs() {
    let staging = Shop::new(500_000).start().await;
    let report = run(plan(&staging.url(), posting), visits()).await;
    assert_eq!((report.sent, report.matched), (80, 0), "{report:?}");
    // All but the logins are refused.
    assert_eq!(report.statuses[&401], 60);
    assert_eq!(report.mismatched["status"], 60);
    let fields: Vec<_> = report
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.path == "/login")
        .flat_map(|endpoint| endpoint.fields.iter().map(|field| field.field.as_str()))
        .collect();
    assert_eq!(fields, ["body.$.token", "header.set-cookie.sid"], "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_keeps_its_order_while_others_go_on() {
    let seen = Arc::new(Mutex::new(BTreeMap::<String, Vec<u64>>::new()));
    let most = Arc::new(Mutex::new((0, 0)));
    let target = Target::start({
        let (seen, most) = (Arc::clone(&seen), Arc::clone(&most));
        move |request: Request<Bytes>| {
            let session = request.headers()["x-session"].to_str().unwrap().to_owned();
            let number = request.uri().path()[1..].parse().unwrap();
            seen.lock().unwrap().entry(session).or_default().push(number);
            {
                let mut most = most.lock().unwrap();
                most.0 += 1;
                most.1 = most.1.max(most.0);
            }
            let most = Arc::clone(&most);
            async move {
                // The first of a session is the slowest: without order the others would overtake it.
                tokio::time::sleep(Duration::from_millis(if number == 0 { 50 } else { 1 })).await;
                most.lock().unwrap().0 -= 1;
                echo_path(&request)
            }
        }
    })
    .await;
    let exchanges = (0..8_u64)
        .flat_map(|number| {
            (0..10).map(move |session| {
                let mut exchange = recorded(number, 0);
                exchange.request.as_mut().unwrap().headers =
                    vec![header("X-Session", &format!("s{session}"))];
                exchange
            })
        })
        .collect();
    let report = run(plan(&target.url(), |raw| raw.session = "header:x-session".into()), exchanges).await;
    assert_eq!(report.matched, 80, "{report:?}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 10);
    assert!(seen.values().all(|numbers| numbers.is_sorted() && numbers.len() == 8), "{seen:?}");
    // One of each session at most.
    let most = most.lock().unwrap().1;
    assert!((2..=10).contains(&most), "{most}");
}

#[tokio::test]
async fn a_session_that_is_stuck_counts_what_waited_for_it() {
    let target = Target::start(|_| async { std::future::pending::<Response<Full<Bytes>>>().await }).await;
    let exchanges =
        (0..5).map(|index| Exchange { agent: "a".into(), flow: 1, ..recorded(index, 0) }).collect();
    let report =
        run(plan(&target.url(), |raw| raw.timeout = Some(Duration::from_millis(100))), exchanges).await;
    assert_eq!((report.sent, report.failed["timeout"], report.not_sent["session"]), (1, 1, 4), "{report:?}");
}

#[tokio::test]
async fn samples_and_shards_take_whole_sessions() {
    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let exchanges: Vec<_> = (0..400)
        .map(|index| Exchange { agent: "a".into(), flow: index % 100, ..recorded(index, 0) })
        .collect();
    let mut total = 0;
    for shard in 0..3 {
        let change = |raw: &mut RawPlan| (raw.shards, raw.shard) = (3, shard);
        let report = run(plan(&target.url(), change), exchanges.clone()).await;
        assert_eq!(report.selected + report.left_out["shard"], 400);
        assert_eq!(report.selected % 4, 0, "sessions have four requests: {report:?}");
        total += report.selected;
    }
    assert_eq!(total, 400);
    let report = run(plan(&target.url(), |raw| raw.sample = 0.3), exchanges).await;
    assert_eq!(report.selected % 4, 0, "{report:?}");
    assert!(report.selected > 0 && report.left_out["sample"] > 0, "{report:?}");
}

#[tokio::test]
async fn passes_are_repeated_until_the_duration_is_over() {
    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let exchanges: Vec<_> = (0..5).map(|index| recorded(index, index)).collect();
    let report = run(plan(&target.url(), |raw| raw.loops = 3), exchanges.clone()).await;
    assert_eq!((report.selected, report.matched), (15, 15));

    // 200/s for a second are 200, whatever the recording says.
    let report = run(
        plan(&target.url(), |raw| {
            raw.arrival = "constant(200)".into();
            raw.loop_forever = true;
            raw.duration = Some(Duration::from_secs(1));
        }),
        exchanges.clone(),
    )
    .await;
    assert_eq!((report.selected, report.matched), (200, 200), "{report:?}");

    let report = run(
        plan(&target.url(), |raw| {
            raw.arrival = "max".into();
            raw.loop_forever = true;
            raw.max_in_flight = 4;
            raw.duration = Some(Duration::from_millis(200));
            raw.warm_up = Some(Duration::from_millis(100));
        }),
        exchanges,
    )
    .await;
    assert!(report.warm_up > 0 && report.matched > 0, "{report:?}");
    assert_eq!(report.not_sent.keys().collect::<Vec<_>>(), ["ended"], "{report:?}");
}

#[tokio::test]
async fn a_selection_without_a_request_ends_however_often_it_is_repeated() {
    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let mut refused = recorded(0, 0);
    refused.request.as_mut().unwrap().method = "DELETE".into();
    let forever = |raw: &mut RawPlan| {
        raw.loop_forever = true;
        raw.duration = Some(Duration::from_secs(3_600));
    };
    let report = run(plan(&target.url(), forever), vec![refused]).await;
    assert_eq!((report.selected, report.not_sent["method"]), (1, 1));
}

#[tokio::test]
async fn a_target_that_is_down_aborts_the_replay() {
    let (_socket, url) = target::closed_port();
    let exchanges = (0..3_000).map(|index| recorded(index, index * 10)).collect::<Vec<_>>();
    let (progress, _) = watch::channel(ReplayReport::default());
    let source = move || selection(exchanges.clone());
    let Outcome { report, end } =
        replay(plan(&url, |_| {}), source, progress, CancellationToken::new()).await;
    let End::Aborted(reason) = end else { panic!("{end:?}") };
    assert!(reason.starts_with("connect_failure_rate > 0.99: "), "{reason}");
    assert_eq!(report.aborted, reason);
    assert_balanced(&report, 0);
    assert!(report.not_sent["aborted"] > 0 && report.failed["connection_refused"] >= 20, "{report:?}");
}

#[tokio::test]
async fn production_is_not_sent_at() {
    let captured = || {
        let mut exchange = recorded(0, 0);
        exchange.namespace = "shop".into();
        exchange.destination = Some(tap_proto::v1::Endpoint { ip: "127.0.0.1".into(), ..Default::default() });
        vec![exchange]
    };
    let target = Target::start(|request: Request<Bytes>| async move { echo_path(&request) }).await;
    let report = run(plan(&target.url(), |_| {}), captured()).await;
    assert_eq!((report.sent, report.not_sent["production"]), (0, 1));
    let report = run(plan(&target.url(), |raw| raw.allow_namespaces = vec!["shop".into()]), captured()).await;
    assert_eq!(report.matched, 1);
}

#[tokio::test]
async fn https_targets_are_verified_by_the_given_authority_and_name() {
    let url = target::https(include_bytes!("tls/server.pem"), include_bytes!("tls/server.key")).await;
    let with = |tls: RawTls| plan(&url, |raw| raw.tls = tls);
    let exchanges = || (0..10).map(|index| recorded(index, 0)).collect::<Vec<_>>();
    let ca = include_bytes!("tls/ca.pem").to_vec();

    let trusted =
        RawTls { ca_certificates: ca.clone(), server_name: "shop.test".into(), ..RawTls::default() };
    let report = run(with(trusted), exchanges()).await;
    assert_eq!(report.matched, 10, "{report:?}");
    assert!(report.warnings.is_empty());

    let wrong_name = RawTls { ca_certificates: ca, ..RawTls::default() };
    let report = run(with(wrong_name), exchanges()).await;
    assert_eq!(report.failed["tls"], 10, "{report:?}");

    let report = run(with(RawTls { insecure: true, ..RawTls::default() }), exchanges()).await;
    assert_eq!(report.matched, 10, "{report:?}");
    assert_eq!(report.warnings.len(), 1, "insecure is never silent");
}

//! A mock over real sockets: what comes out byte by byte, broken connections included.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod served;

use std::{collections::BTreeMap, time::Duration};

use served::{Recipe, ask, get, post, raw, recorded};
use tap_proto::v1::{Completeness, Exchange, body::Content, completeness::State};
use tap_replay::mock::{Latency, Matching, Sequence, Session, Settings};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

#[tokio::test]
async fn a_recorded_response_is_framed_anew() {
    let mut exchange = recorded(
        1,
        "GET /rates?base=EUR",
        200,
        &[
            ("Content-Type", "application/json"),
            ("Content-Encoding", "gzip"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Date", "Tue, 14 Nov 2023 22:13:20 GMT"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
        ],
        r#"{"USD":1.1}"#,
    );
    exchange.response.as_mut().unwrap().body.as_mut().unwrap().decoded_from = "gzip".into();
    let served = Recipe::default().serve([exchange]).await;

    let (head, body) = get(served.address, "/rates?base=EUR").await;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert_eq!(body, r#"{"USD":1.1}"#);
    assert!(head.contains("\r\ncontent-length: 11\r\n"), "{head}");
    assert!(head.contains("podtap-mock: hit; id=00000000-0001; path=exact; body=equal"), "{head}");
    assert!(head.contains("set-cookie: a=1") && head.contains("set-cookie: b=2"), "{head}");
    for gone in ["content-encoding", "transfer-encoding", "x-hop", "keep-alive", "2023"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert!(head.contains("\r\ndate: "), "{head}");
}

#[tokio::test]
async fn messages_without_a_body_have_none() {
    let announced = &[("Content-Length", "1234"), ("ETag", "\"x\"")];
    let served = Recipe::default()
        .serve([
            recorded(1, "HEAD /big", 200, announced, ""),
            recorded(2, "GET /page", 200, &[], "hello"),
            recorded(3, "DELETE /cart", 204, &[], ""),
            recorded(4, "GET /cached", 304, announced, ""),
        ])
        .await;
    let asked =
        async |request: &str| ask(served.address, &format!("{request} HTTP/1.1\r\nHost: x\r\n")).await;

    let (head, body) = asked("HEAD /big").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 1234"), "{head}");
    assert_eq!(body, "");
    // Recorded as a GET.
    let (head, body) = asked("HEAD /page").await;
    assert!(head.contains("content-length: 5") && body.is_empty(), "{head}");
    for request in ["DELETE /cart", "GET /cached"] {
        let (head, body) = asked(request).await;
        assert!(head.starts_with("http/1.1 204") || head.starts_with("http/1.1 304"), "{head}");
        assert!(
            !head.contains("content-length: 1234") && !head.contains("chunked") && body.is_empty(),
            "{head}"
        );
    }
}

#[tokio::test]
async fn connections_are_kept_or_closed_as_the_client_says() {
    let served = Recipe::default().serve([recorded(1, "GET /", 200, &[], "hello")]).await;
    // Pipelined, and the last one says close.
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (received, ended) = raw(served.address, request).await;
    assert_eq!(received.matches("HTTP/1.1 200 OK").count(), 2, "{received}");
    assert!(ended);
    // HTTP/1.0 closes unless asked; what is no HTTP gets 400.
    let (received, _) = raw(served.address, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(received.starts_with("HTTP/1.0 200") && received.ends_with("hello"), "{received}");
    let (received, _) = raw(served.address, "\x16\x03\x01 nonsense\r\n\r\n").await;
    assert!(received.is_empty() || received.starts_with("HTTP/1.1 400"), "{received}");
    // As a proxy: the target is a URL.
    let (received, _) = raw(
        served.address,
        "GET http://pay.example/ HTTP/1.1\r\nHost: pay.example\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(received.ends_with("hello"), "{received}");
    assert_eq!(served.mock.statistics().hits, 4);
}

#[tokio::test]
async fn answers_come_in_their_order_for_each_session() {
    let job = |second, state: &str| recorded(second, "GET /job/1", 200, &[], state);
    let exchanges = || [job(3, "done"), job(1, "pending"), job(2, "running")];
    let states = async |recipe: Recipe, cookies: &[&str]| {
        let served = recipe.serve(exchanges()).await;
        let mut states = Vec::new();
        for cookie in cookies {
            let request = format!("GET /job/1 HTTP/1.1\r\nHost: x\r\nCookie: theme=dark; sid={cookie}\r\n");
            states.push(ask(served.address, &request).await.1);
        }
        served.mock.restart_sequences();
        states.push(get(served.address, "/job/1").await.1);
        states
    };
    let all = states(Recipe::default(), &["a", "b", "a", "a"]).await;
    assert_eq!(all, ["pending", "running", "done", "done", "pending"]);

    let settings = |session| Settings { session, ..Settings::default() };
    let of_cookie = Recipe { settings: settings(Session::Cookie("sid".into())), ..Recipe::default() };
    assert_eq!(
        states(of_cookie, &["a", "b", "a", "b"]).await[..4],
        ["pending", "pending", "running", "running"]
    );
    let of_connection = Recipe { settings: settings(Session::Connection), ..Recipe::default() };
    assert_eq!(states(of_connection, &["a", "a"]).await[..2], ["pending", "pending"]);
    let cycle = Settings { sequence: Sequence::Cycle, ..Settings::default() };
    let cycle = Recipe { settings: cycle, ..Recipe::default() };
    assert_eq!(states(cycle, &["a"; 4]).await[3], "pending");
}

#[tokio::test]
async fn a_miss_says_what_is_near_and_no_recorded_value() {
    let exchange = recorded(1, r#"POST /charges {"amount":100,"card":"s3cret"}"#, 201, JSON, "{}");
    let served = Recipe::default().serve([exchange]).await;
    let (head, body) = post(served.address, "/charges", r#"{"amount":200}"#).await;
    assert!(head.starts_with("http/1.1 404") && head.contains("podtap-mock: miss; reason=differs"), "{head}");
    let miss: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(miss["nearest"]["path"], "/charges");
    assert_eq!(miss["nearest"]["differences"][0]["place"], "body.$.amount");
    assert!(!body.contains("s3cret") && !body.contains("100"), "{body}");

    let (_, body) = get(served.address, "/elsewhere").await;
    assert!(body.contains("no_exchange"), "{body}");
    let large = "x".repeat(9 * 1024 * 1024);
    let (head, body) = post(served.address, "/charges", &large).await;
    assert!(head.starts_with("http/1.1 413") && body.contains("too_large"), "{head}");

    let statistics = served.mock.statistics();
    let misses = BTreeMap::from([("differs", 1), ("no_exchange", 1), ("too_large", 1)]);
    assert_eq!((statistics.requests, statistics.hits, statistics.misses.clone()), (3, 0, misses));
    assert_eq!((statistics.in_flight, statistics.never_served), (0, 1));
}

#[tokio::test]
async fn what_was_not_captured_whole_is_served_only_where_told() {
    let truncated = || {
        let mut exchange = recorded(1, "GET /big", 200, &[("Content-Length", "5000")], "the begi");
        exchange.response.as_mut().unwrap().completeness =
            Some(Completeness { state: State::Truncated.into(), ..Completeness::default() });
        exchange
    };
    let served = Recipe::default().serve([truncated()]).await;
    let (head, body) = get(served.address, "/big").await;
    assert!(head.contains("miss; reason=incomplete") && !body.contains("the begi"), "{head}");

    let settings = Settings { serve_incomplete: true, ..Settings::default() };
    let served = Recipe { settings, ..Recipe::default() }.serve([truncated()]).await;
    let (head, body) = get(served.address, "/big").await;
    assert_eq!(body, "the begi");
    assert!(head.contains("content-length: 8") && head.contains("; incomplete"), "{head}");
}

#[tokio::test]
async fn an_answer_takes_as_long_as_is_said() {
    let asked = async |latency| {
        let settings = Settings { latency, ..Settings::default() };
        let served =
            Recipe { settings, ..Recipe::default() }.serve([recorded(1, "GET /", 200, &[], "x")]).await;
        let begun = Instant::now();
        get(served.address, "/").await;
        begun.elapsed()
    };
    // Recorded: 50 ms.
    assert!(asked(Latency::Recorded(1.0)).await >= Duration::from_millis(50));
    assert!(asked(Latency::Recorded(4.0)).await >= Duration::from_millis(200));
    assert!(asked(Latency::Fixed(Duration::from_millis(30))).await >= Duration::from_millis(30));
}

#[tokio::test]
async fn faults_reach_the_client_and_are_counted() {
    let chaos = "
rules:
  - {name: error, when: 'request.path == \"/error\"', error: {status: 503, headers: {retry-after: '5'}, body: later}}
  - {name: close, when: 'request.path == \"/close\"', close: true}
  - {name: reset, when: 'request.path == \"/reset\"', reset: before}
  - {name: half, when: 'request.path == \"/half\"', reset: body}
  - {name: cut, when: 'request.path == \"/cut\" && response.status == 200', truncate: 3}
  - {name: wrong, when: 'request.path == \"/wrong\" && response.body.text.contains(\"01\")', corrupt: 1, content_type: text/plain}
";
    let paths = ["/error", "/close", "/reset", "/half", "/cut", "/wrong"];
    let exchanges = paths.map(|path| recorded(1, &format!("GET {path}"), 200, JSON, "0123456789"));
    let served = Recipe { chaos: Some(chaos), ..Recipe::default() }.serve(exchanges).await;
    let asked = async |path: &str| {
        raw(served.address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    };

    let (error, _) = asked("/error").await;
    assert!(error.starts_with("HTTP/1.1 503") && error.ends_with("later"), "{error}");
    assert!(
        error.to_ascii_lowercase().contains("retry-after: 5") && error.contains("; fault=error"),
        "{error}"
    );
    assert_eq!(asked("/close").await, (String::new(), true));
    assert_eq!(asked("/reset").await, (String::new(), false), "a reset is an error to who reads");
    let (half, ended) = asked("/half").await;
    assert!(half.is_empty() || half.to_ascii_lowercase().contains("content-length: 10"), "{half}");
    assert!(!half.ends_with("6789") && !ended, "{half}");
    let (cut, _) = asked("/cut").await;
    assert!(cut.to_ascii_lowercase().contains("content-length: 10") && cut.ends_with("\r\n\r\n012"), "{cut}");
    let (wrong, _) = asked("/wrong").await;
    assert!(wrong.to_ascii_lowercase().contains("content-type: text/plain"), "{wrong}");
    assert!(!wrong.ends_with("0123456789"), "{wrong}");

    let statistics = served.mock.statistics();
    let faults: Vec<_> =
        statistics.faults.iter().map(|fault| (fault.rule.as_str(), fault.kind, fault.count)).collect();
    assert_eq!(
        faults,
        [
            ("error", "error", 1),
            ("close", "close", 1),
            ("reset", "reset", 1),
            ("half", "reset", 1),
            ("cut", "truncate", 1),
            ("wrong", "corrupt", 1),
            ("wrong", "content_type", 1),
        ]
    );
    assert_eq!((statistics.hits, statistics.seed), (6, Some(7)));
}

#[tokio::test]
async fn the_same_seed_breaks_the_same_requests_however_they_come() {
    let chaos = "rules: [{name: some, probability: 0.3, error: {status: 503}}]";
    let run = async |concurrently: bool| {
        let exchanges = (0..40).map(|item| recorded(item, &format!("GET /items/x{item}y"), 200, &[], "x"));
        let served = Recipe { chaos: Some(chaos), ..Recipe::default() }.serve(exchanges).await;
        let ask = async |item: u32| {
            let (head, _) = get(served.address, &format!("/items/x{item}y")).await;
            (item, head.starts_with("http/1.1 503"))
        };
        let answers = if concurrently {
            futures::future::join_all((0..40).rev().map(ask)).await
        } else {
            let mut answers = Vec::new();
            for item in 0..40 {
                answers.push(ask(item).await);
            }
            answers
        };
        BTreeMap::from_iter(answers)
    };
    let (one, other) = (run(false).await, run(true).await);
    assert_eq!(one, other);
    let broken = one.values().filter(|broken| **broken).count();
    assert!((4..20).contains(&broken), "{broken}");
}

#[tokio::test]
async fn what_is_passed_through_is_recorded_and_answers_the_next_time() {
    let upstream = Recipe::default()
        .serve([recorded(1, r#"POST /charges {"amount":1}"#, 201, JSON, r#"{"id":"ch_1"}"#)])
        .await;
    let passing = || Recipe {
        upstreams: vec![format!("http://{}", upstream.address).parse().unwrap()],
        ..Recipe::default()
    };
    let mut served = passing().serve([]).await;
    let (head, body) = post(served.address, "/charges", r#"{"amount":1}"#).await;
    assert!(head.starts_with("http/1.1 201") && body == r#"{"id":"ch_1"}"#, "{head}");
    assert!(head.contains("podtap-mock: passthrough\r\n") && !head.contains("hit"), "{head}");
    let exchange: Exchange = served.recorded.recv().await.unwrap();
    let request = exchange.request.as_ref().unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/charges"));
    assert_eq!(request.host, upstream.address.to_string());
    let content = exchange.response.as_ref().unwrap().body.as_ref().unwrap().content.clone();
    assert_eq!(content, Some(Content::Text(r#"{"id":"ch_1"}"#.into())));
    // Without a body, too.
    let (head, _) = get(served.address, "/nothing").await;
    assert!(head.starts_with("http/1.1 404") && head.contains("podtap-mock: passthrough"), "{head}");
    assert!(served.recorded.recv().await.is_some());
    let statistics = served.mock.statistics();
    assert_eq!((statistics.passed_through, statistics.recorded, statistics.missed()), (2, 2, 0));

    let again = Recipe::default().serve([exchange]).await;
    let (head, body) = post(again.address, "/charges", r#"{"amount":1}"#).await;
    assert!(head.starts_with("http/1.1 201") && head.contains("podtap-mock: hit"), "{head}");
    assert_eq!(body, r#"{"id":"ch_1"}"#);

    // An upstream that is gone.
    let gone = passing();
    let address = upstream.address;
    drop(upstream);
    let served = gone.serve([]).await;
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let (head, _) = get(served.address, "/").await;
    assert!(head.starts_with("http/1.1 502") && head.contains("passthrough; failed=connect"), "{head}");
    assert_eq!(served.mock.statistics().not_passed_through, 1);
}

#[tokio::test]
async fn a_listener_can_be_a_host() {
    let mut stock = recorded(2, "GET /", 200, &[], "stock");
    stock.request.as_mut().unwrap().host = "stock.example:81".into();
    let exchanges = || [recorded(1, "GET /", 200, &[], "pay"), stock.clone()];
    let bound = Recipe { host: Some("stock.example".into()), ..Recipe::default() };
    assert_eq!(get(bound.serve(exchanges()).await.address, "/").await.1, "stock");
    let by_header = Recipe::default().serve(exchanges()).await;
    let of =
        async |host: &str| ask(by_header.address, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n")).await.1;
    assert_eq!((of("Stock.example").await, of("pay.example:8080").await), ("stock".into(), "pay".into()));
}

#[tokio::test]
async fn it_ends_when_the_answers_under_way_have() {
    let settings = Settings { latency: Latency::Fixed(Duration::from_millis(300)), ..Settings::default() };
    let mut served =
        Recipe { settings, ..Recipe::default() }.serve([recorded(1, "GET /", 200, &[], "whole")]).await;
    let mut under_way = TcpStream::connect(served.address).await.unwrap();
    under_way.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // One that says nothing does not keep it from ending.
    let _idle = TcpStream::connect(served.address).await.unwrap();
    while served.mock.statistics().requests == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    served.stop.cancel();
    let mut received = String::new();
    under_way.read_to_string(&mut received).await.unwrap();
    assert!(received.ends_with("whole"), "{received}");
    (&mut served.serving).await.unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn hostile_requests_are_answered_or_cut_off_and_nothing_else_happens() {
    let matching = Matching { headers: vec!["x-tenant".parse().unwrap()], ..Matching::default() };
    let served = Recipe { matching, ..Recipe::default() }
        .serve([recorded(1, r#"POST /pay {"a":{"b":[1,2]}}"#, 200, JSON, "x")])
        .await;
    let deep = "[".repeat(200_000);
    post(served.address, "/pay", &deep).await;
    post(served.address, "/pay", &format!("{{\"a\":{}", "{\"a\":".repeat(50_000))).await;
    post(served.address, &format!("/{}", "a/".repeat(20_000)), "{}").await;
    post(served.address, &format!("/pay?{}", "a=b&".repeat(20_000)), "{}").await;
    get(served.address, "/%ff%00%0d%0a?%ff=%zz").await;
    let (refused, _) =
        raw(served.address, &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(600_000))).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
    raw(served.address, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    raw(served.address, "CONNECT x:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let (head, _) = get(served.address, "/pay").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    let statistics = served.mock.statistics();
    assert_eq!(statistics.hits, 0);
    assert_eq!(statistics.requests, statistics.missed());
}

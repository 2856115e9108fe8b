//! Mirrors: what is chosen, how it is sent, and that counts add up whatever the target does.
//!
//! Targets are real sockets. Nothing sleeps to let something happen: every wait is for a condition.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tap_proto::v1::{
    self, Completeness, Endpoint, Exchange, Header, MirrorReport, Request, Response, Role, body::Content,
    completeness::State,
};
use tap_replay::mirror::{
    By, Mirror, PassedOver, Rules, Scope, Settings,
    pace::{Bucket, Playout},
    queue::{MAX_WAITING, MAX_WAITING_BYTES, Queue},
    share::{AsStored, share},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

/// Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(50);

fn complete() -> Option<Completeness> {
    Some(Completeness { state: State::Complete.into(), ..Completeness::default() })
}

/// A GET that a server received just now and answered with `hello`.
fn exchange(path: &str, headers: &[(&str, &str)]) -> Exchange {
    let header = |&(name, value): &(&str, &str)| Header {
        name: name.into(),
        value: value.into(),
        ..Header::default()
    };
    let body = v1::Body { content: Some(Content::Text("hello".into())), size: 5, ..v1::Body::default() };
    Exchange {
        id: "019aa6b2-5b3e-7c41-9d0e-6f1a2b3c4d5e".into(),
        role: Role::Inbound.into(),
        time: Some(SystemTime::now().into()),
        source: Some(Endpoint { ip: "10.0.0.2".into(), port: 40_000, ..Endpoint::default() }),
        request: Some(Request {
            method: "GET".into(),
            host: "shop.example:8080".into(),
            path: path.into(),
            headers: [("Host", "Shop.example:8080")].iter().chain(headers).map(header).collect(),
            completeness: complete(),
            ..Request::default()
        }),
        response: Some(Response {
            status: 200,
            body: Some(body),
            completeness: complete(),
            ..Response::default()
        }),
        ..Exchange::default()
    }
}

fn rules(yaml: &str) -> Result<Rules, Vec<String>> {
    let settings: Settings = serde_yaml_ng::from_str(yaml).unwrap();
    Rules::new(&settings, None, "m1")
        .map_err(|errors| errors.iter().map(|error| error.field.to_owned()).collect())
}

#[test]
fn settings_have_defaults_that_do_no_harm() {
    let rules = rules("{target: 'http://v2'}").unwrap();
    assert_eq!(rules.select(&exchange("/", &[])), Ok(()));
    let mut post = exchange("/", &[]);
    post.request.as_mut().unwrap().method = "POST".into();
    assert_eq!(rules.select(&post), Err(PassedOver::Method));
    let outbound = Exchange { role: Role::Outbound.into(), ..exchange("/", &[]) };
    assert_eq!(rules.select(&outbound), Err(PassedOver::Role), "or what both ends captured is sent twice");
}

#[test]
fn all_errors_are_reported_together() {
    let fields = rules(
        "{target: 'ftp://v2', percent: 101, hosts: ['a b'], prefixes: [cart], filter: 'request.paht == 1', \
         methods: [CONNECT], keep_host: true, shadow_host: true, max_rate: 0, max_in_flight: 0, timeout: 2h, max_lag: x}",
    )
    .unwrap_err();
    assert_eq!(
        fields,
        [
            "percent",
            "hosts",
            "prefixes",
            "filter",
            "methods",
            "shadow_host",
            "max_rate",
            "max_in_flight",
            "timeout",
            "max_lag",
            "target"
        ]
    );
    assert_eq!(rules("{target: 'http://v2', rewrite: /}").unwrap_err(), ["rewrite"]);
    assert_eq!(rules("{target: 'http://v2', by: header}").unwrap_err(), ["header"]);
    assert!(serde_yaml_ng::from_str::<Settings>("{target: 'http://v2', tarpit: 1}").is_err());
}

#[test]
fn hosts_and_prefixes_choose_as_in_a_gateway() {
    let rules = rules(
        "{target: 'http://v2', hosts: [SHOP.example], prefixes: [/cart, /cart/old/], filter: 'response.status == 200'}",
    )
    .unwrap();
    assert_eq!(rules.select(&exchange("/cart/1", &[])), Ok(()));
    assert_eq!(rules.select(&exchange("/car", &[])), Err(PassedOver::Path));
    for (host, is) in
        [("shop.example", true), ("shop.example.evil", false), ("shop.example:x", false), ("", false)]
    {
        let mut other = exchange("/cart", &[]);
        other.request.as_mut().unwrap().host = host.into();
        assert_eq!(rules.select(&other).is_ok(), is, "{host}");
    }
    let mut failed = exchange("/cart", &[]);
    failed.response.as_mut().unwrap().status = 500;
    assert_eq!(rules.select(&failed), Err(PassedOver::Filter));
}

#[test]
fn a_policys_mirror_sees_what_the_policy_keeps() {
    let scope = Scope { namespace: "shop".into(), policy: "cart".into() };
    let rules = Rules::new(&Settings::at("http://v2"), Some(scope), "m1").unwrap();
    let of = |namespace: &str, mirrors: &[&str]| Exchange {
        namespace: namespace.into(),
        mirrors: mirrors.iter().map(|&name| name.to_owned()).collect(),
        ..exchange("/", &[])
    };
    assert!(rules.considers(&of("shop", &["other", "cart"])));
    assert!(!rules.considers(&of("shop", &["other"])));
    assert!(!rules.considers(&of("bank", &["cart"])), "a policy of that name in another namespace");
}

#[test]
fn the_share_is_that_of_the_documented_vectors() {
    // docs/policies.md: from which percentage on each of the keys is kept.
    let traced = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    for (by, header, headers, threshold) in [
        (By::Connection, None, &[][..], 65.6581),
        (By::TraceId, None, &[traced][..], 39.2628),
        (By::TraceId, None, &[("x-b3-traceid", "no id")][..], 65.6581),
        (By::Header, Some("X-Session"), &[("x-session", "session-1")][..], 2.1321),
    ] {
        let has = |percent| share(percent, by, header).unwrap().has(&AsStored(&exchange("/", headers)));
        assert!(has(threshold), "{by:?}");
        assert!(!has(threshold - 0.0001), "{by:?}");
        assert!(has(100.0) && !has(0.0));
    }
}

#[test]
fn the_delay_is_the_longest_way_of_late() {
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    let start = s(1_800_000_000);
    let mut playout = Playout::default();
    // A batch of a second's worth came at once: its first exchange had the longest way.
    assert_eq!(playout.wait(start - ms(1_000), start), ms(0));
    assert_eq!(playout.wait(start - ms(400), start), ms(600));
    assert_eq!(playout.wait(start, start), ms(1_000));
    // A clock ahead is no reason to wait longer.
    assert_eq!(playout.wait(start + s(3_600), start), ms(1_000));
    // A backlog is not waited for, and makes nothing else wait.
    assert_eq!(playout.wait(start - s(600), start), ms(0));
    assert_eq!(playout.wait(start, start), ms(1_000));
    // The long way is forgotten.
    let later = start + s(30);
    assert_eq!(playout.wait(later - ms(50), later), ms(0));
    assert_eq!(playout.wait(later, later), ms(50));
    // A clock that was set back.
    assert_eq!(playout.wait(start, start), ms(0));
}

#[test]
fn a_bucket_lets_its_rate_through_and_no_more() {
    let start = Duration::from_secs(1_800_000_000);
    let mut bucket = Bucket::new(10.0, start);
    let taken = (0..1_000).filter(|step| bucket.take(start + Duration::from_millis(10 * step))).count();
    // Ten seconds, and what the bucket held at first.
    assert!((108..=110).contains(&taken), "{taken}");
    let mut slow = Bucket::new(0.5, start);
    let taken = [0, 1, 2, 3, 4].map(|second| slow.take(start + Duration::from_secs(second)));
    assert_eq!(taken, [true, false, true, false, true]);
    // A clock that was set back gives nothing.
    assert!(!slow.take(start));
}

#[test]
fn a_queue_is_bounded_twice_and_ordered_by_time() {
    let now = Instant::now();
    let at = |ms| now + Duration::from_millis(ms);
    let mut queue = Queue::default();
    for (due, item) in [(3, "c"), (1, "a"), (2, "b"), (1, "a2")] {
        queue.push(at(due), 1, item).unwrap();
    }
    assert_eq!(queue.pop(now), None, "before its time");
    let order: Vec<_> = std::iter::from_fn(|| queue.pop(at(3))).collect();
    assert_eq!(order, ["a", "a2", "b", "c"]);

    queue.push(at(1), MAX_WAITING_BYTES, "large").unwrap();
    assert_eq!(queue.push(at(1), 1, "more"), Err("more"));
    assert_eq!(queue.clear(), 1);
    for _ in 0..MAX_WAITING {
        queue.push(at(1), 0, "small").unwrap();
    }
    assert_eq!(queue.push(at(1), 0, "more"), Err("more"));
}

/// What a target saw: heads, as they came.
type Seen = Arc<Mutex<Vec<String>>>;

/// Reads one request's head after another; what comes of each is `answer`'s to say.
async fn target<F, A>(answer: F) -> (SocketAddr, Seen)
where
    F: Fn(TcpStream) -> A + Clone + Send + 'static,
    A: Future<Output = Option<TcpStream>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let heads = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (heads, answer) = (Arc::clone(&heads), answer.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        heads.lock().unwrap().push(String::from_utf8(std::mem::take(&mut head)).unwrap());
                        match answer(stream).await {
                            Some(open) => stream = open,
                            None => return,
                        }
                    }
                }
            });
        }
    });
    (address, seen)
}

async fn good() -> (SocketAddr, Seen) {
    target(|mut stream: TcpStream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.ok()?;
        Some(stream)
    })
    .await
}

fn start(yaml: &str) -> Mirror {
    Mirror::start(rules(yaml).unwrap(), &TaskTracker::new())
}

/// Every sum of mirror.proto.
fn check(report: &MirrorReport, compares: bool) {
    let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    assert_eq!(report.considered, report.selected + sum(&report.passed_over), "{report:?}");
    assert_eq!(report.selected, report.sent + report.waiting + sum(&report.not_sent), "{report:?}");
    assert_eq!(report.sent, report.answered + report.in_flight + sum(&report.failed), "{report:?}");
    if compares {
        let missing = report.not_compared.get("response_missing").copied().unwrap_or_default();
        assert_eq!(report.answered, report.matched + report.differed + missing, "{report:?}");
    }
}

async fn until(mirror: &Mirror, what: &str, condition: impl Fn(&MirrorReport) -> bool) -> MirrorReport {
    let waited = timeout(PATIENCE, async {
        loop {
            let report = mirror.report();
            check(&report, false);
            if condition(&report) {
                return report;
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} did not happen: {:?}", mirror.report()))
}

#[tokio::test]
async fn what_is_offered_reaches_the_shadow_marked_and_is_compared() {
    let (address, seen) = good().await;
    let mirror = start(&format!(
        "{{target: 'http://{address}/base', prefixes: [/cart/], rewrite: /new/, shadow_host: true, compare: true}}"
    ));
    let mut other = exchange("/cart/2", &[]);
    other.response.as_mut().unwrap().status = 201;
    for exchange in [exchange("/cart/1", &[("X-Kept", "yes")]), other, exchange("/", &[])] {
        mirror.offer(&exchange);
    }
    mirror.offer(&exchange("/cart/3", &[("podtap-replay", "another")]));
    let report = until(&mirror, "two answers", |report| report.answered == 2).await;
    check(&report, true);
    assert_eq!((report.considered, report.passed_over["path"], report.not_sent["replayed"]), (4, 1, 1));
    assert_eq!((report.matched, report.differed, report.mismatched["status"]), (1, 1, 1));
    assert_eq!(report.lag.unwrap().count, 2);
    let endpoints = mirror.full_report().endpoints;
    let field = endpoints.iter().flat_map(|endpoint| &endpoint.fields).find(|field| field.field == "status");
    assert_eq!(field.unwrap().differences, 1);
    let heads = seen.lock().unwrap().clone();
    let first = heads.iter().find(|head| head.starts_with("GET /base/new/1 HTTP/1.1\r\n")).unwrap();
    assert!(first.contains("\r\nHost: Shop.example-shadow:8080\r\n"), "{first}");
    assert!(first.contains("\r\nPodtap-Replay: m1\r\n"), "{first}");
    assert!(first.contains("\r\nX-Kept: yes\r\n"), "{first}");
}

#[tokio::test]
async fn a_target_that_is_away_resets_or_answers_garbage_is_counted() {
    let (closed, _) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), ())
    };
    let (garbage, _) = target(|mut stream: TcpStream| async move {
        stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await.ok()?;
        Some(stream)
    })
    .await;
    let (cut, _) = target(|mut stream: TcpStream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello").await.ok()?;
        None
    })
    .await;
    let (reset, _) = target(|stream: TcpStream| async move {
        stream.set_zero_linger().unwrap();
        None
    })
    .await;
    for (address, reason) in [
        (closed, "connection_refused"),
        (garbage, "invalid_response"),
        (cut, "incomplete_response"),
        (reset, "connection_reset"),
    ] {
        let mirror = start(&format!("{{target: 'http://{address}', compare: true, methods: [POST]}}"));
        let mut post = exchange("/", &[]);
        post.request.as_mut().unwrap().method = "POST".into();
        (0..20).for_each(|_| mirror.offer(&post));
        let report = until(&mirror, reason, |report| report.failed.values().sum::<u64>() == 20).await;
        check(&report, true);
        assert_eq!(report.failed.get(reason), Some(&20), "{report:?}");
        assert_eq!((mirror.of_late().failed, mirror.of_late().failure), (20, Some(reason)));
    }
}

#[tokio::test]
async fn a_slow_target_costs_the_mirror_its_own_and_nobody_time() {
    let (address, _) = target(|stream: TcpStream| async move {
        std::future::pending::<()>().await;
        Some(stream)
    })
    .await;
    let mirror = start(&format!("{{target: 'http://{address}', max_in_flight: 2, timeout: 100ms}}"));
    let offered = MAX_WAITING as u64 + 500;
    let same = exchange("/", &[]);
    // None of this waits: an offer is no future.
    (0..offered).for_each(|_| mirror.offer(&same));
    let report = mirror.report();
    check(&report, false);
    assert_eq!((report.considered, report.not_sent["queue_full"]), (offered, 500), "{report:?}");
    until(&mirror, "a timeout", |report| report.failed.contains_key("timeout")).await;
    mirror.stop();
    let report = until(&mirror, "the end", |report| report.waiting == 0 && report.in_flight == 0).await;
    assert!(report.not_sent["stopped"] > 0);
    mirror.offer(&same);
    check(&mirror.report(), false);
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_not_sent() {
    let (address, _) = good().await;
    let mirror = start(&format!("{{target: 'http://{address}', max_lag: 10s, max_rate: 3}}"));
    let old = SystemTime::now() - Duration::from_secs(60);
    mirror.offer(&Exchange { time: Some(old.into()), ..exchange("/", &[]) });
    (0..50).for_each(|_| mirror.offer(&exchange("/", &[])));
    let report = until(&mirror, "the end", |report| report.waiting == 0 && report.in_flight == 0).await;
    assert_eq!(report.not_sent["stale"], 1);
    assert_eq!(mirror.of_late().dropped, 1, "what is above the rate is left out as was wanted");
    // Three at once, and what the bucket gained while they were sent.
    assert!(report.sent >= 3 && report.not_sent["rate"] >= 40, "{report:?}");
}

//! How much of a bare `serde_json` pass over the same bytes does redaction cost, on one core, with the standard profile?
//!
//! The pass reads the JSON and builds nothing (`IgnoredAny`). Redaction goes through a whole exchange whose body, or
//! headers, are the bytes. What is no JSON stands beside the pass over as many bytes of clean JSON. Rounds of both alternate,
//! the pass on both sides; medians, the pass's own spread and the ratio of throughputs are printed. Times are of this
//! thread on a processor, so that a busy machine does not stretch them.
//!
//! `cargo bench -p tap-redact [-- PART OF A NAME]`; benches/README.md has figures.

#![expect(clippy::print_stdout, reason = "prints its result")]

use std::{fmt::Write as _, fs, hint::black_box, net::SocketAddr, time::Duration};

use bytes::Bytes;
use nix::time::{ClockId, clock_gettime};
use serde::de::IgnoredAny;
use tap_flow::{
    Body, CgroupId, Completeness, Exchange, FlowKey, Headers, Request, Response, Role, Span, TapId, Version,
};
use tap_redact::{Key, Redactor, Settings};

const ROUNDS: usize = 15;

/// Of bytes for each round, about.
const ROUND_BYTES: usize = 8 << 20;

/// Of a body: the agent's default for what is kept of one.
const BODY_BYTES: usize = 64 << 10;

struct Scenario {
    name: &'static str,
    media: &'static str,
    content: String,
    /// The content is header fields, not a body.
    headers: bool,
}

fn scenarios() -> Vec<Scenario> {
    let body = |name, media, content: String| Scenario { name, media, content, headers: false };
    vec![
        body("clean JSON", "application/json", json(clean_item, BODY_BYTES)),
        body("clean JSON, 1 KiB", "application/json", json(clean_item, 800)),
        body("dirty JSON", "application/json", json(dirty_item, BODY_BYTES)),
        body("JSON of the corpus", "application/json", corpus("orders.json")),
        body("form", "application/x-www-form-urlencoded", form()),
        body("text: log", "text/plain", corpus("application.log")),
        body("text: HTML", "text/html", corpus("page.html")),
        Scenario { name: "headers", media: "", content: headers(), headers: true },
    ]
}

/// A catalogue, as a shop's API answers: nothing to redact.
fn clean_item(index: usize) -> String {
    format!(
        r#"{{"id":{index},"sku":"AB-{:04}-M","title":"Walnut desk with two drawers","description":"Solid wood, oiled; 120 x 60 cm, ships in 3 to 5 days","price":{}.99,"currency":"EUR","in_stock":true,"rating":4.{},"tags":["office","wood","new"],"updated":"2026-11-21T14:05:{:02}Z","links":{{"self":"/api/v2/products/{index}"}}}}"#,
        index % 10_000,
        index % 900,
        index % 10,
        index % 60
    )
}

/// Customers: half of the values are to be replaced.
fn dirty_item(index: usize) -> String {
    format!(
        r#"{{"id":{index},"email":"user{index}@mail.example.org","first_name":"Ada","last_name":"Lovelace","phone":"+49 30 23125{:03}","card":"4111111111111111","note":"call me at +1 (212) 555-0{:03} or write to a{index}@example.net","address":{{"street":"Main Street {}","zip":"{:05}","city":"Berlin"}},"token":"Zx81kq{index}","status":"open","total":{}.50}}"#,
        index % 1000,
        100 + index % 100,
        index % 90,
        index % 100_000,
        index % 500
    )
}

fn json(item: fn(usize) -> String, bytes: usize) -> String {
    let mut text = String::from("[");
    let mut index = 0;
    while text.len() < bytes {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&item(index));
        index += 1;
    }
    text + "]"
}

fn form() -> String {
    let mut text = String::new();
    let mut index = 0;
    while text.len() < BODY_BYTES {
        let _ =
            write!(text, "item{index}=walnut+desk&quantity{index}={}&colour{index}=dark%20brown&", index % 9);
        index += 1;
    }
    text + "email=ada%40example.org"
}

fn corpus(name: &str) -> String {
    let path = format!("{}/vectors/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap_or_default()
}

fn headers() -> String {
    "Host: shop.example\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\n\
     Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\nAccept-Language: en-US,en;q=0.5\n\
     Accept-Encoding: gzip, deflate, br, zstd\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\n\
     If-None-Match: \"5d8c72a5edda8d6a\"\nReferer: https://shop.example/products?page=2\nConnection: keep-alive\n\
     X-Request-Id: 6fa459ea-ee8a-4ca4-894e-db77e160355e\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\
     Upgrade-Insecure-Requests: 1\nPriority: u=0, i"
        .to_owned()
}

fn exchange(scenario: &Scenario) -> Exchange {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let mut headers = Headers::default();
    let mut body = Body::default();
    if scenario.headers {
        headers.extend(scenario.content.lines().filter_map(|line| line.split_once(": ")));
    } else {
        headers.push("Content-Type", scenario.media);
        let content = Bytes::copy_from_slice(scenario.content.as_bytes());
        body = Body { size: content.len() as u64, content, ..Body::default() };
    }
    Exchange {
        flow: FlowKey { tap: TapId(1), local: address, remote: address },
        cgroup: CgroupId(1),
        flow_serial: 1,
        index: 0,
        role: Role::Inbound,
        request: Some(Request {
            method: Bytes::from_static(b"POST"),
            target: Bytes::from_static(b"/api/v2/products"),
            version: Version::Http11,
            headers,
            body,
            trailers: Headers::default(),
            completeness: Completeness::Complete,
            span: Span::default(),
        }),
        response: Some(Response {
            status: 204,
            reason: Bytes::from_static(b"No Content"),
            version: Version::Http11,
            headers: Headers::default(),
            body: Body::default(),
            trailers: Headers::default(),
            completeness: Completeness::Complete,
            span: Span::default(),
            interim: Vec::new(),
        }),
        wire_bytes: 0,
    }
}

/// Seconds for one round of the bare pass.
fn pass(json: &str, times: usize) -> f64 {
    let started = seconds();
    for _ in 0..times {
        assert!(serde_json::from_str::<IgnoredAny>(black_box(json)).is_ok());
    }
    seconds() - started
}

/// Seconds for one round of redaction.
fn redaction(redactor: &Redactor, exchange: &Exchange, times: usize) -> f64 {
    let started = seconds();
    for _ in 0..times {
        // Bodies are shared, not copied.
        black_box(redactor.redact(black_box(exchange.clone())));
    }
    seconds() - started
}

/// Time on a processor of this thread, in seconds: a busy machine stretches the wall clock.
fn seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every kernel has this clock");
    Duration::from(time).as_secs_f64()
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    println!("scenario             serde_json  serde_json  redaction   ratio  (MiB/s; ratio of throughputs)");
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let Ok(key) = Key::new(b"a key for benchmarks only") else { return };
    let Ok(redactor) = Redactor::new(&Settings::default(), key) else { return };
    let clean = json(clean_item, BODY_BYTES);
    for scenario in scenarios().into_iter().filter(|scenario| scenario.name.contains(&only)) {
        let times = ROUND_BYTES.div_ceil(scenario.content.len().max(1));
        let is_json = scenario.media == "application/json";
        let baseline = if is_json { &scenario.content } else { &clean };
        let baseline_times = ROUND_BYTES.div_ceil(baseline.len());
        let exchange = exchange(&scenario);
        let (mut before, mut after, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            before.push(pass(baseline, baseline_times));
            ours.push(redaction(&redactor, &exchange, times));
            after.push(pass(baseline, baseline_times));
        }
        let rate = |seconds: Vec<f64>, bytes: usize, times: usize| {
            (bytes * times) as f64 / (1 << 20) as f64 / median(seconds)
        };
        let before = rate(before, baseline.len(), baseline_times);
        let after = rate(after, baseline.len(), baseline_times);
        let ours = rate(ours, scenario.content.len(), times);
        println!(
            "{:20} {before:10.0}  {after:10.0}  {ours:9.0}   {:5.2}",
            scenario.name,
            ours / ((before + after) / 2.0)
        );
    }
}

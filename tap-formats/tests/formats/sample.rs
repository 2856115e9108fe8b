//! Stored exchanges, and what of them has to come back.

use proptest::prelude::*;
use tap_flow::{Completeness, Exchange, Header, Headers};
use tap_formats::{Imported, Item, Sink};
use tap_proto::v1::{self, body::Content, completeness::State};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// 2026-11-21T09:00:00Z.
pub(crate) const START: u64 = 1_795_251_600 * SECOND;

pub(crate) fn complete() -> Option<v1::Completeness> {
    Some(v1::Completeness { state: State::Complete.into(), ..v1::Completeness::default() })
}

pub(crate) fn header(name: &str, value: &str) -> v1::Header {
    v1::Header { name: name.into(), value: value.into(), raw_value: Vec::new() }
}

pub(crate) fn text(text: &str) -> Option<v1::Body> {
    binary(text.as_bytes())
}

pub(crate) fn binary(bytes: &[u8]) -> Option<v1::Body> {
    let content = match std::str::from_utf8(bytes) {
        Ok(text) => Content::Text(text.to_owned()),
        Err(_) => Content::Binary(bytes.to_vec().into()),
    };
    (!bytes.is_empty()).then(|| v1::Body {
        content: Some(content),
        size: bytes.len() as u64,
        ..v1::Body::default()
    })
}

/// The `index`th exchange of a flow: a POST a second after the one before, answered after 2 ms.
pub(crate) fn exchange(flow: u64, index: u32) -> v1::Exchange {
    let start = START + u64::from(index) * SECOND + flow * 1_000;
    v1::Exchange {
        id: format!("019aa6b2-5b3e-7c41-9d0e-{flow:06x}{index:06x}"),
        role: v1::Role::Inbound.into(),
        time: Some(prost_types::Timestamp {
            seconds: (start / SECOND) as i64,
            nanos: (start % SECOND) as i32,
        }),
        timing: Some(v1::Timing {
            clock: "CLOCK_BOOTTIME".into(),
            request_start_ns: 7,
            request_end_ns: 1_000_007,
            response_start_ns: 2_000_007,
            response_end_ns: 3_000_007,
        }),
        target: "shop".into(),
        namespace: "prod".into(),
        workload: "Deployment/shop".into(),
        labels: [("app".to_owned(), "shop".to_owned())].into(),
        source: Some(v1::Endpoint {
            ip: "10.0.0.9".into(),
            port: 40_000 + flow as u32,
            ..v1::Endpoint::default()
        }),
        destination: Some(v1::Endpoint { ip: "10.0.0.1".into(), port: 8080, ..v1::Endpoint::default() }),
        flow,
        flow_index: index,
        request: Some(v1::Request {
            method: "POST".into(),
            scheme: "http".into(),
            host: "shop.example:8080".into(),
            path: format!("/cart/{index}"),
            query: "a=b&c=d%20e".into(),
            version: "HTTP/1.1".into(),
            headers: vec![
                header("Host", "shop.example:8080"),
                header("Content-Type", "application/json"),
                header("Content-Length", "9"),
            ],
            body: text("{\"n\": 12}"),
            completeness: complete(),
            ..v1::Request::default()
        }),
        response: Some(v1::Response {
            status: 201,
            reason: "Created".into(),
            version: "HTTP/1.1".into(),
            headers: vec![header("Content-Type", "text/plain"), header("Content-Length", "5")],
            body: text("done\n"),
            completeness: complete(),
            ..v1::Response::default()
        }),
        wire_bytes: 321,
        ..v1::Exchange::default()
    }
}

/// Exchanges that every format can hold, one after the other on their flows.
pub(crate) fn exchanges() -> impl Strategy<Value = Vec<v1::Exchange>> {
    let one = (
        0..3_u64,
        prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "HEAD"]),
        "/[a-z0-9/._~%-]{0,20}",
        "([a-z]{1,4}=[a-z0-9%+]{0,6}(&[a-z]{1,3}=x){0,2})?",
        fields(),
        body(),
        prop::sample::select(vec![200_u32, 204, 304, 404, 500]),
        "[A-Za-z]{1,8}( [A-Za-z]{1,8})?",
        (fields(), body()),
    );
    prop::collection::vec(one, 1..6).prop_map(|parts| {
        let mut exchanges = Vec::new();
        for (index, (flow, method, path, query, headers, content, status, reason, answer)) in (0..).zip(parts)
        {
            let mut exchange = exchange(flow, index);
            let request = exchange.request.as_mut().unwrap();
            (request.method, request.path, request.query) = (method.into(), path, query);
            request.headers = headers;
            request.headers.insert(0, header("Host", "shop.example:8080"));
            request.body = if matches!(method, "GET" | "HEAD") { None } else { binary(&content) };
            let response = exchange.response.as_mut().unwrap();
            (response.status, response.reason) = (status, reason);
            response.headers = answer.0;
            response.body =
                if method == "HEAD" || matches!(status, 204 | 304) { None } else { binary(&answer.1) };
            exchanges.push(exchange);
        }
        // On its flow, each has its position.
        let mut next = [0; 3];
        for exchange in &mut exchanges {
            exchange.flow_index = next[exchange.flow as usize];
            next[exchange.flow as usize] += 1;
        }
        exchanges
    })
}

fn fields() -> impl Strategy<Value = Vec<v1::Header>> {
    let name = prop::sample::select(vec!["Accept", "X-A", "x-b", "Cookie", "Content-Type", "X-A"]);
    let value = "([!-~]([ -~]{0,12}[!-~])?)?".prop_map(String::from);
    prop::collection::vec((name, value).prop_map(|(name, value)| header(name, &value)), 0..5)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        "[ -~\\n\\r\\t'\"\\\\]{1,60}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 1..60),
        prop::collection::vec(any::<u8>(), 3_000..5_000),
    ]
}

/// What an exchange says, without how its bodies were framed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Essence {
    pub(crate) start: Vec<String>,
    pub(crate) headers: Vec<Vec<(String, Vec<u8>)>>,
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) complete: Vec<bool>,
}

pub(crate) fn essence(exchange: &Exchange) -> Essence {
    let mut essence =
        Essence { start: Vec::new(), headers: Vec::new(), bodies: Vec::new(), complete: Vec::new() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some(request) = &exchange.request {
        essence.start.push(text(&request.method));
        essence.start.push(text(&request.target));
        essence.headers.push(without_framing(&request.headers));
        essence.bodies.push(request.body.content.to_vec());
        essence.complete.push(request.completeness == Completeness::Complete);
    }
    if let Some(response) = &exchange.response {
        essence.start.push(format!("{} {}", response.status, text(&response.reason)));
        essence.headers.push(without_framing(&response.headers));
        essence.bodies.push(response.body.content.to_vec());
        essence.complete.push(response.completeness == Completeness::Complete);
    }
    essence
}

fn without_framing(headers: &Headers) -> Vec<(String, Vec<u8>)> {
    let field =
        |Header { name, value }: Header<'_>| (String::from_utf8_lossy(name).into_owned(), value.to_vec());
    let is_framing = |name: &str| {
        name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
    };
    headers.iter().map(field).filter(|(name, _)| !is_framing(name)).collect()
}

/// All that a reader gives: exchanges, and why records were skipped.
pub(crate) fn items<E>(
    read: impl FnOnce(&mut Sink<'_>) -> Result<(), E>,
) -> Result<(Vec<Imported>, Vec<&'static str>), E> {
    let (mut exchanges, mut skipped) = (Vec::new(), Vec::new());
    read(&mut |item| {
        match item {
            Item::Exchange(imported) => exchanges.push(imported),
            Item::Skipped(word) => skipped.push(word),
        }
        std::ops::ControlFlow::Continue(())
    })?;
    Ok((exchanges, skipped))
}

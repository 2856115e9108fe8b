//! A day of a shop's traffic: exchanges with answers of about 1 KiB of JSON, spread evenly.

use prost_types::{Duration, Timestamp};
use rand::{RngExt, rngs::StdRng};
use tap_proto::v1::{
    Body, Completeness, Endpoint, Exchange, Header, Request, Response, Role, Timing, body::Content,
    completeness::State,
};

/// 2026-01-02 00:00:00 UTC.
pub(crate) const START: u64 = 1_767_312_000;
pub(crate) const DAY: u64 = 24 * 60 * 60;

const WORDS: [&str; 24] = [
    "walnut", "desk", "oiled", "drawer", "lamp", "brass", "linen", "chair", "oak", "steel", "shelf", "matte",
    "cable", "glass", "round", "small", "garden", "bench", "pine", "soft", "cushion", "blue", "white",
    "folding",
];

/// The `number`th of `count` exchanges.
pub(crate) fn exchange(number: u64, count: u64, random: &mut StdRng) -> Exchange {
    let micros = START * 1_000_000 + number * (DAY * 1_000_000) / count;
    let workload = random.random_range(0..12_u32);
    let pod = workload * 8 + random.random_range(0..4_u32);
    let item = random.random_range(0..200_000_u32);
    let (method, path) = match random.random_range(0..100_u32) {
        0..45 => ("GET", format!("/api/v2/products/{item}")),
        45..65 => ("GET", format!("/api/v2/search/{}", word(random))),
        65..80 => ("POST", format!("/cart/{item}/items")),
        80..90 => ("GET", format!("/cart/{item}")),
        90..97 => ("GET", "/health".to_owned()),
        _ => ("DELETE", format!("/users/{item}/sessions/{}", random.random::<u32>())),
    };
    let status = match random.random_range(0..1000_u32) {
        0..12 => 500,
        12..60 => 404,
        _ => 200,
    };
    let duration = random.random_range(400_000..90_000_000_i32);
    let request_body =
        (method == "POST").then(|| format!(r#"{{"product":{item},"quantity":{}}}"#, item % 7 + 1));
    Exchange {
        id: uuid::Uuid::from_u128(
            u128::from(micros / 1000) << 80 | 0x7 << 76 | 0x2 << 62 | (random.random::<u128>() >> 66),
        )
        .to_string(),
        role: Role::Inbound.into(),
        time: Some(Timestamp {
            seconds: (micros / 1_000_000) as i64,
            nanos: (micros % 1_000_000) as i32 * 1000 + random.random_range(0..1000),
        }),
        duration: Some(Duration { seconds: 0, nanos: duration }),
        timing: Some(Timing {
            clock: "monotonic".to_owned(),
            request_start_ns: micros * 1000,
            request_end_ns: micros * 1000 + 40_000,
            response_start_ns: micros * 1000 + duration as u64 - 30_000,
            response_end_ns: micros * 1000 + duration as u64,
        }),
        target: format!("shop-{}/w{workload}-{pod}", workload % 4),
        node: format!("node-{}", pod % 5),
        namespace: format!("shop-{}", workload % 4),
        workload: format!("Deployment/w{workload}"),
        pod: format!("w{workload}-{pod}"),
        pod_uid: uuid::Uuid::from_u128(u128::from(pod) * 0x9e37_79b9_7f4a_7c15_f39c).to_string(),
        container: "app".to_owned(),
        labels: [("app".to_owned(), format!("w{workload}"))].into(),
        source: Some(Endpoint {
            ip: format!("10.1.{}.{}", pod % 16, random.random_range(1..250_u32)),
            port: random.random_range(32_768..61_000),
            namespace: "edge".to_owned(),
            service: "gateway".to_owned(),
            workload: "Deployment/gateway".to_owned(),
            ..Endpoint::default()
        }),
        destination: Some(Endpoint { ip: format!("10.2.0.{pod}"), port: 8080, ..Endpoint::default() }),
        flow: random.random_range(0..5000),
        flow_index: random.random_range(0..100),
        request: Some(Request {
            method: method.to_owned(),
            scheme: "http".to_owned(),
            host: format!("w{workload}.shop.example:8080"),
            path,
            query: if item % 3 == 0 { format!("page={}", item % 9) } else { String::new() },
            version: "HTTP/1.1".to_owned(),
            headers: headers(&[
                ("Host", format!("w{workload}.shop.example:8080")),
                (
                    "User-Agent",
                    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".to_owned(),
                ),
                ("Accept", "application/json".to_owned()),
                ("Authorization", format!("Bearer tok_{:032x}", random.random::<u128>())),
                (
                    "Traceparent",
                    format!("00-{:032x}-{:016x}-01", random.random::<u128>(), random.random::<u64>()),
                ),
            ]),
            body: request_body.map(text),
            completeness: complete(),
            ..Request::default()
        }),
        response: Some(Response {
            status,
            reason: if status == 200 { "OK" } else { "Error" }.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: headers(&[
                ("Content-Type", "application/json; charset=utf-8".to_owned()),
                (
                    "Date",
                    format!(
                        "Fri, 02 Jan 2026 {:02}:{:02}:{:02} GMT",
                        micros / 3_600_000_000 % 24,
                        micros / 60_000_000 % 60,
                        micros / 1_000_000 % 60
                    ),
                ),
                ("X-Request-Id", format!("{:016x}", random.random::<u64>())),
            ]),
            body: Some(text(answer(number, random))),
            completeness: complete(),
            ..Response::default()
        }),
        wire_bytes: 1700,
        redaction_key: "k1".to_owned(),
        ..Exchange::default()
    }
}

/// 1 KiB of JSON, more or less. One in a thousand has a warning of `W47`.
fn answer(number: u64, random: &mut StdRng) -> String {
    let mut json = String::with_capacity(1100);
    json.push_str("{\"items\":[");
    while json.len() < 900 {
        if json.len() > 10 {
            json.push(',');
        }
        let item = format!(
            r#"{{"id":{},"sku":"{:08X}","title":"{} {} {}","price":{}.{:02},"currency":"EUR","stock":{},"seller":"{}@{}.example"}}"#,
            random.random_range(0..1_000_000_u32),
            random.random::<u32>(),
            word(random),
            word(random),
            word(random),
            random.random_range(1..400_u32),
            random.random_range(0..100_u32),
            random.random_range(0..50_u32),
            word(random),
            word(random),
        );
        json.push_str(&item);
    }
    let warning = if number.is_multiple_of(1000) { "W47" } else { "W10" };
    json.push_str(&format!("],\"warning\":\"{warning}{:03}\"}}", random.random_range(0..1000_u32)));
    json
}

fn word(random: &mut StdRng) -> &'static str {
    WORDS[random.random_range(0..WORDS.len())]
}

fn headers(fields: &[(&str, String)]) -> Vec<Header> {
    let field = |(name, value): &(&str, String)| Header {
        name: (*name).to_owned(),
        value: value.clone(),
        raw_value: Vec::new(),
    };
    fields.iter().map(field).collect()
}

fn text(text: String) -> Body {
    Body { size: text.len() as u64, content: Some(Content::Text(text)), ..Body::default() }
}

fn complete() -> Option<Completeness> {
    Some(Completeness { state: State::Complete.into(), ..Completeness::default() })
}

//! Every request to nginx is one exchange, as it was.

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    sync::Barrier,
    thread,
    time::SystemTime,
};

use podtap_tests::{Agent, Cgroup, Nginx};
use tap_proto::v1::{Body, Exchange, Header, body::Content, completeness::State};

use crate::{
    client::{Totals, line},
    rig::{Rig, lines},
    traffic::{connect, curl, exchange, run, text},
};

/// The agent's default: of a body, this much is kept.
const BODY_CAP: usize = 64 << 10;

/// What a client of nginx caused, without what nginx caused as a client of itself.
const OUTER: &str = r#"role == "inbound" && request.path != "/inner""#;

fn values<'a>(headers: &'a [Header], name: &str) -> Vec<&'a str> {
    headers.iter().filter(|header| header.name == name).map(|header| header.value.as_str()).collect()
}

fn text_of(body: Option<&Body>) -> &str {
    match body.and_then(|body| body.content.as_ref()) {
        Some(Content::Text(text)) => text,
        Some(Content::Binary(bytes)) => panic!("{} binary bytes", bytes.len()),
        None => "",
    }
}

fn assert_complete(exchange: &Exchange) {
    let request = exchange.request.as_ref().unwrap().completeness.as_ref().unwrap().state();
    let response = exchange.response.as_ref().unwrap().completeness.as_ref().unwrap().state();
    assert_eq!((request, response), (State::Complete, State::Complete), "{exchange:#?}");
}

fn assert_nothing_lost_before_assembly(totals: &Totals) {
    // But for what nobody needs.
    let is_loss =
        |name: &str| name.starts_with("ring/") || name.starts_with("kernel/") && name != "kernel/body_cap";
    let lost = totals.losses.keys().find(|name| is_loss(name));
    assert_eq!(lost, None, "{totals:#?}");
}

#[test]
fn curls_requests_are_exchanges_in_their_order() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("nginx").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    nginx.put("page.html", "<p>hello</p>").unwrap();
    nginx.put("page.txt", text(5000)).unwrap();
    let agent = rig.tap(&cgroup);

    let before = SystemTime::now();
    let url = |path: &str| nginx.url(path);
    curl(&["-H", "X-One: 1", "-H", "x-two: 2", "-H", "X-One: 3", &url("/files/page.html?a=1&b=2")]);
    curl(&["-d", r#"{"name": "widget"}"#, "-H", "Content-Type: application/json", &url("/upload")]);
    curl(&["-d", "colour=blue&size=9", &url("/json")]);
    curl(&[
        "-X",
        "PUT",
        "-H",
        "Transfer-Encoding: chunked",
        "-H",
        "Content-Type: text/plain",
        "-d",
        "chunk",
        &url("/upload"),
    ]);
    curl(&["--compressed", &url("/files/page.txt")]);
    curl(&["-I", &url("/files/page.txt")]);
    curl(&[&url("/status/204")]);
    curl(&["-z", "Mon, 01 Jan 2035 00:00:00 GMT", &url("/files/page.txt")]);
    curl(&[&url("/missing")]);
    curl(&[&url("/status/500")]);
    curl(&[
        "-H",
        "Expect: 100-continue",
        "-H",
        "Content-Type: text/plain",
        "-d",
        &text(2000),
        &url("/upload"),
    ]);
    curl(&["-X", "DELETE", &nginx.url_v6("/json")]);
    let after = SystemTime::now();

    let exchanges = rig.stored(OUTER, 12);
    let expected = [
        "GET /files/page.html?a=1&b=2 200",
        "POST /upload 200",
        "POST /json 200",
        "PUT /upload 200",
        "GET /files/page.txt 200",
        "HEAD /files/page.txt 200",
        "GET /status/204 204",
        "GET /files/page.txt 304",
        "GET /missing 404",
        "GET /status/500 500",
        "POST /upload 200",
        "DELETE /json 200",
    ];
    assert_eq!(lines(&exchanges), expected);
    for exchange in &exchanges {
        assert_complete(exchange);
        assert_eq!(exchange.target, "web");
        let [source, destination] =
            [&exchange.source, &exchange.destination].map(|end| end.as_ref().unwrap());
        assert_eq!(destination.port, u32::from(nginx.port()));
        assert_ne!(source.port, destination.port);
        assert_eq!(destination.ip, if line(exchange).starts_with("DELETE") { "::1" } else { "127.0.0.1" });
        let time = SystemTime::try_from(exchange.time.unwrap()).unwrap();
        assert!(before <= time && time <= after, "{before:?} {time:?} {after:?}");
        let timing = exchange.timing.as_ref().unwrap();
        assert!(timing.request_start_ns <= timing.request_end_ns, "{timing:?}");
        assert!(timing.request_start_ns <= timing.response_start_ns, "{timing:?}");
        assert!(timing.response_start_ns <= timing.response_end_ns, "{timing:?}");
    }
    // One by its id is what it was among all.
    assert_eq!(rig.client.get(&exchanges[3].id).unwrap(), exchanges[3]);
    let other = exchanges[3].id.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(rig.client.get(&other).unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(rig.client.get("no-such-id").unwrap_err().code(), tonic::Code::InvalidArgument);

    let request = |index: usize| exchanges[index].request.as_ref().unwrap();
    let response = |index: usize| exchanges[index].response.as_ref().unwrap();

    let names: Vec<_> = request(0).headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(names, ["Host", "User-Agent", "Accept", "X-One", "x-two", "X-One"]);
    assert_eq!(values(&request(0).headers, "X-One"), ["1", "3"]);
    assert_eq!(request(0).host, nginx.address().to_string());
    assert_eq!(text_of(response(0).body.as_ref()), "<p>hello</p>");
    assert_eq!(values(&response(0).headers, "Content-Length"), ["12"]);

    let json: serde_json::Value = serde_json::from_str(text_of(request(1).body.as_ref())).unwrap();
    assert_eq!(json["name"], "widget");
    assert_eq!(text_of(request(2).body.as_ref()), "colour=blue&size=9");
    assert_eq!(text_of(request(3).body.as_ref()), "chunk");
    assert_eq!(request(3).body.as_ref().unwrap().size, 5);

    let compressed = response(4).body.as_ref().unwrap();
    assert_eq!(compressed.decoded_from, "gzip");
    assert_eq!(text_of(Some(compressed)), text(5000));
    assert!(compressed.size < 5000, "{}", compressed.size);
    assert_eq!(text_of(response(5).body.as_ref()), "");
    assert_eq!(values(&response(5).headers, "Content-Length"), ["5000"]);

    assert_eq!(response(10).interim_statuses, [100]);
    assert_eq!(text_of(request(10).body.as_ref()), text(2000));

    // What nginx asked of itself is there from both ends.
    rig.stored(r#"request.path == "/inner" && role == "inbound""#, 3);
    rig.stored(r#"request.path == "/inner" && role == "outbound""#, 3);
    let totals = rig.settle(agent);
    assert_eq!(totals.stored.exchanges, 12 + 3 + 3);
    assert_nothing_lost_before_assembly(&totals);
}

#[test]
fn bodies_of_all_sizes_keep_their_true_size() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("bodies").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    // Holds everything at once: the machine may leave the agent no CPU while the bodies pass.
    let options = rig.agent().target("web", &cgroup).settings("rings: {count: 1, bytes: 128MiB}");
    let agent = Agent::start(&options).unwrap();

    let sizes = [0, 1, 1000, BODY_CAP - 1, BODY_CAP, BODY_CAP + 1, 1 << 20, 10 << 20];
    for size in sizes {
        let name = format!("{size}.txt");
        nginx.put(&name, text(size)).unwrap();
        assert_eq!(curl(&[&nginx.url(&format!("/files/{name}"))]).len(), size);
        let file = rig.directory.path().join(&name);
        std::fs::write(&file, text(size)).unwrap();
        let body = format!("@{}", file.display());
        curl(&[
            "-H",
            "Content-Type: text/plain",
            "--data-binary",
            &body,
            &nginx.url(&format!("/upload?{size}")),
        ]);
    }

    let exchanges = rig.stored(OUTER, 2 * sizes.len());
    for (pair, size) in exchanges.chunks(2).zip(sizes) {
        let [download, upload] = pair else { unreachable!() };
        assert_eq!(line(download), format!("GET /files/{size}.txt 200"));
        assert_eq!(line(upload), format!("POST /upload?{size} 200"));
        let response = download.response.as_ref().unwrap();
        let request = upload.request.as_ref().unwrap();
        for (body, completeness) in
            [(&response.body, &response.completeness), (&request.body, &request.completeness)]
        {
            let completeness = completeness.as_ref().unwrap();
            assert_eq!(body.as_ref().map_or(0, |body| body.size), size as u64);
            if size <= BODY_CAP {
                assert_eq!(text_of(body.as_ref()), text(size), "{size}");
                assert_eq!(completeness.state(), State::Complete, "{size}: {completeness:?}");
            } else {
                // Redaction does not pass what it can't read to its end.
                let body = body.as_ref().unwrap();
                assert_eq!((&body.content, body.dropped.as_str()), (&None, "truncated"), "{size}");
                assert_eq!(completeness.state(), State::Truncated, "{size}");
                assert_eq!(completeness.bytes, (size - BODY_CAP) as u64);
                assert_eq!(completeness.cause, "body_cap");
            }
        }
    }
    let totals = rig.settle(agent);
    assert_nothing_lost_before_assembly(&totals);
}

#[test]
fn pipelined_requests_are_paired_in_their_order() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("pipelined").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);

    let mut requests = String::new();
    for number in 0..50 {
        let close = if number == 49 { "Connection: close\r\n" } else { "" };
        match number % 3 {
            0 => requests += &format!("GET /json?{number} HTTP/1.1\r\nHost: a\r\n{close}\r\n"),
            1 => requests += &format!("HEAD /missing?{number} HTTP/1.1\r\nHost: a\r\n{close}\r\n"),
            _ => {
                requests += &format!(
                    "POST /json?{number} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n{close}\r\nabc"
                )
            }
        }
    }
    // In pieces that end anywhere.
    let mut stream = connect(nginx.address());
    for piece in requests.as_bytes().chunks(97) {
        stream.write_all(piece).unwrap();
    }
    stream.read_to_end(&mut Vec::new()).unwrap();

    let exchanges = rig.stored(OUTER, 50);
    for (number, exchange) in exchanges.iter().enumerate() {
        assert_complete(exchange);
        let expected = match number % 3 {
            0 => format!("GET /json?{number} 200"),
            1 => format!("HEAD /missing?{number} 404"),
            _ => format!("POST /json?{number} 200"),
        };
        assert_eq!(line(exchange), expected);
        assert_eq!(exchange.flow_index, number as u32);
        assert_eq!(exchange.flow, exchanges[0].flow);
    }
    rig.settle(agent);
}

#[test]
fn two_hundred_connections_at_once() {
    const CONNECTIONS: usize = 200;
    const REQUESTS: usize = 5;
    let rig = Rig::new();
    let cgroup = Cgroup::create("many").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);

    let all_connected = Barrier::new(CONNECTIONS);
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (all_connected, address) = (&all_connected, nginx.address());
            scope.spawn(move || {
                let mut stream = connect(address);
                all_connected.wait();
                for number in 0..REQUESTS {
                    let close = if number + 1 == REQUESTS { "close" } else { "keep-alive" };
                    write!(
                        stream,
                        "GET /status/204?{connection}-{number} HTTP/1.1\r\nHost: a\r\nConnection: {close}\r\n\r\n"
                    )
                    .unwrap();
                    if number + 1 < REQUESTS {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            let mut byte = [0];
                            stream.read_exact(&mut byte).unwrap();
                            head.push(byte[0]);
                        }
                    }
                }
                stream.read_to_end(&mut Vec::new()).unwrap();
            });
        }
    });

    let exchanges = rig.stored(OUTER, CONNECTIONS * REQUESTS);
    exchanges.iter().for_each(assert_complete);
    let got: HashSet<_> = lines(&exchanges).into_iter().collect();
    let sent: HashSet<_> = (0..CONNECTIONS)
        .flat_map(|connection| {
            (0..REQUESTS).map(move |number| format!("GET /status/204?{connection}-{number} 204"))
        })
        .collect();
    assert_eq!(got, sent);
    let flows: HashSet<_> = exchanges.iter().map(|exchange| exchange.flow).collect();
    assert_eq!(flows.len(), CONNECTIONS);
    let totals = rig.settle(agent);
    assert_eq!(totals.stored.exchanges, (CONNECTIONS * REQUESTS) as u64);
    // TCP itself may have sent something twice.
    let lost: Vec<_> = totals.losses.keys().filter(|name| *name != "assembly/duplicate").collect();
    assert!(lost.is_empty(), "{totals:#?}");
}

#[test]
fn wrks_requests_are_exchanges_or_named_losses() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("wrk").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let options = rig.agent().target("web", &cgroup).settings("rings: {count: 1, bytes: 64MiB}");
    let agent = Agent::start(&options).unwrap();

    run("wrk", &["-t1", "-c8", "-d1s", &nginx.url("/json")]);
    // wrk closes in the middle of its last requests; nginx writes the lines of those a moment later.
    exchange(nginx.address(), b"GET /missing HTTP/1.0\r\n\r\n");

    let totals = rig.settle(agent);
    let served = nginx.requests().iter().filter(|request| request.starts_with("200 ")).count();
    assert!(served > 100, "wrk has hardly run");
    let answered = rig.client.summaries("response.status == 200").unwrap().len();
    if totals.lost.bytes == 0 {
        assert_eq!(answered, served, "{totals:#?}");
    } else {
        assert!(answered <= served, "{answered} of {served}: {totals:#?}");
    }
}

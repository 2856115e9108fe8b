//! Archives: what others write is read, what is written is as the format says.

use serde_json::{Value, json};
use tap_flow::Completeness;
use tap_formats::{Fit, Imported, ReadError, Unfit, har};
use tap_proto::v1::{self, completeness::State};

use crate::sample::{SECOND, START, binary, exchange, header, items, text};

fn written(exchanges: &[v1::Exchange]) -> Value {
    let mut writer = har::Writer::new(Vec::new());
    for exchange in exchanges {
        assert_eq!(writer.write(exchange).unwrap(), Fit::Whole);
    }
    serde_json::from_slice(&writer.finish().unwrap()).unwrap()
}

fn read(har: &Value) -> (Vec<Imported>, Vec<&'static str>) {
    items(|sink| har::read(har.to_string().as_bytes(), sink)).unwrap()
}

/// As Chromium's developer tools save it.
fn chromium() -> Value {
    json!({"log": {
        "version": "1.2", "creator": {"name": "WebInspector", "version": "537.36"},
        "pages": [{"startedDateTime": "2026-11-21T09:00:00.000Z", "id": "page_1", "title": "x", "pageTimings": {}}],
        "entries": [
            {
                "_initiator": {"type": "script", "stack": {"callFrames": [{"functionName": "f"}]}},
                "_priority": "High", "_resourceType": "fetch", "cache": {}, "connection": "1180", "pageref": "page_1",
                "request": {
                    "method": "POST", "url": "https://ada:pw@Shop.Example/api/cart?x=1&y#top", "httpVersion": "h2",
                    "headers": [
                        {"name": ":authority", "value": "shop.example"}, {"name": ":method", "value": "POST"},
                        {"name": ":path", "value": "/api/cart?x=1&y"}, {"name": ":scheme", "value": "https"},
                        {"name": "content-type", "value": "application/json"}, {"name": "x-n", "value": ""},
                    ],
                    "queryString": [{"name": "x", "value": "1"}, {"name": "y", "value": ""}],
                    "cookies": [], "headersSize": -1, "bodySize": 9,
                    "postData": {"mimeType": "application/json", "text": "{\"n\": 12}"},
                },
                "response": {
                    "status": 200, "statusText": "", "httpVersion": "h2",
                    "headers": [{"name": "content-encoding", "value": "br"}, {"name": "content-type", "value": "image/png"}],
                    "cookies": [], "content": {"size": 3, "mimeType": "image/png", "text": "iVD/", "encoding": "base64"},
                    "redirectURL": "", "headersSize": -1, "bodySize": -1, "_transferSize": 77, "_error": null,
                },
                "serverIPAddress": "[2001:db8::1]", "startedDateTime": "2026-11-21T09:00:00.250Z", "time": 12.5,
                "timings": {"blocked": 1.5, "dns": -1, "ssl": -1, "connect": -1, "send": 0.5, "wait": 10, "receive": 0.5, "_blocked_queueing": 1.0},
            },
            {
                "request": {"method": "GET", "url": "http://shop.example", "headers": []},
                "response": {"status": 0, "statusText": "", "headers": [], "content": {"size": 0, "mimeType": "x-unknown"}, "_error": "net::ERR_ABORTED"},
                "startedDateTime": "2026-11-21T10:00:01+01:00", "connection": "1180",
            },
            {"request": {"method": "GET", "url": "data:text/plain,hi"}, "response": {"status": 200}},
            {"request": {"method": "GET", "url": "wss://shop.example/live"}, "response": {"status": 101}},
            {"response": {"status": 200}},
            {"request": {"method": "GET", "url": "http://a/"}, "response": {"status": 200, "content": {"text": "%", "encoding": "base64"}}},
            {
                "request": {"method": "POST", "url": "http://a/f", "postData": {"mimeType": "application/x-www-form-urlencoded",
                    "params": [{"name": "a b", "value": "c&d"}, {"name": "e", "value": ""}]}},
                // Saved without content.
                "response": {"status": 200, "content": {"size": 1234, "mimeType": "text/html"}, "bodySize": null},
                "startedDateTime": "2026-11-21T09:00:02Z",
            },
        ],
    }})
}

#[test]
fn what_browsers_save_is_read() {
    let (read, skipped) = read(&chromium());
    assert_eq!(skipped, ["not_http", "not_http", "no_request", "bad_base64"]);
    assert_eq!(read.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 2, 7]);

    let (first, request) = (&read[0].exchange, read[0].exchange.request.as_ref().unwrap());
    let parts = request.parts();
    assert_eq!((parts.scheme.as_str(), parts.host.as_str()), ("https", "shop.example"));
    assert_eq!((parts.path.as_ref(), parts.query.as_ref()), ("/api/cart", "x=1&y"));
    assert!(!request.target.windows(2).any(|window| window == b"pw"), "who asked is no part of the target");
    let names: Vec<_> =
        request.headers.iter().map(|it| String::from_utf8_lossy(it.name).into_owned()).collect();
    assert_eq!(names, ["content-type", "x-n"], "what HTTP/2 says beside the fields is in the start line");
    assert_eq!(request.body.content.as_ref(), b"{\"n\": 12}");
    let about = read[0].about.as_ref().unwrap();
    assert_eq!((about.request_version, about.response_version), ("HTTP/2", "HTTP/2"));
    // After the 1.5 ms for which it was blocked.
    assert_eq!(request.span.start, START + 251_500_000);
    assert_eq!(request.span.end, request.span.start + 500_000);
    let response = first.response.as_ref().unwrap();
    assert_eq!(response.span.start, request.span.end + 10_000_000);
    assert_eq!(response.body.content.as_ref(), b"\x89P\xff");
    assert_eq!(response.body.decoded_from.as_ref(), b"br");
    assert_eq!(first.flow.local.to_string(), "[2001:db8::1]:443");

    let second = &read[1].exchange;
    assert!(second.response.is_none());
    assert_eq!(second.start(), START + SECOND, "a time with an offset");
    assert_eq!((second.flow_serial, second.index), (first.flow_serial, 1), "one connection");

    let form = &read[2].exchange;
    assert_eq!(form.request.as_ref().unwrap().body.content.as_ref(), b"a+b=c%26d&e=");
    let response = form.response.as_ref().unwrap();
    assert_eq!(
        response.completeness,
        Completeness::Truncated { bytes: 1_234, cause: tap_flow::Cause::CaptureEnded }
    );
    assert_eq!(
        response.headers.get("content-type"),
        Some(&b"text/html"[..]),
        "the type that the archive gives"
    );
}

#[test]
fn an_entry_is_as_the_format_says() {
    let mut exchange = exchange(3, 0);
    let request = exchange.request.as_mut().unwrap();
    request.headers.push(header("Cookie", "sid=abc; theme=dark"));
    let response = exchange.response.as_mut().unwrap();
    response
        .headers
        .push(header("Set-Cookie", "sid=def; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT"));
    response.headers.push(header("Location", "/cart/new"));
    response.headers.push(header("Content-Encoding", "gzip"));
    let body = response.body.as_mut().unwrap();
    (body.decoded_from, body.size) = ("gzip".into(), 30);
    let har = written(&[exchange]);
    assert_eq!((&har["log"]["version"], &har["log"]["creator"]["name"]), (&json!("1.2"), &json!("Podtap")));
    let entry = &har["log"]["entries"][0];
    assert_eq!(entry["startedDateTime"], "2026-11-21T09:00:00.000003Z");
    assert_eq!(
        entry["timings"],
        json!({"blocked": -1.0, "dns": -1.0, "connect": -1.0, "ssl": -1.0, "send": 1.0, "wait": 1.0, "receive": 1.0})
    );
    assert_eq!(
        (&entry["time"], &entry["cache"], &entry["connection"]),
        (&json!(3.0), &json!({}), &json!("3"))
    );
    assert_eq!(entry["serverIPAddress"], "10.0.0.1");
    let request = &entry["request"];
    assert_eq!(request["url"], "http://shop.example:8080/cart/0?a=b&c=d%20e");
    assert_eq!(request["queryString"], json!([{"name": "a", "value": "b"}, {"name": "c", "value": "d e"}]));
    assert_eq!(
        request["cookies"],
        json!([{"name": "sid", "value": "abc"}, {"name": "theme", "value": "dark"}])
    );
    assert_eq!(request["postData"], json!({"mimeType": "application/json", "text": "{\"n\": 12}"}));
    assert_eq!(request["bodySize"], 9);
    let head = "POST /cart/0?a=b&c=d%20e HTTP/1.1\r\nHost: shop.example:8080\r\nContent-Type: application/json\r\n\
        Content-Length: 9\r\nCookie: sid=abc; theme=dark\r\n\r\n";
    assert_eq!(request["headersSize"], head.len());
    let response = &entry["response"];
    assert_eq!(
        response["cookies"],
        json!([{"name": "sid", "value": "def", "path": "/", "expires": "2026-10-21T07:28:00Z", "httpOnly": true, "secure": false}])
    );
    assert_eq!(
        response["content"],
        json!({"size": 5, "compression": -25, "mimeType": "text/plain", "text": "done\n"})
    );
    assert_eq!((&response["redirectURL"], &response["bodySize"]), (&json!("/cart/new"), &json!(30)));
    let rest = &entry["_exchange"];
    assert_eq!((&rest["namespace"], &rest["workload"]), (&json!("prod"), &json!("Deployment/shop")));
    assert!(rest["request"].get("headers").is_none() && rest["response"]["body"].get("text").is_none());
}

#[test]
fn what_an_archive_has_no_place_for_is_beside_it() {
    let mut cut = exchange(1, 0);
    let request = cut.request.as_mut().unwrap();
    request.body = binary(b"\x00\xff");
    request.trailers = vec![header("X-Sum", "1")];
    let raw =
        v1::Header { name: "X-Raw".into(), value: "caf\u{fffd}".into(), raw_value: b"caf\xe9".to_vec() };
    request.headers.push(raw.clone());
    let response = cut.response.as_mut().unwrap();
    response.interim_statuses = vec![103];
    response.completeness = Some(v1::Completeness {
        state: State::Truncated.into(),
        bytes: 7,
        cause: "body_cap".into(),
        ..v1::Completeness::default()
    });
    response.body.as_mut().unwrap().size = 12;
    let mut dropped = exchange(1, 1);
    let body = dropped.response.as_mut().unwrap().body.as_mut().unwrap();
    (body.content, body.dropped) = (None, "opaque".into());
    let unanswered = v1::Exchange { response: None, ..exchange(1, 2) };

    let har = written(&[cut.clone(), dropped.clone(), unanswered.clone()]);
    let entries = &har["log"]["entries"];
    // No reader takes the Base64 for the body.
    assert_eq!(entries[0]["request"]["postData"], json!({"mimeType": "application/json", "_base64": "AP8="}));
    assert_eq!(entries[0]["comment"], "the response is not complete");
    assert_eq!(entries[1]["response"]["content"]["comment"], "dropped: opaque");
    assert_eq!(
        (&entries[2]["response"]["status"], &entries[2]["comment"]),
        (&json!(0), &json!("no response was captured"))
    );

    let (read, _) = read(&har);
    for (read, stored) in read.into_iter().zip([cut, dropped, unanswered]) {
        let expected = tap_formats::stored::imported(read.number, stored);
        assert_eq!(read.exchange, expected.exchange);
        assert_eq!(read.about, expected.about);
    }
}

#[test]
fn a_response_alone_is_left_out() {
    let mut writer = har::Writer::new(Vec::new());
    let alone = v1::Exchange { request: None, ..exchange(1, 0) };
    assert_eq!(writer.write(&alone).unwrap(), Fit::Not(Unfit::NoRequest));
    let har: Value = serde_json::from_slice(&writer.finish().unwrap()).unwrap();
    assert_eq!(har["log"]["entries"], json!([]));
}

#[test]
fn nothing_in_an_archive_can_harm_a_terminal() {
    let mut hostile = exchange(1, 0);
    hostile.request.as_mut().unwrap().body = text("\u{1b}]0;x\u{7}\u{9b}31m\u{202e}");
    let mut writer = har::Writer::new(Vec::new());
    writer.write(&hostile).unwrap();
    let har = String::from_utf8(writer.finish().unwrap()).unwrap();
    assert!(!har.chars().any(|it| it != '\n' && tap_formats::terminal::is_unsafe(it)));
}

#[test]
fn errors_say_where_and_nothing_of_what_is_there() {
    let error =
        |har: &str| har::read(har.as_bytes(), &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err();
    for (har, place) in [
        ("{\"log\":{\"entries\":[\n{\"secret\":}]}}", "line 2"),
        ("{\"log\":{\"entries\":\"s3cret\"}}", "line 1"),
        ("{\"log\":{\"entries\":[{\"a\":1},", "line 1"),
        ("[\"s3cret\"]", "line 1"),
        ("{}", "line 1"),
        ("{\"log\":{}}", "line 1"),
    ] {
        let error = error(har);
        assert!(matches!(error, ReadError::Malformed { .. }), "{error:?}");
        let told = error.to_string();
        assert!(told.starts_with(place) && !told.contains("secret") && !told.contains("s3cret"), "{told}");
    }
    let stopped = har::read(chromium().to_string().as_bytes(), &mut |_| std::ops::ControlFlow::Break(()));
    assert!(matches!(stopped, Err(ReadError::Stopped)));
}

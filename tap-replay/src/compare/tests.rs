//! Whole comparisons: a recorded exchange, an answer in chunks, a report.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tap_proto::v1::{
    self, Body, Completeness, EndpointComparison, Header, Redaction, Request, Response, body::Content,
    completeness::State,
};

use super::*;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const PLAIN: &[(&str, &str)] = &[("content-type", "text/plain")];

fn recorded(content_type: &str, body: &[u8], state: State) -> Exchange {
    let content = match std::str::from_utf8(body) {
        Ok(text) => Content::Text(text.to_owned()),
        Err(_) => Content::Binary(body.to_vec().into()),
    };
    Exchange {
        id: "x1".into(),
        request: Some(Request { method: "GET".into(), path: "/items/42".into(), ..Request::default() }),
        response: Some(Response {
            status: 200,
            headers: vec![Header {
                name: "Content-Type".into(),
                value: content_type.into(),
                ..Header::default()
            }],
            body: Some(Body { content: Some(content), size: body.len() as u64, ..Body::default() }),
            completeness: Some(Completeness { state: state.into(), ..Completeness::default() }),
            ..Response::default()
        }),
        ..Exchange::default()
    }
}

fn comparator(yaml: &str) -> Arc<Comparator> {
    Arc::new(Comparator::parse(yaml).unwrap())
}

fn begin(
    comparator: &Arc<Comparator>,
    exchange: &Exchange,
    status: u16,
    headers: &[(&str, &str)],
    chunks: &[&[u8]],
) -> Comparison {
    let headers = || headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let mut comparison = comparator.expect(&Arc::new(exchange.clone())).begin_with(status, headers);
    chunks.iter().for_each(|chunk| comparison.chunk(chunk));
    comparison
}

fn answer(
    comparator: &Arc<Comparator>,
    exchange: &Exchange,
    status: u16,
    headers: &[(&str, &str)],
    chunks: &[&[u8]],
) -> Verdict {
    begin(comparator, exchange, status, headers, chunks).finish(std::time::Duration::from_millis(1))
}

fn report(comparator: &Comparator) -> ReplayReport {
    let mut report = ReplayReport::default();
    comparator.fill(&mut report);
    report
}

/// The fields in which two documents differ, with their kinds, and the report.
fn fields(yaml: &str, left: &str, right: &str) -> (Vec<String>, ReplayReport) {
    let comparator = comparator(yaml);
    answer(
        &comparator,
        &recorded("application/json", left.as_bytes(), State::Complete),
        200,
        JSON,
        &[right.as_bytes()],
    );
    let report = report(&comparator);
    let rows = report.endpoints[0].fields.iter();
    let rows = rows.map(|row| format!("{} {}", row.field, row.kinds.keys().next().unwrap())).collect();
    (rows, report)
}

fn differs(differences: &[&'static str]) -> Verdict {
    Verdict { differences: differences.to_vec(), not_compared: None }
}

#[test]
fn an_equal_answer_matches_however_it_is_cut() {
    let exchange = recorded("text/plain", b"hello", State::Complete);
    for chunks in [&[&b"hello"[..]][..], &[b"he", b"", b"llo"], &[b"h", b"e", b"l", b"l", b"o"]] {
        assert_eq!(answer(&comparator(""), &exchange, 200, PLAIN, chunks), differs(&[]));
    }
}

#[test]
fn every_difference_is_named_once() {
    let exchange = recorded("text/plain", b"hello", State::Complete);
    let compare =
        |status, headers, chunks: &[&[u8]]| answer(&comparator(""), &exchange, status, headers, chunks);
    assert_eq!(compare(404, PLAIN, &[b"hello"]), differs(&["status"]));
    assert_eq!(compare(200, &[], &[b"hello"]), differs(&["header.content-type"]));
    for chunks in [&[&b"hell"[..]][..], &[b"hello", b"!"], &[b"j", b"ello"], &[b"x", b"y"], &[]] {
        assert_eq!(compare(200, PLAIN, chunks), differs(&["body"]), "{chunks:?}");
    }
    let headers = &[("x-a", "1"), ("x-b", "1")];
    assert_eq!(compare(500, headers, &[b"x"]), differs(&["status", "header.content-type", "header", "body"]));
}

#[test]
fn what_can_not_be_compared_says_so() {
    let not_compared = |why| Verdict { differences: vec![], not_compared: Some(why) };
    let compare = |exchange: &Exchange, status, headers, chunk| {
        answer(&comparator(""), exchange, status, headers, &[chunk])
    };

    assert_eq!(compare(&Exchange::default(), 500, &[], b"x"), not_compared(RESPONSE_MISSING));
    for state in [State::Unspecified, State::Missing, State::JoinedMidstream] {
        let exchange = recorded("text/plain", b"hello", state);
        assert_eq!(compare(&exchange, 500, &[], b""), not_compared(RESPONSE_MISSING));
    }
    for state in [State::Truncated, State::Gap] {
        // Not even where all that was kept is there.
        let exchange = recorded("text/plain", b"hello", state);
        assert_eq!(compare(&exchange, 200, PLAIN, b"hello"), not_compared(BODY_INCOMPLETE));
    }
    let mut dropped = recorded("text/plain", b"", State::Complete);
    dropped.response.as_mut().unwrap().body =
        Some(Body { size: 9, dropped: "opaque".into(), ..Body::default() });
    assert_eq!(compare(&dropped, 200, PLAIN, b"x"), not_compared(BODY_DROPPED));

    let exchange = recorded("text/plain", b"hello", State::Complete);
    let encoded = [PLAIN, &[("content-encoding", "gzip")]].concat();
    assert_eq!(answer(&comparator(""), &exchange, 200, &encoded, &[b"x"]), not_compared(BODY_ENCODED));
    assert_eq!(
        Expected::nothing().begin_with(500, || [].into_iter()).finish(std::time::Duration::ZERO),
        not_compared(RESPONSE_MISSING)
    );
}

#[test]
fn what_was_redacted_is_told_apart_from_what_was_not() {
    let body = br#"{"user":"tok-1","total":3}"#;
    let mut exchange = recorded("application/json", body, State::Complete);
    exchange.redactions = vec![
        Redaction { place: "response.body.$.user".into(), ..Redaction::default() },
        Redaction { place: "request.headers.authorization".into(), ..Redaction::default() },
    ];
    let comparator = comparator("");
    let compare = |chunk: &[u8]| answer(&comparator, &exchange, 200, JSON, &[chunk]);
    let redacted = |differences: &[&'static str]| Verdict {
        differences: differences.to_vec(),
        not_compared: Some(BODY_REDACTED),
    };
    // The token itself is equal, whatever else is.
    assert_eq!(compare(body), differs(&[]));
    assert_eq!(compare(br#"{"user":"tok-1","total":4}"#), differs(&["body"]));
    assert_eq!(compare(br#"{"user":"ann","total":3}"#), redacted(&[]));
    assert_eq!(compare(br#"{"user":"ann","total":4}"#), redacted(&["body"]));
    // Its presence and type count.
    assert_eq!(compare(br#"{"total":3}"#), differs(&["body"]));
    assert_eq!(compare(br#"{"user":{},"total":3}"#), differs(&["body"]));
    assert_eq!(report(&comparator).redacted_values, 2);

    let mut text = recorded("text/plain", b"hello tok-1", State::Complete);
    text.redactions = vec![Redaction { place: "response.body".into(), ..Redaction::default() }];
    assert_eq!(answer(&comparator, &text, 200, PLAIN, &[b"hello ann"]), redacted(&[]));
}

#[test]
fn documents_are_compared_by_what_they_say() {
    for (left, right) in [
        (r#"{"a":1,"b":[1,2]}"#, "{ \"b\": [1, 2],\n \"a\": 1.0 }"),
        (r#"{"a":"é"}"#, r#"{"a":"\u00e9"}"#),
        (r#"{"at":"2026-11-21T14:05:00Z"}"#, r#"{"at":"2026-11-21T14:06:01Z"}"#),
        (r#"{"at":1763733900}"#, r#"{"at":1763733999}"#),
        (r#"{"by":{"1001":{"n":1}}}"#, r#"{"by":{"1002":{"n":1}}}"#),
    ] {
        let (rows, _) = fields("", left, right);
        assert!(rows.is_empty(), "{left} {right}: {rows:?}");
    }
    for (left, right, expected) in [
        (r#"{"a":1}"#, r#"{"a":2}"#, "body.$.a value"),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, "body.$.a type"),
        (r#"{"a":1}"#, r#"{"a":null}"#, "body.$.a type"),
        (r#"{"a":1}"#, "{}", "body.$.a missing"),
        ("{}", r#"{"a":1}"#, "body.$.a added"),
        (r#"{"a":[{"p":1},{"p":2}]}"#, r#"{"a":[{"p":1},{"p":3}]}"#, "body.$.a[].p value"),
        (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, "body.$.a (order) order"),
        (r#"{"a":[1,2]}"#, r#"{"a":[1]}"#, "body.$.a[] missing"),
        (r#"{"a":1,"a":2}"#, r#"{"a":3,"a":2}"#, "body.$.a value"),
        (r#"{"a":0.12345678901234567}"#, r#"{"a":0.12345678901234568}"#, "body.$ value"),
        (r#"{"a":1}"#, "oops", "body type"),
        (r#"{"a":"2026-11-21"}"#, r#"{"a":"2026-11-22"}"#, "body.$.a value"),
    ] {
        let (rows, _) = fields("", left, right);
        assert_eq!(rows, [expected], "{left} {right}");
    }
}

#[test]
fn settings_say_what_counts() {
    let pairs = [
        ("json: {ignore: [$.a]}", r#"{"a":1}"#, r#"{"a":{"b":2}}"#),
        ("json: {ignore: [$..b]}", r#"{"a":{"b":2}}"#, r#"{"a":{}}"#),
        ("json: {tolerance: {absolute: 0.01}}", r#"{"a":1.0}"#, r#"{"a":1.005}"#),
        ("json: {tolerances: [{path: $.a, relative: 0.1}]}", r#"{"a":100}"#, r#"{"a":109}"#),
        ("json: {arrays: set}", "[1,2]", "[2,1]"),
        ("json: {order: [{path: $.a, as: set}]}", r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
        ("bodies: none", "1", "2"),
    ];
    for (yaml, left, right) in pairs {
        assert!(!fields("", left, right).0.is_empty(), "{yaml}");
        assert!(fields(yaml, left, right).0.is_empty(), "{yaml}");
    }
    let (left, right) = (r#"{"at":"2026-11-21T14:05:00Z"}"#, r#"{"at":"2026-11-21T14:06:00Z"}"#);
    for yaml in ["dynamic: []", "json: {exact: [$.at]}"] {
        assert_eq!(fields(yaml, left, right).0, ["body.$.at value"]);
    }
    assert_eq!(fields("bodies: bytes", "[1]", "[1 ]").0, ["body binary"]);
    let (_, report) = fields("", left, right);
    assert_eq!(report.dynamic["timestamp"], 1);
    assert_eq!(report.mismatches, 0);
}

#[test]
fn forms_and_other_bodies_are_compared_by_their_type() {
    let compare = |content_type: &str, left: &[u8], right: &[u8]| {
        let comparator = comparator("");
        let exchange = recorded(content_type, left, State::Complete);
        answer(&comparator, &exchange, 200, &[("content-type", content_type)], &[right]);
        let rows = report(&comparator).endpoints.remove(0).fields;
        rows.into_iter().map(|row| (row.field, row.examples[0].answered.clone())).collect::<Vec<_>>()
    };
    let form = "application/x-www-form-urlencoded";
    assert!(compare(form, b"a=1&b=x+y", b"b=x%20y&a=1").is_empty());
    assert_eq!(compare(form, b"a=1", b"a=2"), [("body.$.a".to_owned(), "2".to_owned())]);
    assert_eq!(
        compare("text/html", b"<p>\na</p>", b"<p>\nb</p>"),
        [("body".to_owned(), "line 2: b</p>".to_owned())]
    );
    let binary = compare("image/png", b"\x89PNG\0\xff", b"\x89PNG\0\xfe");
    assert!(binary[0].1.starts_with("6 bytes, sha256 "), "{binary:?}");
}

#[test]
fn bodies_too_large_to_look_into_differ_and_are_not_kept() {
    let body = "a".repeat(MAX_BODY_BYTES + 1);
    let exchange = recorded("text/plain", body.as_bytes(), State::Complete);
    let comparator = comparator("");
    assert_eq!(answer(&comparator, &exchange, 200, PLAIN, &[body.as_bytes()]), differs(&[]));
    assert_eq!(answer(&comparator, &exchange, 200, PLAIN, &[b"b", body.as_bytes()]), differs(&["body"]));
    let small = recorded("text/plain", b"a", State::Complete);
    let chunk = vec![b'b'; 1 << 16];
    let chunks: Vec<&[u8]> = std::iter::repeat_n(chunk.as_slice(), 100).collect();
    assert_eq!(answer(&comparator, &small, 200, PLAIN, &chunks), differs(&["body"]));
    let row = report(&comparator).endpoints.remove(0);
    assert_eq!(row.fields[0].kinds.keys().collect::<Vec<_>>(), ["length"]);
    assert_eq!(row.fields[0].examples[1].answered, "6553600 bytes");
    assert_eq!(comparator.kept.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_kept_is_bounded_over_all_answers_and_given_back() {
    let exchange = recorded("text/plain", b"a", State::Complete);
    let comparator = comparator("");
    let chunk = vec![b'b'; MAX_BODY_BYTES];
    let under_way: Vec<_> = (0..MAX_KEPT_BYTES / MAX_BODY_BYTES)
        .map(|_| begin(&comparator, &exchange, 200, PLAIN, &[&chunk]))
        .collect();
    assert_eq!(comparator.kept.load(Ordering::Relaxed), MAX_KEPT_BYTES);
    assert_eq!(answer(&comparator, &exchange, 200, PLAIN, &[b"c"]), differs(&["body"]));
    assert_eq!(report(&comparator).endpoints[0].fields[0].kinds["length"], 1);
    drop(under_way);
    assert_eq!(comparator.kept.load(Ordering::Relaxed), 0);
}

fn row(report: &ReplayReport, path: &str) -> EndpointComparison {
    report.endpoints.iter().find(|row| row.path == path).cloned().unwrap()
}

#[test]
fn a_baseline_tells_noise_from_change() {
    let exchange = recorded("application/json", br#"{"mood":"a","price":1}"#, State::Complete);
    let replay = |comparator: &Arc<Comparator>, changed: bool| {
        for index in 0..100 {
            let mood = if index % 2 == 0 { "a" } else { "b" };
            let price = if changed && index % 10 == 0 { 2 } else { 1 };
            let body = format!(r#"{{"mood":"{mood}","price":{price}}}"#);
            answer(comparator, &exchange, 200, JSON, &[body.as_bytes()]);
        }
        report(comparator)
    };
    let baseline = replay(&comparator(""), false);
    assert_eq!((baseline.mismatches, baseline.noise_source.as_str()), (50, ""));

    let unchanged = replay(&Arc::new(comparator("").with_noise_from(&baseline)), false);
    assert_eq!((unchanged.mismatches, unchanged.noise_source.as_str()), (0, "baseline"));

    let changed = replay(&Arc::new(comparator("").with_noise_from(&baseline)), true);
    assert_eq!(changed.mismatches, 10);
    let row = row(&changed, "/items/{id}");
    assert_eq!((row.answered, row.differed, row.mismatches), (100, 60, 10));
    let fields: Vec<_> = row.fields.iter().map(|field| (field.field.as_str(), field.is_noise)).collect();
    assert_eq!(fields, [("body.$.price", false), ("body.$.mood", true)]);
}

#[test]
fn counters_are_found_over_many_answers() {
    let run = |yaml: &str, answered: &dyn Fn(u64) -> u64| {
        let comparator = comparator(yaml);
        for index in 0..50_u64 {
            let body = |value: u64| format!(r#"{{"n":{value}}}"#);
            let exchange = recorded("application/json", body(1_000 + index * 2).as_bytes(), State::Complete);
            answer(&comparator, &exchange, 200, JSON, &[body(answered(index)).as_bytes()]);
        }
        report(&comparator)
    };
    let counted = run("", &|index| 70_000 + index * 3);
    assert_eq!((counted.mismatches, counted.endpoints[0].fields[0].noise_reason.as_str()), (0, "counter"));
    // Not where it does not rise, and not where it was named.
    assert_eq!(run("", &|index| 70_000 + index * 7_919 % 100).mismatches, 50);
    assert_eq!(run("json: {exact: [$.n]}", &|index| 70_000 + index).mismatches, 50);
    assert_eq!(run("dynamic: [uuid]", &|index| 70_000 + index).mismatches, 50);
    // Nor where most are equal.
    assert_eq!(run("", &|index| 1_000 + index * 2 + u64::from(index % 2 == 0)).mismatches, 25);
}

#[test]
fn findings_are_bounded_whatever_is_answered() {
    let comparator = comparator("");
    for index in 0..3_000_u64 {
        let word = |number: u64| -> String {
            (0..6).map(|place| char::from(b'a' + (number >> (2 * place) & 3) as u8)).collect()
        };
        let mut exchange = recorded("application/json", b"{}", State::Complete);
        let request = exchange.request.as_mut().unwrap();
        request.path = format!("/{}/{}", word(index / 64), word(index));
        request.method = format!("M{index}");
        let members: Vec<_> = (0..70).map(|member| format!("\"{}\":1", word(index * 70 + member))).collect();
        answer(&comparator, &exchange, 200, JSON, &[format!("{{{}}}", members.join(",")).as_bytes()]);
    }
    let report = report(&comparator);
    assert!(report.endpoints.len() <= 600, "{}", report.endpoints.len());
    assert_eq!(report.endpoints.iter().map(|row| row.answered).sum::<u64>(), 3_000);
    assert_eq!(report.mismatches, 3_000);
    assert!(report.endpoints.iter().all(|row| row.fields.len() <= 64));
    let size = prost_size(&report);
    assert!(size < 4 * 1024 * 1024, "{size}");
}

fn prost_size(report: &ReplayReport) -> usize {
    let example = |example: &v1::DifferenceExample| {
        example.expected.len() + example.answered.len() + example.exchange_id.len()
    };
    let fields = report.endpoints.iter().flat_map(|row| &row.fields);
    fields.map(|field| field.field.len() + 64 + field.examples.iter().map(example).sum::<usize>()).sum()
}

/// A document at random, and the same with another layout: members in another order, spaces between.
fn document(random: &mut StdRng, depth: u32) -> (String, String) {
    let scalar = [
        "1",
        "2.5",
        "-7",
        "\"a\"",
        "\"2026-11-21T14:05:00Z\"",
        "true",
        "null",
        "\"\\u00e9\"",
        "12345678901234567890123",
    ];
    match random.random_range(0..if depth == 0 { 1 } else { 3 }) {
        0 => {
            let scalar = scalar[random.random_range(0..scalar.len())];
            (scalar.to_owned(), format!(" {scalar} "))
        }
        1 => {
            let items: Vec<_> = (0..random.random_range(0..4)).map(|_| document(random, depth - 1)).collect();
            let (one, other): (Vec<_>, Vec<_>) = items.into_iter().unzip();
            (format!("[{}]", one.join(",")), format!("[ {} ]", other.join(" ,\n")))
        }
        _ => {
            let names = ["id", "name", "4711", "a b", "x"];
            let count = random.random_range(0..names.len());
            let members: Vec<_> =
                names[..count].iter().map(|name| (name, document(random, depth - 1))).collect();
            let shown =
                |value: &dyn Fn(&(String, String)) -> String,
                 members: &mut dyn Iterator<Item = &(&&str, (String, String))>| {
                    members
                        .map(|(name, both)| format!("\"{name}\":{}", value(both)))
                        .collect::<Vec<_>>()
                        .join(",")
                };
            (
                format!("{{{}}}", shown(&|both| both.0.clone(), &mut members.iter())),
                format!("{{ {} }}", shown(&|both| both.1.clone(), &mut members.iter().rev())),
            )
        }
    }
}

#[test]
fn no_layout_differs_and_nothing_that_is_answered_panics() {
    let mut random = StdRng::seed_from_u64(1);
    for round in 0..1_500 {
        let (one, other) = document(&mut random, 4);
        let documents = format!("[{one}]");
        let (rows, _) = fields("", &documents, &format!("[\n{other}]"));
        assert!(rows.is_empty(), "{round}: {one} {other}: {rows:?}");

        let mut broken = documents.clone().into_bytes();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..broken.len());
            match random.random_range(0..3) {
                0 => broken[at] = random.random(),
                1 => broken.truncate(at.max(1)),
                _ => broken.insert(at, b"[]{},:\"1"[random.random_range(0..8)]),
            }
        }
        let comparator = comparator("");
        for content_type in
            ["application/json", "text/html", "application/x-www-form-urlencoded", "image/png"]
        {
            let headers = [("content-type", content_type)];
            let exchange = recorded(content_type, documents.as_bytes(), State::Complete);
            answer(&comparator, &exchange, 200, &headers, &[&broken]);
            let exchange = recorded(content_type, &broken, State::Complete);
            answer(&comparator, &exchange, 200, &headers, &[documents.as_bytes()]);
        }
        report(&comparator);
    }
}

#[test]
fn the_deepest_document_is_compared_and_a_deeper_one_is_text() {
    let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
    let (rows, _) = fields("", &nested(100, "1"), &nested(100, "2"));
    assert_eq!(rows.len(), 1);
    assert!(rows[0].starts_with("body.$[][]"), "{rows:?}");
    let (rows, _) = fields("", &nested(50_000, "1"), &nested(50_000, "2"));
    assert_eq!(rows, ["body text"]);
}

use bytes::Bytes;
use http::Request;
use tap_proto::v1::{self, Completeness, Header, Redaction, body::Content, completeness::State};

use super::*;
use crate::mock::{
    body::What,
    request::Asked,
    settings::{BodyMatch, QueryMatch},
};

/// A POST or GET that was answered with `id`, in the `second`th second.
fn exchange(id: &str, second: i64, target: &str, body: &str) -> Exchange {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let complete = Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
    let content = |text: &str| {
        (!text.is_empty()).then(|| v1::Body {
            content: Some(Content::Text(text.into())),
            size: text.len() as u64,
            ..v1::Body::default()
        })
    };
    let field =
        |name: &str, value: &str| Header { name: name.into(), value: value.into(), ..Header::default() };
    Exchange {
        id: id.into(),
        time: Some(prost_types::Timestamp { seconds: second, nanos: 0 }),
        request: Some(v1::Request {
            method: if body.is_empty() { "GET" } else { "POST" }.into(),
            host: "pay.example:8080".into(),
            path: path.into(),
            query: query.into(),
            headers: vec![field("Content-Type", "application/json"), field("X-Tenant", "a")],
            body: content(body),
            completeness: complete.clone(),
            ..v1::Request::default()
        }),
        response: Some(v1::Response {
            status: 200,
            body: content(id),
            completeness: complete,
            ..v1::Response::default()
        }),
        ..Exchange::default()
    }
}

fn redacted(mut exchange: Exchange, places: &[&str]) -> Exchange {
    exchange.redactions = places
        .iter()
        .map(|place| Redaction { place: (*place).into(), action: "token".into(), ..Redaction::default() })
        .collect();
    exchange
}

fn index(matching: Matching, exchanges: impl IntoIterator<Item = Exchange>) -> Index {
    let mut index = Index::new(matching, Limits::default());
    for exchange in exchanges {
        assert!(index.insert(exchange));
    }
    index
}

fn asked(index: &Index, target: &str, body: &str) -> Asked {
    asked_with(index, target, body, &[])
}

fn asked_with(index: &Index, target: &str, body: &str, headers: &[(&str, &str)]) -> Asked {
    let mut request = Request::builder().method(if body.is_empty() { "GET" } else { "POST" }).uri(target);
    request = request.header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    Asked::new(&head, "127.0.0.1:9090", Bytes::copy_from_slice(body.as_bytes()), &index.matching)
}

/// The ids of the recordings that match, and how well.
fn found(index: &Index, asked: &Asked) -> Option<(Vec<String>, bool, BodyLevel)> {
    let Candidates { recordings, key: _, by_template, body } = index.find(asked, None)?;
    let ids = recordings.iter().map(|one| index.recordings[*one as usize].recording.exchange.id.clone());
    Some((ids.collect(), by_template, body))
}

fn ids(index: &Index, target: &str, body: &str) -> Vec<String> {
    found(index, &asked(index, target, body)).map_or_else(Vec::new, |(ids, ..)| ids)
}

#[test]
fn equal_requests_are_a_sequence_in_order_of_time() {
    // The order of `tapctl search`: newest first.
    let index = index(
        Matching::default(),
        [exchange("c", 3, "/job/1", ""), exchange("b", 2, "/job/1", ""), exchange("a", 1, "/job/1", "")],
    );
    assert_eq!(ids(&index, "/job/1", ""), ["a", "b", "c"]);
    assert_eq!(index.loaded().requests, 1);
}

#[test]
fn the_recorded_path_comes_before_its_template() {
    let exchanges = [exchange("a", 1, "/users/1", ""), exchange("b", 2, "/users/2", "")];
    let looks = index(Matching::default(), exchanges.clone());
    assert_eq!(
        found(&looks, &asked(&looks, "/users/2", "")),
        Some((vec!["b".into()], false, BodyLevel::Equal))
    );
    // One recorded id answers for another, always the same one.
    let (first, by_template, _) = found(&looks, &asked(&looks, "/users/77", "")).unwrap();
    assert!(by_template && first.len() == 1);
    assert_eq!(found(&looks, &asked(&looks, "/users/77", "")).unwrap().0, first);
    assert!(ids(&looks, "/users/77/orders", "").is_empty());

    let exact = index(Matching { exact_paths: true, ..Matching::default() }, exchanges);
    assert!(ids(&exact, "/users/77", "").is_empty());
    let given = Matching { paths: vec!["/shops/{name}".parse().unwrap()], ..Matching::default() };
    let given = index(given, [exchange("n", 1, "/shops/north", "")]);
    assert_eq!(ids(&given, "/shops/south", ""), ["n"]);
}

#[test]
fn queries_are_the_same_in_any_order_unless_told() {
    let exchanges = || [exchange("a", 1, "/q?x=1&y=a%20b", ""), exchange("b", 2, "/q?y=a+b&x=1", "")];
    let unordered = index(Matching::default(), exchanges());
    // The same order wins.
    assert_eq!(ids(&unordered, "/q?x=1&y=a+b", ""), ["a"]);
    assert_eq!(ids(&unordered, "/q?y=a%20b&x=1", ""), ["b"]);
    for other in ["/q", "/q?x=1", "/q?x=2&y=a+b", "/q?x=1&y=a+b&z=", "/q?x=1&x=1&y=a+b"] {
        assert!(ids(&unordered, other, "").is_empty(), "{other}");
    }
    let ordered = Matching { query: QueryMatch::Ordered, ..Matching::default() };
    let ordered = index(ordered, [exchange("a", 1, "/q?x=1&y=2", "")]);
    assert!(ids(&ordered, "/q?y=2&x=1", "").is_empty());
    let ignored = Matching { ignore_query: vec!["t".into()], ..Matching::default() };
    let ignored = index(ignored, [exchange("a", 1, "/q?x=1&t=17", "")]);
    assert_eq!(ids(&ignored, "/q?t=18&x=1", ""), ["a"]);
    let none = index(Matching { query: QueryMatch::Ignored, ..Matching::default() }, exchanges());
    assert_eq!(ids(&none, "/q?whatever", ""), ["a", "b"]);
}

#[test]
fn bodies_match_as_well_as_they_can_and_must() {
    let exchanges = || {
        [
            exchange("less", 1, "/pay", r#"{"amount":1}"#),
            exchange("more", 2, "/pay", r#"{"amount":1,"currency":"EUR"}"#),
        ]
    };
    let level = |least: BodyMatch, body: &str| {
        let index = index(Matching { body: least, ..Matching::default() }, exchanges());
        let (ids, _, level) = found(&index, &asked(&index, "/pay", body))?;
        Some((ids.join(","), level))
    };
    let is = |ids: &str, level| Some((ids.to_owned(), level));
    use BodyMatch::{Equal, Ignored, Signature, Subset};
    assert_eq!(level(Equal, r#"{"currency":"EUR","amount":1.0}"#), is("more", BodyLevel::Equal));
    let extended = r#"{"amount":1,"currency":"EUR","note":"x"}"#;
    assert_eq!(level(Equal, extended), None);
    // The one that says most.
    assert_eq!(level(Subset, extended), is("more", BodyLevel::Subset));
    let other = r#"{"amount":2,"currency":"USD"}"#;
    assert_eq!(level(Subset, other), None);
    assert_eq!(level(Signature, other), is("more", BodyLevel::Signature));
    assert_eq!(level(Signature, r#"{"amount":"2"}"#), None);
    assert_eq!(level(Ignored, "whatever"), is("less,more", BodyLevel::Ignored));
}

#[test]
fn what_was_redacted_matches_any_value() {
    let recorded = redacted(
        exchange("a", 1, "/pay?token=tok_1&x=1", r#"{"card":{"number":"tok_2"},"amount":1}"#),
        &["request.target.token", "request.body.$.card.number", "request.headers.x-tenant"],
    );
    let matching = || Matching { headers: vec!["x-tenant".parse().unwrap()], ..Matching::default() };
    let index_of = index(matching(), [recorded]);
    let body = r#"{"card":{"number":"4242"},"amount":1}"#;
    let matches = |target: &str, body: &str, headers: &[(&str, &str)]| {
        found(&index_of, &asked_with(&index_of, target, body, headers)).map(|(_, _, level)| level)
    };
    assert_eq!(matches("/pay?token=real&x=1", body, &[("x-tenant", "any")]), Some(BodyLevel::Equal));
    assert_eq!(matches("/pay?token=real&x=2", body, &[("x-tenant", "any")]), None);
    assert_eq!(matches("/pay?x=1", body, &[("x-tenant", "any")]), None);
    assert_eq!(matches("/pay?token=real&x=1", body, &[]), None);
    assert_eq!(matches("/pay?token=r&x=1", &body.replace('1', "2"), &[("x-tenant", "a")]), None);

    // A path of which something was redacted matches by its template.
    let recorded = redacted(exchange("b", 1, "/users/7f3a9c1e2b4d", ""), &["request.target.path"]);
    let index = index(Matching::default(), [recorded]);
    assert_eq!(ids(&index, "/users/0a1b2c3d4e5f", ""), ["b"]);
}

#[test]
fn a_body_that_is_not_known_matches_last() {
    let mut dropped = exchange("dropped", 1, "/up", "x");
    let body = dropped.request.as_mut().unwrap().body.as_mut().unwrap();
    (body.content, body.dropped) = (None, "opaque".into());
    let index = index(Matching::default(), [dropped, exchange("known", 2, "/up", r#"{"a":1}"#)]);
    let of = |body: &str| found(&index, &asked(&index, "/up", body)).unwrap();
    assert_eq!(of(r#"{"a":1}"#), (vec!["known".into()], false, BodyLevel::Equal));
    assert_eq!(of(r#"{"a":2}"#), (vec!["dropped".into()], false, BodyLevel::Unknown));
}

#[test]
fn headers_are_compared_where_they_are_named() {
    let named = Matching { headers: vec!["x-tenant".parse().unwrap()], ..Matching::default() };
    let named = index(named, [exchange("a", 1, "/", "")]);
    let any = index(Matching::default(), [exchange("a", 1, "/", "")]);
    let matches = |index: &Index, headers| found(index, &asked_with(index, "/", "", headers)).is_some();
    assert!(matches(&named, &[("X-Tenant", "a")]));
    assert!(!matches(&named, &[("X-Tenant", "b")]) && !matches(&named, &[]));
    assert!(matches(&any, &[("X-Tenant", "b")]));
}

#[test]
fn a_host_that_was_recorded_must_be_the_same() {
    let mut other = exchange("other", 2, "/", "");
    other.request.as_mut().unwrap().host = "stock.example".into();
    let index = index(Matching::default(), [exchange("pay", 1, "/", ""), other]);
    let asked = asked(&index, "/", "");
    let of = |host: Option<&str>| index.find(&asked, host).map(|found| found.recordings.len());
    assert_eq!(index.known_host("pay.example"), Some("pay.example"));
    assert_eq!(index.known_host("127.0.0.1"), None);
    assert_eq!((of(Some("pay.example")), of(Some("else")), of(None)), (Some(1), None, Some(2)));
}

#[test]
fn a_head_is_answered_from_a_get() {
    let index = index(Matching::default(), [exchange("a", 1, "/", "")]);
    let (head, ()) = Request::builder().method("HEAD").uri("/").body(()).unwrap().into_parts();
    let asked = Asked::new(&head, "", Bytes::new(), &index.matching);
    assert_eq!(found(&index, &asked).unwrap().0, ["a"]);
}

#[test]
fn a_miss_names_places_and_no_values() {
    let recorded = exchange("a", 1, "/pay?currency=EUR&t=1", r#"{"amount":100,"secret":"s3cret"}"#);
    let index =
        index(Matching { headers: vec!["x-tenant".parse().unwrap()], ..Matching::default() }, [recorded]);
    let nearest = |target: &str, body: &str| index.nearest(&asked(&index, target, body), None);
    let near = nearest("/pay?currency=USD&new=1", r#"{"amount":200}"#).unwrap();
    let places: Vec<_> = near.differences.iter().map(|it| (it.place.as_str(), it.what)).collect();
    assert_eq!(
        places,
        [
            ("query.currency", What::Differs),
            ("query.new", What::NotRecorded),
            ("query.t", What::Missing),
            ("header.x-tenant", What::Missing),
            ("body.$.amount", What::Differs),
            ("body.$.secret", What::Missing),
        ]
    );
    let text = serde_json::to_string(&near).unwrap();
    assert!(!text.contains("s3cret") && !text.contains("100") && !text.contains("EUR"), "{text}");

    let places = |target: &str, body: &str| {
        let differences = nearest(target, body).map(|near| near.differences).unwrap_or_default();
        differences.into_iter().map(|it| it.place).collect::<Vec<_>>()
    };
    assert_eq!(places("/pay", ""), ["method"]);
    assert_eq!(places("/pay/refund", "{}"), ["path"]);
    assert!(nearest("/cart", "{}").is_none());
}

#[test]
fn caps_hold_and_are_told() {
    let limits = Limits { exchanges: 2, bytes: usize::MAX };
    let mut few = Index::new(Matching::default(), limits);
    let taken: Vec<bool> = (0..4).map(|second| few.insert(exchange("x", second, "/", ""))).collect();
    assert_eq!(taken, [true, true, false, false]);
    assert_eq!((few.loaded().taken, few.loaded().refused["full"]), (2, 2));

    let body = "y".repeat(100_000);
    let limits = Limits { exchanges: usize::MAX, bytes: 150_000 };
    let mut small = Index::new(Matching::default(), limits);
    assert!(small.insert(exchange(&body, 1, "/a", "")));
    // The same answer again takes no more room for its body; another one does.
    assert!(small.insert(exchange(&body, 2, "/b", "")));
    assert!(!small.insert(exchange(&body.replace('y', "z"), 3, "/c", "")));
    assert!(small.insert(Exchange::default()), "what can't be matched takes no room");
    assert_eq!(small.loaded().refused["request_missing"], 1);
}

#[test]
fn what_can_not_be_served_is_told_by_reason() {
    let mut truncated = exchange("t", 1, "/t", "");
    truncated.response.as_mut().unwrap().completeness =
        Some(Completeness { state: State::Truncated.into(), ..Completeness::default() });
    let mut dropped = exchange("d", 1, "/d", "");
    let body = dropped.response.as_mut().unwrap().body.as_mut().unwrap();
    (body.content, body.dropped) = (None, "opaque".into());
    let missing = Exchange { response: None, ..exchange("m", 1, "/m", "") };
    let mut switched = exchange("u", 1, "/u", "");
    switched.response.as_mut().unwrap().status = 101;
    let mut injecting = exchange("i", 1, "/i", "");
    injecting.response.as_mut().unwrap().headers =
        vec![Header { name: "X".into(), value: "a\r\nInjected: 1".into(), ..Header::default() }];

    let index = index(Matching::default(), [truncated, dropped, missing, switched, injecting]);
    let reasons: Vec<_> = index.loaded().not_served.iter().map(|(word, count)| (*word, *count)).collect();
    assert_eq!(
        reasons,
        [("body_dropped", 1), ("incomplete", 1), ("response_missing", 1), ("unsendable", 1), ("upgrade", 1)]
    );
    let served = |incomplete: bool| {
        index.recordings.iter().filter(|stored| stored.recording.is_served(incomplete)).count()
    };
    assert_eq!((served(false), served(true)), (0, 2));
}

#[test]
fn the_key_of_a_request_is_the_same_in_each_run() {
    let key = |exchanges: Vec<Exchange>| {
        let index = index(Matching::default(), exchanges);
        index.find(&asked(&index, "/a", ""), None).unwrap().key
    };
    let (a, b) = (|| exchange("a", 1, "/a", ""), || exchange("b", 2, "/b", ""));
    assert_eq!(key(vec![a(), b()]), key(vec![b(), a()]));
}

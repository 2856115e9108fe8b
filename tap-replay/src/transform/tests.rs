use std::time::Duration;

use http::HeaderMap;
use serde_json::json;
use tap_proto::v1::{Body, Completeness, Header, Request, Response, body::Content, completeness::State};

use super::*;
use crate::{Files, Plan, RawPlan, request};

fn plan() -> Plan {
    let raw = RawPlan {
        id: "r".into(),
        target: "http://test".into(),
        allow_methods: vec!["POST".into()],
        ..RawPlan::default()
    };
    Plan::validate(raw).unwrap()
}

fn transform(document: &str) -> Transform {
    Settings::parse(document).unwrap().compile(Files::Refused).unwrap()
}

fn errors(document: &str) -> Vec<String> {
    match Settings::parse(document) {
        Err(error) => vec![error.to_string()],
        Ok(settings) => {
            settings.compile(Files::Refused).unwrap_err().iter().map(ToString::to_string).collect()
        }
    }
}

fn body(text: &str) -> Option<Body> {
    Some(Body { content: Some(Content::Text(text.into())), size: text.len() as u64, ..Body::default() })
}

fn exchange(path: &str, query: &str, headers: &[(&str, &str)], sent: &str, answered: &str) -> Exchange {
    let complete = Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
    Exchange {
        time: Some(prost_types::Timestamp { seconds: 1_769_860_800, nanos: 0 }),
        request: Some(Request {
            method: "POST".into(),
            path: path.into(),
            query: query.into(),
            headers: headers
                .iter()
                .map(|&(name, value)| Header { name: name.into(), value: value.into(), ..Header::default() })
                .collect(),
            body: body(sent),
            completeness: complete.clone(),
            ..Request::default()
        }),
        response: Some(Response {
            status: 200,
            body: body(answered),
            completeness: complete,
            ..Response::default()
        }),
        ..Exchange::default()
    }
}

fn answer(body: &str) -> Answer {
    Answer { status: 200, headers: HeaderMap::new(), body: body.into(), truncated: false }
}

/// The request line, headers and body as they are sent, an hour after the recording.
fn sent(transform: &Transform, exchange: &Exchange, learned: &Learned) -> (String, Vec<Problem>) {
    let plan = plan();
    let mut draft = request::draft(exchange, &plan).unwrap();
    let mut problems = Vec::new();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800 + 3_600);
    transform.apply(exchange, &mut draft, learned, now, &mut problems);
    let bytes = draft.encode(&plan).unwrap().bytes;
    (String::from_utf8(bytes.to_vec()).unwrap(), problems)
}

#[test]
fn a_rule_changes_every_part() {
    let transform = transform(
        r#"
rules:
- when: request.path.startsWith("/v1")
  host: staging.example
  path: {match: "^/v1/(.*)$", replace: "/v2/$1"}
  headers: {set: {X-New: "1", X-Old: "2"}, remove: [x-gone]}
  query: {set: {a: "9", c: "3"}, remove: [b]}
  json: {set: {$.user.name: "Eve", /tags/0: 7}, patch: [{op: remove, path: /secret}]}
- when: request.path == "/other"
  host: wrong
"#,
    );
    let exchange = exchange(
        "/v1/users",
        "a=1&b=2&d",
        &[("X-Gone", "x"), ("x-old", "1")],
        r#"{"user":{"name":"Ann"},"tags":["t"],"secret":1}"#,
        "",
    );
    let (sent, problems) = sent(&transform, &exchange, &Learned::default());
    assert_eq!(
        sent,
        "POST /v2/users?a=9&d&c=3 HTTP/1.1\r\nHost: staging.example\r\nX-New: 1\r\nX-Old: 2\r\n\
         Accept-Encoding: identity\r\nContent-Length: 36\r\nPodtap-Replay: r\r\n\r\n\
         {\"user\":{\"name\":\"Eve\"},\"tags\":[7]}\r\n"
            .trim_end()
            .replace("36", &json!({"user": {"name": "Eve"}, "tags": [7]}).to_string().len().to_string())
    );
    assert_eq!(problems, [""; 0]);
}

#[test]
fn what_an_answer_held_goes_where_the_recorded_value_stood() {
    let transform = transform(
        "variables:\n- {name: token, when: request.path == \"/login\", json: $.token}\n\
         rules:\n- {when: request.path == \"/pay\", headers: {set: {X-Token: \"<${token}>\"}}}",
    );
    let mut learned = Learned::default();
    let login = exchange("/login", "", &[], "", r#"{"token":"rec-1"}"#);
    let pay = exchange("/pay", "t=rec-1", &[("Authorization", "Bearer rec-1")], r#"{"t":"rec-1"}"#, "");

    let (unknown, problems) = sent(&transform, &pay, &learned);
    assert!(unknown.contains("Bearer rec-1"), "{unknown}");
    assert_eq!(problems, ["variable_missing"]);

    let mut problems = Vec::new();
    transform.learn(&login, &answer(r#"{"token":"live-2"}"#), &mut learned, &mut problems);
    let (known, _) = sent(&transform, &pay, &learned);
    assert!(!known.contains("rec-1"), "{known}");
    assert_eq!(known.matches("live-2").count(), 4, "{known}");

    transform.learn(&login, &answer("no JSON"), &mut learned, &mut problems);
    assert_eq!(problems, ["variable_not_found"]);
}

#[test]
fn correlation_finds_issued_values_by_itself() {
    let transform = transform("correlate: true");
    let mut learned = Learned::default();
    let recorded = exchange("/carts", "", &[], "", r#"{"id":17,"count":3,"csrf_token":"abcdefgh-1"}"#);
    let live = answer(r#"{"id":42,"count":5,"csrf_token":"zyxwvuts-9"}"#);
    transform.learn(&recorded, &live, &mut learned, &mut Vec::new());
    let next = exchange(
        "/carts/17/items",
        "n=3&cart=17",
        &[("X-CSRF", "abcdefgh-1")],
        r#"{"n":17,"cart_id":17}"#,
        "",
    );
    let (sent, _) = sent(&transform, &next, &learned);
    assert!(sent.starts_with("POST /carts/42/items?n=3&cart=42 "), "{sent}");
    assert!(sent.contains("X-CSRF: zyxwvuts-9"), "{sent}");
    // A short number in a body may be anything, unless its name says so.
    assert!(sent.ends_with(r#"{"n":17,"cart_id":42}"#), "{sent}");
}

#[test]
fn dates_move_with_the_replay() {
    let exchange = exchange(
        "/2026-01-31",
        "at=1769860800",
        &[("If-Modified-Since", "Sat, 31 Jan 2026 12:00:00 GMT")],
        "",
        "",
    );
    let (sent, _) = sent(&transform("shift_time: true"), &exchange, &Learned::default());
    assert!(sent.contains("/2026-01-31?at=1769864400"), "{sent}");
    assert!(sent.contains("Sat, 31 Jan 2026 13:00:00 GMT"), "{sent}");
}

#[test]
fn what_a_rule_can_not_do_is_counted() {
    let transform = transform("rules:\n- json: {set: {$.a.b: 1}}\n  jwt: {algorithm: HS256, key: k}");
    let text = exchange("/", "", &[], "text", "");
    assert_eq!(sent(&transform, &text, &Learned::default()).1, ["json_body_missing", "jwt_not_found"]);
    let json = exchange("/", "", &[("authorization", "Bearer x")], "{}", "");
    assert_eq!(sent(&transform, &json, &Learned::default()).1, ["json_place_missing"]);
}

#[test]
fn all_errors_are_told_with_their_place() {
    let errors = errors(
        r#"
variables:
- {name: "a b", json: token, when: "x =="}
- {name: ok}
rules:
- path: {match: "(", replace: ""}
  headers: {set: {"a b": c, Podtap-Replay: x}}
  json: {set: {a: 1}, patch: {op: add}}
  jwt: {algorithm: HS256, key_file: /etc/passwd}
"#,
    );
    let places = [
        "variables[0].name",
        "variables[0].when",
        "variables[0].json",
        "variables[1]",
        "rules[0].path.match",
        "rules[0].headers",
        "rules[0].headers",
        "rules[0].json.set",
        "rules[0].json.patch",
        "rules[0].jwt.key_file",
    ];
    assert_eq!(errors.len(), places.len(), "{errors:#?}");
    for (error, place) in errors.iter().zip(places) {
        assert!(error.contains(place), "{place}: {error}");
    }
}

#[test]
fn keys_that_are_elsewhere_are_named_and_not_read() {
    let compile = |jwt: &str| {
        let settings = Settings::parse(&format!("rules:\n- jwt: {{algorithm: HS256, {jwt}}}")).unwrap();
        settings.compile(Files::Elsewhere("/secrets")).map(drop).map_err(|errors| errors[0].to_string())
    };
    assert_eq!(compile("key_file: /secrets/jwt/key.pem"), Ok(()));
    let error = compile("key_file: /home/me/key.pem").unwrap_err();
    assert!(error.contains("rules[0].jwt.key_file: /home/me/key.pem: not below /secrets"), "{error}");
    let error = compile("key: hush").unwrap_err();
    assert!(error.contains("rules[0].jwt.key: ") && !error.contains("hush"), "{error}");
}

#[test]
fn unknown_settings_are_errors_with_a_line() {
    let [error] = &errors("cookies: true\nrulez: []")[..] else { panic!() };
    assert!(error.contains("rulez") && error.contains("line 2"), "{error}");
}

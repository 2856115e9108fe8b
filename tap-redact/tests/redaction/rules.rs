//! Rules, profiles and settings: what decides, in which order, and what is said about mistakes.

use std::collections::BTreeMap;

use bytes::Bytes;
use tap_flow::Completeness;
use tap_redact::{DropReason, Key, Redactor, Settings, Subject, check};

use crate::sample::{body, exchange, headers, redact_body_with, text, token_of, with_rules};

fn json(yaml: &str, document: &str) -> String {
    text(&redact_body_with(
        &with_rules(yaml),
        "application/json",
        document.as_bytes(),
        Completeness::Complete,
    ))
}

#[test]
fn each_action_does_what_it_says() {
    let document = r#"{"nick":"bob","n":12345,"flag":true,"items":[{"nick":"eve"}]}"#;
    let with = |place: &str, action: &str| json(&format!("rules: [{{{place}, action: {action}}}]"), document);
    let hash = with("field: nick", "hash");
    let value: serde_json::Value = serde_json::from_str(&hash).unwrap();
    let hashed = value["nick"].as_str().unwrap();
    assert!(hashed.len() == 32 && hashed.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hashed}");
    assert_eq!(
        with("field: nick", "token"),
        document.replace("bob", &token_of("bob")).replace("eve", &token_of("eve"))
    );
    assert_eq!(with("field: nick", "mask"), document.replace("bob", "***").replace("eve", "***"));
    assert_eq!(with("json: $.nick", "drop"), document.replace("\"bob\"", "null"));
    assert_eq!(
        with("json: '$..nick'", "drop"),
        document.replace("\"bob\"", "null").replace("\"eve\"", "null")
    );
    assert_eq!(with("json: '$.items[*].nick'", "mask"), document.replace("eve", "***"));
    assert_eq!(with("json: $.n", "mask"), document.replace("12345", "0"));
    assert_eq!(with("json: $.flag", "drop"), document.replace("true", "null"));
    assert_eq!(with("pattern: 'b.b'", "mask"), document.replace("bob", "***"));
    assert_eq!(with("pattern: 'b.b', field: other", "mask"), document);
}

#[test]
fn paths_reach_into_json_within_strings() {
    let inner = r#"{\"user\":{\"nick\":\"bob\",\"tags\":[\"bob\"]}}"#;
    let document = format!(r#"{{"payload":"{inner}","nick":"bob"}}"#);
    let with = |path: &str| json(&format!("rules: [{{json: '{path}', action: mask}}]"), &document);
    let masked = |part: &str| document.replacen(part, &part.replace("bob", "***"), 1);
    assert_eq!(with("$.payload.user.nick"), masked(r#"nick\":\"bob"#));
    assert_eq!(with("$.payload..tags[*]"), masked(r#"[\"bob"#));
    assert_eq!(with("$.payload.user.tags[0]"), masked(r#"[\"bob"#));
    assert_eq!(with("$.payload.nick"), document);
    // The text of a string is a document of its own, too.
    assert_eq!(with("$.user.nick"), masked(r#"nick\":\"bob"#));
    assert_eq!(with("$.nick"), masked(r#""nick":"bob"#));
}

#[test]
fn heads_have_rules_too() {
    let redactor = with_rules(
        "rules:
  - {header: x-note, action: drop}
  - {cookie: theme, action: keep}
  - {cookie: seen, action: drop}
  - {query: q, action: drop}
  - {path: '/users/{id}/**', action: mask}
  - {detector: email, header: x-contact, action: keep}
",
    );
    let mut exchange = exchange();
    let request = exchange.request.as_mut().unwrap();
    request.target = Bytes::from_static(b"/users/bob/orders?a=1&q=x&b=2");
    request.headers = headers(&[
        ("X-Note", "n"),
        ("Cookie", "theme=dark; seen=1; id=7"),
        ("X-Contact", "help@example.com"),
        ("X-Other", "help@example.com"),
    ]);
    let redacted = redactor.redact(exchange);
    let request = redacted.get().request.as_ref().unwrap();
    assert_eq!(request.target, "/users/***/orders?a=1&b=2");
    let values: Vec<&[u8]> = request.headers.iter().map(|header| header.value).collect();
    assert_eq!(values[0], format!("theme=dark; id={}", token_of("7")).as_bytes());
    assert_eq!(values[1], b"help@example.com");
    assert_ne!(values[2], b"help@example.com");
    assert_eq!(redactor.keep_rules().collect::<Vec<_>>(), ["rule-2", "rule-6"]);
}

#[test]
fn the_first_rule_decides_and_conditions_choose() {
    let yaml = "rules:
  - {when: 'request.path == \"/public\" && namespace == \"shop\"', field: password, action: keep}
  - {when: 'response.status >= 400', message: response, body: true, action: drop}
  - {field: password, action: mask}
";
    let redactor = with_rules(yaml);
    let labels = BTreeMap::new();
    let subject = Subject { namespace: "shop", labels: &labels, ..Subject::default() };
    let redact = |path: &'static str, status| {
        let mut exchange = exchange();
        let request = exchange.request.as_mut().unwrap();
        request.target = Bytes::from_static(path.as_bytes());
        request.headers = headers(&[("Content-Type", "application/json")]);
        request.body = body(b"{\"password\":\"s3cret\"}");
        let response = exchange.response.as_mut().unwrap();
        response.status = status;
        response.body = body(b"words");
        redactor.redact_of(exchange, subject)
    };
    assert_eq!(text(&redact("/public", 200)), "{\"password\":\"s3cret\"}");
    assert_eq!(text(&redact("/other", 200)), "{\"password\":\"***\"}");
    assert_eq!(redact("/other", 200).response_body_dropped(), None);
    assert_eq!(redact("/other", 500).response_body_dropped(), Some(DropReason::Policy));
}

#[test]
fn profiles_extend_one_another() {
    let yaml = "profile: shop
profiles:
  base: {extends: strict, allow: {fields: [currency]}, rules: [{field: nick, action: mask}]}
  shop: {extends: base, rules: [{field: sku, action: keep}]}
";
    let document =
        r#"{"sku":"A-1","nick":"bob","currency":"EUR","name":"x y","n":-1.5e3,"ok":true,"none":null}"#;
    assert_eq!(
        json(yaml, document),
        r#"{"sku":"A-1","nick":"***","currency":"EUR","name":"xxx","n":-1.1,"ok":false,"none":null}"#
    );
}

#[test]
fn strict_leaves_shapes_and_allowed_headers() {
    let redactor = with_rules("profile: strict\nallow: {headers: [x-version], query: [page]}");
    let mut exchange = exchange();
    let request = exchange.request.as_mut().unwrap();
    request.target = Bytes::from_static(b"/v1/users/8812?page=2&q=words");
    request.headers = headers(&[("Accept", "*/*"), ("X-Version", "3"), ("X-Thing", "words")]);
    request.body = body(b"just words");
    let redacted = redactor.redact(exchange);
    let request = redacted.get().request.as_ref().unwrap();
    let target = std::str::from_utf8(&request.target).unwrap();
    assert!(target.starts_with("/v1/users/") && target.contains("?page=2&q="), "{target}");
    assert!(!target.contains("8812") && !target.contains("words"), "{target}");
    let values: Vec<&[u8]> = request.headers.iter().map(|header| header.value).collect();
    assert_eq!((values[0], values[1]), (&b"*/*"[..], &b"3"[..]));
    assert_ne!(values[2], b"words");
    assert_eq!(redacted.request_body_dropped(), Some(DropReason::Policy));
}

#[test]
fn of_several_settings_the_strictest_counts() {
    let settings = |yaml: &str| serde_yaml_ng::from_str::<Settings>(yaml).unwrap();
    let keep = settings(
        "rules: [{field: password, action: keep}, {pattern: 'b.b', action: mask}]\nbodies: {opaque: keep}",
    );
    let drop = settings("rules: [{field: nick, action: drop}]");
    let key = Key::new(b"a key for tests, not for use").unwrap();
    let redactor = Redactor::strictest(&[&keep, &drop], key).unwrap();
    let document = br#"{"password":"s3cret","nick":"bob","x":"a bob"}"#;
    let redacted = redact_body_with(&redactor, "application/json", document, Completeness::Complete);
    assert_eq!(
        text(&redacted),
        format!(r#"{{"password":"{}","nick":null,"x":"a ***"}}"#, token_of("s3cret"))
    );
    let image = redact_body_with(&redactor, "image/png", b"\x89PNG\0", Completeness::Complete);
    assert_eq!(image.request_body_dropped(), Some(DropReason::Opaque));
}

#[test]
fn all_mistakes_are_reported_with_their_place() {
    let settings: Settings = serde_yaml_ng::from_str(
        "profile: none
headers: ['a b']
profiles:
  loop: {extends: loop}
  standard: {}
  unused: {rules: [{field: '-'}]}
rules:
  - {}
  - {when: 'request.pth == 1', header: x}
  - {json: '$.a[x'}
  - {pattern: 'a(b'}
  - {detector: telepathy}
  - {body: true, action: mask}
  - {header: a, query: b}
  - {path: /a/b}
",
    )
    .unwrap();
    let errors = check(&settings).unwrap_err().to_string();
    for expected in [
        "profile: there is no profile \"none\"",
        "headers[0]: \"a b\" is not a header's name",
        "profiles.loop.extends: \"loop\" extends itself",
        "profiles.standard: ",
        "profiles.unused.rules[0].field: ",
        "rules[0].place: name one of",
        "rules[1].when: line 1, column ",
        "rules[2].json: column 4: ",
        "rules[3].pattern: column 2: unclosed group",
        "rules[4].detector: there is no detector \"telepathy\"",
        "rules[5].action: ",
        "rules[6].place: ",
        "rules[7].path: marks no segment",
    ] {
        assert!(errors.lines().any(|line| line.starts_with(expected)), "{expected} in:\n{errors}");
    }
    assert!(
        serde_yaml_ng::from_str::<Settings>("rules: [{heder: x}]").is_err(),
        "unknown fields are refused"
    );
}

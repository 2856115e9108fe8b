//! Bodies: what passes, what is replaced, what is dropped and why.

use tap_flow::{Cause, Completeness};
use tap_redact::DropReason;

use crate::sample::{
    body, exchange, headers, redact_body, redact_body_with, redacted_text, redactor, text, token_of,
    with_rules,
};

const CUT: Completeness = Completeness::Truncated { bytes: 0, cause: Cause::BodyCap };

/// Passes what is there of truncated bodies.
fn prefixes() -> tap_redact::Redactor {
    with_rules("bodies: {truncated: redact}")
}

fn dropped(media: &str, content: &[u8]) -> Option<DropReason> {
    let redacted = redact_body(media, content, Completeness::Complete);
    let reason = redacted.request_body_dropped();
    assert_eq!(reason.is_some(), redacted.get().request.as_ref().unwrap().body.content.is_empty());
    reason
}

#[test]
fn named_fields_of_json_are_replaced_and_the_rest_copied() {
    let t = token_of("s3cret");
    for (document, expected) in [
        (r#"{ "a" : 1.50 , "password" : "s3cret" }"#, format!(r#"{{ "a" : 1.50 , "password" : "{t}" }}"#)),
        (r#"[{"Pass-Word":"s3cret"},{"b":[]}]"#, format!(r#"[{{"Pass-Word":"{t}"}},{{"b":[]}}]"#)),
        (r#"{"pass\u0077ord":"s3cret"}"#, format!(r#"{{"pass\u0077ord":"{t}"}}"#)),
        (
            r#"{"password":"a","password":"s3cret"}"#,
            format!(r#"{{"password":"{}","password":"{t}"}}"#, token_of("a")),
        ),
        (
            r#"{"credentials":{"user":"s3cret","list":["s3cret",true,null,[{"x":"s3cret"}]]},"z":"s3cret"}"#,
            format!(
                r#"{{"credentials":{{"user":"{t}","list":["{t}",true,null,[{{"x":"{t}"}}]]}},"z":"s3cret"}}"#
            ),
        ),
        (
            r#"{"password":"","secret":null,"token":false}"#,
            r#"{"password":"","secret":null,"token":false}"#.to_owned(),
        ),
        ("\"password\"", "\"password\"".to_owned()),
        ("", String::new()),
        ("12", "12".to_owned()),
        ("{\"token\":\"s3cret\"}\n{\"a\":1}\n", format!("{{\"token\":\"{t}\"}}\n{{\"a\":1}}\n")),
        ("\u{feff}{\"token\":\"s3cret\"}", format!("\u{feff}{{\"token\":\"{t}\"}}")),
        (")]}',\n{\"token\":\"s3cret\"}", format!(")]}}',\n{{\"token\":\"{t}\"}}")),
        (
            r#"{"a":NaN,"b":-Infinity,"user.email":"s3cret"}"#,
            format!(r#"{{"a":NaN,"b":-Infinity,"user.email":"{t}"}}"#),
        ),
    ] {
        for media in
            ["application/json", "application/problem+json; charset=utf-8", "", "text/plain", "text/html"]
        {
            if media.starts_with("application/") || document.starts_with(['{', '[', '\u{feff}']) {
                assert_eq!(redacted_text(media, document), expected, "{media}");
            }
        }
    }
}

#[test]
fn clean_content_is_the_same_bytes() {
    let document = br#"{"items":[{"id":1,"name":"x","ratio":1.0e-3}],"ok":true}"#;
    let mut exchange = exchange();
    let request = exchange.request.as_mut().unwrap();
    request.headers = headers(&[("Content-Type", "application/json")]);
    request.body = body(document);
    let before = request.body.content.clone();
    let redacted = redactor().redact(exchange);
    let after = &redacted.get().request.as_ref().unwrap().body.content;
    assert_eq!((after, after.as_ptr()), (&before, before.as_ptr()));
    assert!(redacted.redactions().is_empty());
}

#[test]
fn truncated_json_loses_its_incomplete_end() {
    for (document, expected) in [
        (r#"{"a":1,"b":"tex"#, r#"{"a":1,"b":"#),
        (r#"{"a":1,"passw"#, r#"{"a":1,"#),
        (r#"{"a":1,"password"#, r#"{"a":1,"#),
        (r#"{"a":1,"password":"s3"#, r#"{"a":1,"password":"#),
        (r#"{"a":12"#, r#"{"a":"#),
        (r#"{"a":tr"#, r#"{"a":"#),
        (r#"{"a":"x\"#, r#"{"a":"#),
        (r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"[[["#, r#"[[["#),
    ] {
        let redacted = redact_body_with(&prefixes(), "application/json", document.as_bytes(), CUT);
        assert_eq!(text(&redacted), expected, "{document}");
        assert_eq!(redacted.request_body_dropped(), None);
        let redacted = redact_body("application/json", document.as_bytes(), CUT);
        assert_eq!(redacted.request_body_dropped(), Some(DropReason::Truncated));
    }
}

#[test]
fn named_fields_of_forms_are_replaced() {
    let t = token_of("s3cret value");
    for (form, expected) in [
        ("a=1&password=s3cret+value&b=", format!("a=1&password={t}&b=")),
        ("pass%77ord=s3cret%20value", format!("pass%77ord={t}")),
        (
            "user%5Bemail%5D=a%40b.example",
            format!("user%5Bemail%5D={}", token_of("a@b.example").replace('@', "%40")),
        ),
        ("card=4111+1111+1111+1111", format!("card={}", token_of("4111 1111 1111 1111").replace(' ', "%20"))),
        ("no pairs at all", "no pairs at all".to_owned()),
    ] {
        assert_eq!(redacted_text("application/x-www-form-urlencoded", form), expected);
    }
    assert_eq!(redacted_text("", "a=1&token=x"), format!("a=1&token={}", token_of("x")));
    assert_eq!(redacted_text("text/plain", "a=1&token=x"), format!("a=1&token={}", token_of("x")));
    let cut =
        redact_body_with(&prefixes(), "application/x-www-form-urlencoded", b"a=1&password=s3cret&tok%6", CUT);
    assert_eq!(text(&cut), format!("a=1&password={}", token_of("s3cret")));
}

#[test]
fn what_is_not_understood_is_dropped() {
    for (media, content, reason) in [
        ("application/json", &b"{\"password\":\"x\""[..], DropReason::Malformed),
        ("application/json", b"{'password':'x'}", DropReason::Malformed),
        ("application/json", b"{\"a\":1,}", DropReason::Malformed),
        ("application/json", b"{\"a\" 1}", DropReason::Malformed),
        ("application/json", b"[1}", DropReason::Malformed),
        ("application/json", b"password=x", DropReason::Malformed),
        ("application/json", b"{\"a\":\"\\q\",\"token\\q\":1}", DropReason::Malformed),
        ("application/json", b"{\"a\":\"\xff\"}", DropReason::Malformed),
        ("", b"{\"password\": \"x\" oops", DropReason::Malformed),
        ("application/octet-stream", b"text", DropReason::Opaque),
        ("image/png", b"\x89PNG", DropReason::Opaque),
        ("application/x-protobuf", b"\x0a\x01", DropReason::Opaque),
        ("application/unheard-of", b"text", DropReason::Opaque),
        ("application/json; charset=utf-16le", b"{\0}\0", DropReason::Opaque),
        ("application/json; charset=\"utf-7\"", b"{}", DropReason::Opaque),
        ("", b"a\0b", DropReason::Opaque),
        ("", b"\xff\xfe", DropReason::Malformed),
        ("text/plain", b"caf\xe9", DropReason::Malformed),
    ] {
        assert_eq!(dropped(media, content), Some(reason), "{media} {}", content.escape_ascii());
    }
    let deep = [b"[".repeat(200), b"]".repeat(200)].concat();
    assert_eq!(dropped("application/json", &deep), Some(DropReason::TooDeep));
    let deep = [b"[".repeat(128), b"]".repeat(128)].concat();
    assert_eq!(dropped("application/json", &deep), None);
}

#[test]
fn text_passes() {
    for (media, content) in [
        ("text/plain", "password is x"),
        ("text/plain", "see: http://h.example/a?b=c"),
        ("text/html; charset=UTF-8", "<a href=\"?a=1\">"),
        ("application/xml", "<name>x</name>"),
        ("image/svg+xml", "<svg/>"),
        ("application/javascript", "let a = {count: 1}"),
        ("text/plain", "[2026-01-31] started"),
        ("text/csv", "a,b\n1,2"),
        ("", "plain words"),
    ] {
        assert_eq!(redacted_text(media, content), content, "{media}");
    }
    let cut =
        redact_body_with(&prefixes(), "text/plain", "un caf\u{e9}".as_bytes().split_last().unwrap().1, CUT);
    assert_eq!(text(&cut), "un");
}

#[test]
fn a_coding_that_is_still_there_drops_the_body() {
    let mut exchange = exchange();
    let response = exchange.response.as_mut().unwrap();
    response.headers = headers(&[("Content-Type", "application/json"), ("Content-Encoding", "odd")]);
    response.body = body(b"{}");
    response.body.undecoded = true;
    let redacted = with_rules("opaque_bodies: keep").redact(exchange);
    assert_eq!(redacted.response_body_dropped(), Some(DropReason::Undecodable));
    assert_eq!(redacted.request_body_dropped(), None);
    assert_eq!(redacted.redactions()[0].rule, "body.undecodable");
    assert_eq!(redacted.redactions()[0].action, "drop");
}

#[test]
fn opaque_bodies_can_be_kept() {
    let keep = with_rules("opaque_bodies: keep");
    let redacted = redact_body_with(&keep, "image/png", b"\x89PNG\0", Completeness::Complete);
    assert_eq!(redacted.get().request.as_ref().unwrap().body.content, &b"\x89PNG\0"[..]);
    let redacted = redact_body_with(&keep, "application/json", b"{", Completeness::Complete);
    assert_eq!(redacted.request_body_dropped(), Some(DropReason::Malformed), "JSON is not opaque");
}

#[test]
fn a_body_with_a_hole_passes_up_to_it() {
    let document = br#"{"a":"b","password":"s3cret","c":"d"}"#;
    let gap = |offset| Completeness::Gap { offset, bytes: 5 };
    let redacted = redact_body_with(&prefixes(), "application/json", document, gap(12));
    assert_eq!(text(&redacted), r#"{"a":"b","#);
    assert_eq!(
        redact_body("application/json", document, gap(0)).request_body_dropped(),
        Some(DropReason::Incomplete)
    );
    let joined = redact_body("application/json", document, Completeness::JoinedMidstream);
    assert_eq!(joined.request_body_dropped(), Some(DropReason::Incomplete));
    let ambiguous = Completeness::Truncated { bytes: 0, cause: Cause::AmbiguousFraming };
    assert_eq!(redact_body("", document, ambiguous).request_body_dropped(), Some(DropReason::Malformed));
}

#[test]
fn two_types_are_none() {
    let mut exchange = exchange();
    let request = exchange.request.as_mut().unwrap();
    request.headers = headers(&[("Content-Type", "text/csv"), ("content-type", "application/json")]);
    request.headers.push("X", "");
    request.body = body(b"{}");
    assert_eq!(redactor().redact(exchange).request_body_dropped(), Some(DropReason::Opaque));
}

#[test]
fn places_name_fields_but_no_data() {
    let document =
        br#"{"users":{"alice@example.com":{"email":"x"},"4711471147":{"email":"y"},"bob":[{"email":"z"}]}}"#;
    let redacted = redact_body("application/json", document, Completeness::Complete);
    let of_fields = redacted.redactions().iter().filter(|redaction| redaction.rule == "field.email");
    let places: Vec<(&str, u32)> = of_fields.map(|r| (r.place.as_str(), r.count)).collect();
    assert_eq!(places, [("request.body.$.users.*.email", 2), ("request.body.$.users.bob[].email", 1)]);
    assert!(!text(&redacted).contains("alice"), "names are looked into too");
}

#[test]
fn a_name_that_is_replaced_is_recorded_with_its_path() {
    let redacted = redact_body(
        "application/json",
        br#"{"users":{"ada@mail.example.org":{"n":1},"eve@mail.example.org":{"n":2}}}"#,
        Completeness::Complete,
    );
    let places: Vec<(&str, &str, u32)> =
        redacted.redactions().iter().map(|r| (r.rule.as_str(), r.place.as_str(), r.count)).collect();
    assert_eq!(places, [("detector.email", "request.body.$.users.*", 2)]);
    // Nor is it shown in the places below it.
    let redacted = redact_body(
        "application/json",
        br#"{"AKIAPHKQBIHQYBMQIBDD":{"email":"x","n":[{"phone":"y"}]},"n":{"email":"x"}}"#,
        Completeness::Complete,
    );
    let places: Vec<&str> = redacted.redactions().iter().map(|r| r.place.as_str()).collect();
    let strict = redact_body_with(
        &with_rules("profile: strict"),
        "application/json",
        br#"{"AKIAPHKQBIHQYBMQIBDD":{"email":"x"}}"#,
        Completeness::Complete,
    );
    assert!(!format!("{strict:?}{}", text(&strict)).contains("PHKQBIHQ"), "{}", text(&strict));
    assert_eq!(
        places,
        [
            "request.body.$.*",
            "request.body.$.*.email",
            "request.body.$.*.n[].phone",
            "request.body.$.n.email"
        ]
    );
}

#[test]
fn a_column_whose_name_is_replaced_is_not_shown() {
    let table = b"n,AKIAPHKQBIHQYBMQIBDD,mail\n1,ada@mail.example.org,2\n";
    let redacted = redact_body("text/csv", table, Completeness::Complete);
    let places: Vec<&str> = redacted.redactions().iter().map(|r| r.place.as_str()).collect();
    assert_eq!(places, ["request.body", "request.body.*", "request.body.mail"]);
    assert!(!text(&redacted).contains("AKIA"));
}

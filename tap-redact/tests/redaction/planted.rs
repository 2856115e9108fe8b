//! Secrets planted in every place, encoding and cut: none comes out, nor eight characters of one.

use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;
use tap_flow::{Cause, Completeness, Exchange, Headers};
use tap_redact::Redacted;

use crate::sample::{body, exchange, headers, redactor, with_rules};

/// Everything of the exchange that could be written anywhere.
fn everything(redacted: &Redacted<Exchange>) -> Vec<u8> {
    let mut all = format!("{redacted:?}").into_bytes();
    for redaction in redacted.redactions() {
        all.extend(format!("\n{} {} {}\n", redaction.rule, redaction.place, redaction.action).bytes());
    }
    let mut fields = |headers: &Headers| {
        for header in headers.iter() {
            all.extend([header.name, b": ", header.value, b"\n"].concat());
        }
    };
    let (request, response) =
        (redacted.get().request.as_ref().unwrap(), redacted.get().response.as_ref().unwrap());
    for part in [&request.headers, &request.trailers, &response.headers, &response.trailers] {
        fields(part);
    }
    for part in [&request.target, &request.body.content, &response.body.content, &response.reason] {
        all.extend_from_slice(part);
        all.push(b'\n');
    }
    all
}

pub(crate) fn assert_gone(redacted: &Redacted<Exchange>, secret: &str) {
    let all = everything(redacted);
    for part in secret.as_bytes().windows(8) {
        if let Some(at) = all.windows(8).position(|window| window == part) {
            let around = &all[at.saturating_sub(60)..(at + 60).min(all.len())];
            panic!("of {secret} this is left: {}", around.escape_ascii());
        }
    }
}

/// Distinct from everything else in an exchange, and from tokens.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[QXZ]{3}[A-Z]{5}[A-Z0-9]{4,12}",
        "QXZ[A-Z ]{9,20}[A-Z]",
        "qxz[a-z]{9,12}@[a-z]{8}\\.org",
        "[1-9][0-9]{11}",
        "4[0-9]{3} [0-9]{4} [0-9]{4} [0-9]{4}",
        "QXZ[A-Z\"\\\\/é]{9,20}[A-Z]",
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "password",
        "PassWord",
        "pass_word",
        "user_password",
        "newPasswordAgain",
        "access_token",
        "apiKey",
        "api-key",
        "card",
        "cardNumber",
        "e_mail",
        "customerEmail",
        "phone",
        "first_name",
        "address",
        "ssn",
        "iban",
        "client_secret",
    ])
}

/// How a JSON text may spell the same string.
fn json_string(text: &str, escaped: bool) -> String {
    let mut json = String::from("\"");
    for (at, char) in text.chars().enumerate() {
        match char {
            '"' | '\\' => {
                json.push('\\');
                json.push(char);
            }
            _ if escaped && at % 3 == 1 => {
                let _ = write!(json, "\\u{:04x}", u32::from(char));
            }
            _ => json.push(char),
        }
    }
    json + "\""
}

/// How a form may spell the same text.
fn form_text(text: &str, escaped: bool) -> String {
    let mut form = String::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if !escaped => form.push('+'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' if !escaped || at % 3 != 1 => {
                form.push(char::from(byte))
            }
            _ => {
                let _ = write!(form, "%{byte:02x}");
            }
        }
    }
    form
}

/// A document with the secret under the name, at some depth, among others.
fn document() -> impl Strategy<Value = (String, String)> {
    let clean = || {
        proptest::sample::select(vec![
            "1",
            "true",
            "null",
            "\"text\"",
            "{}",
            "[]",
            "{\"a\":[1,2]}",
            "[{\"b\":\"\\n\\\"\"}]",
            "-1.5e3",
            "\"{\"",
        ])
    };
    (secret(), name(), any::<bool>(), 0..6_usize, clean(), clean(), 0..5_usize).prop_map(
        |(secret, name, escaped, depth, before, after, shape)| {
            let name = json_string(name, escaped);
            let value = json_string(&secret, escaped);
            let value = match shape {
                0 => format!("[{before},{value}]"),
                1 => format!("{{\"inner\":{after},\"deep\":[[{value}]]}}"),
                2 if secret.bytes().all(|byte| byte.is_ascii_digit()) => secret.clone(),
                _ => value,
            };
            let mut document = format!("{{\"x\": {before} ,{name}:{value}, \"y\":{after}}}");
            for level in 0..depth {
                document = if level % 2 == 0 {
                    format!("[{before},{document}]")
                } else {
                    format!("{{\"k\":{document}}}")
                };
            }
            (secret, document)
        },
    )
}

fn with_bodies(media: &str, content: &[u8], completeness: Completeness) -> Exchange {
    let mut exchange = exchange();
    let fields = if media.is_empty() { Headers::default() } else { headers(&[("Content-Type", media)]) };
    let request = exchange.request.as_mut().unwrap();
    request.headers = fields.clone();
    request.body = body(content);
    request.completeness = completeness;
    let response = exchange.response.as_mut().unwrap();
    response.headers = fields;
    response.body = body(content);
    response.completeness = completeness;
    exchange
}

proptest! {
    // Each case looks at every cut of a document.
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn in_json((secret, document) in document(), media in proptest::sample::select(vec!["application/json", "", "text/plain"])) {
        let redacted = redactor().redact(with_bodies(media, document.as_bytes(), Completeness::Complete));
        assert_gone(&redacted, &secret);
        let after = &redacted.get().request.as_ref().unwrap().body.content;
        let value: Result<serde_json::Value, _> = serde_json::from_slice(after);
        prop_assert!(value.is_ok(), "{} is no JSON", after.escape_ascii());
        // The same again, and the same in the response.
        let again = redactor().redact(with_bodies(media, document.as_bytes(), Completeness::Complete));
        prop_assert_eq!(redacted.get(), again.get());
        prop_assert_eq!(after, &redacted.get().response.as_ref().unwrap().body.content);
    }

    #[test]
    fn in_json_cut_anywhere((secret, document) in document()) {
        let prefixes = with_rules("bodies: {truncated: redact}");
        for end in 0..=document.len() {
            let cut = Completeness::Truncated { bytes: 1, cause: Cause::BodyCap };
            let redacted = prefixes.redact(with_bodies("application/json", &document.as_bytes()[..end], cut));
            assert_gone(&redacted, &secret);
            // Cut short without a word of it, the document is not one.
            let redacted = redactor().redact(with_bodies("application/json", &document.as_bytes()[..end], Completeness::Complete));
            assert_gone(&redacted, &secret);
            let hole = Completeness::Gap { offset: end as u64, bytes: 3 };
            let redacted = prefixes.redact(with_bodies("application/json", document.as_bytes(), hole));
            assert_gone(&redacted, &secret);
        }
    }

    #[test]
    fn in_forms_and_targets(secret in secret(), name in name(), escaped in any::<bool>(), media in proptest::sample::select(vec!["application/x-www-form-urlencoded", "", "text/plain"])) {
        let pairs = format!("a=1&{}={}&b=2", form_text(name, escaped), form_text(&secret, escaped));
        let prefixes = with_rules("bodies: {truncated: redact}");
        for end in 0..=pairs.len() {
            let cut = Completeness::Truncated { bytes: 1, cause: Cause::BodyCap };
            let completeness = if end == pairs.len() { Completeness::Complete } else { cut };
            let mut exchange = with_bodies(media, &pairs.as_bytes()[..end], completeness);
            exchange.request.as_mut().unwrap().target = Bytes::from(format!("/p?{}", &pairs[..end]));
            let redacted = prefixes.redact(exchange);
            assert_gone(&redacted, &secret);
            assert_gone(&redacted, &form_text(&secret, escaped));
        }
    }

    #[test]
    fn in_headers(secret in secret(), escaped in any::<bool>()) {
        let encoded = form_text(&secret, escaped);
        let fields = [
            ("Authorization", format!("Bearer {secret}")),
            ("Authorization", secret.clone()),
            ("Proxy-Authorization", format!("Negotiate {secret}")),
            ("Cookie", format!("a=b; session={secret}; {encoded}; c={encoded}")),
            ("Set-Cookie", format!("session={encoded}; Path=/")),
            ("X-Api-Key", secret.clone()),
            ("X-Refresh-Token", secret.clone()),
            ("Referer", format!("http://{encoded}:{encoded}@host/a;sid={encoded}?token={encoded}#access_token={encoded}")),
            ("Location", format!("/a?password={encoded}")),
        ];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut exchange = exchange();
        let request = exchange.request.as_mut().unwrap();
        request.target = Bytes::from(format!("http://{encoded}@host/;sid={encoded}?token={encoded}"));
        request.headers = headers(&fields);
        request.trailers = headers(&fields);
        let response = exchange.response.as_mut().unwrap();
        response.headers = headers(&fields);
        response.trailers = headers(&fields);
        let redacted = redactor().redact(exchange);
        assert_gone(&redacted, &secret);
        assert_gone(&redacted, &encoded);
    }

    #[test]
    fn any_bytes_anywhere(
        content in proptest::collection::vec(any::<u8>(), 0..300),
        media in proptest::sample::select(vec!["application/json", "application/x-www-form-urlencoded", "", "text/plain", "multipart/form-data; boundary=b", "text/html", "text/csv", "text/event-stream", "application/graphql"]),
        offset in 0..400_u64,
    ) {
        for completeness in [
            Completeness::Complete,
            Completeness::Truncated { bytes: 0, cause: Cause::BodyCap },
            Completeness::Gap { offset, bytes: 1 },
        ] {
            let mut exchange = with_bodies(media, &content, completeness);
            let request = exchange.request.as_mut().unwrap();
            request.target = content.clone().into();
            for name in ["authorization", "cookie", "set-cookie", "referer", "link", "refresh", "x-token"] {
                request.headers.push(name, &content);
            }
            redactor().redact(exchange);
        }
    }

    #[test]
    fn pieces_of_json(pieces in proptest::collection::vec(proptest::sample::select(vec![
        "{", "}", "[", "]", ":", ",", "\"", "\"password\"", "\"a\"", "\\", "\\u00", "\\ud800", "1", "-", "e", ".", "true", "nul", "NaN", "-Inf", " ", "\n", "é", "\u{1e}",
    ]), 0..30)) {
        let document = pieces.concat();
        for completeness in [Completeness::Complete, Completeness::Truncated { bytes: 0, cause: Cause::BodyCap }] {
            let redacted = redactor().redact(with_bodies("application/json", document.as_bytes(), completeness));
            let after = &redacted.get().request.as_ref().unwrap().body.content;
            if serde_json::from_str::<serde_json::Value>(&document).is_ok() {
                // Of a document whose root was cut off, nothing is left but white space.
                prop_assert!(serde_json::from_slice::<serde_json::Value>(after).is_ok() || after.trim_ascii().is_empty());
            }
        }
    }
}

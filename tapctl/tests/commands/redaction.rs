//! `tapctl redact` on files, `tapctl audit` on what a collector has.

use tap_proto::v1::{Body, Header, body::Content};
use tapctl::Verdict;

use crate::{
    collector::{Collector, Served, exchange},
    tapctl,
};

/// An address of nothing: the command must not connect.
const NOWHERE: &str = "http://127.0.0.1:9";

async fn redact(content: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), content)?;
    let path = file.path().to_str().unwrap_or_default();
    let arguments = [&["redact", path], arguments].concat();
    let (verdict, out) = crate::at(NOWHERE, &arguments).await?;
    assert_eq!(verdict, Verdict::Good);
    Ok(out)
}

const RAW: &str = "POST /signup?token=s3cr3tvalue HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer s3cr3tvalue\r\n\
    Content-Type: application/json\r\n\r\n{\"email\":\"ada@example.org\",\"note\":\"card 4111111111111111\",\"n\":1}";

#[tokio::test]
async fn what_would_be_replaced_is_told_by_rule_and_place_without_values() {
    let told = redact(RAW, &[]).await.unwrap();
    for (rule, place) in [
        ("field.token", "request.target.token"),
        ("header.authorization", "request.headers.Authorization"),
        ("field.email", "request.body.$.email"),
        ("detector.payment_card", "request.body.$.note"),
    ] {
        let line =
            told.lines().find(|line| line.contains(rule)).unwrap_or_else(|| panic!("{rule} in {told}"));
        assert!(
            line.to_lowercase().contains(&place.to_lowercase()) && line.contains("POST /signup"),
            "{line}"
        );
    }
    for value in ["s3cr3t", "ada@", "4111"] {
        assert!(!told.contains(value), "{told}");
    }
}

#[tokio::test]
async fn values_are_shown_where_asked_for() {
    let told = redact(RAW, &["--show-values"]).await.unwrap();
    assert!(told.contains("- target: /signup?token=s3cr3tvalue"), "{told}");
    assert!(told.contains("+ target: /signup?token=tok_"), "{told}");
    assert!(told.contains("@redacted.example"), "{told}");
}

#[tokio::test]
async fn a_document_is_written_as_it_would_be() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "00112233445566778899aabbccddeeff").unwrap();
    let key = ["--key-file", key.path().to_str().unwrap()];
    let document = "{\"users\": [{\"email\": \"ada@example.org\", \"visits\": 3}]}\n";
    let written = redact(document, &[&key[..], &["--write", "-"]].concat()).await.unwrap();
    let token = tap_redact::Key::parse(b"00112233445566778899aabbccddeeff")
        .unwrap()
        .token(tap_redact::Detector::Email, "ada@example.org");
    assert_eq!(written, document.replace("ada@example.org", &token));
    // Once more changes nothing.
    assert_eq!(redact(&written, &[&key[..], &["--write", "-"]].concat()).await.unwrap(), written);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out.json");
    let told = redact(document, &[&key[..], &["--write", file.to_str().unwrap()]].concat()).await.unwrap();
    assert!(told.contains("field.email"), "{told}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), written);

    let error = redact(RAW, &["--write", "-"]).await.unwrap_err();
    assert!(error.to_string().contains("only JSON can be written"), "{error}");
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(rules.path(), "rules: [{body: true, action: drop}]").unwrap();
    let rules = ["--rules", rules.path().to_str().unwrap(), "--write", "-"];
    let error = redact(document, &rules).await.unwrap_err();
    assert!(error.to_string().contains("--write: redaction drops the document"), "{error}");
}

#[tokio::test]
async fn one_key_gives_the_same_tokens_again() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "2026-11 = 00112233445566778899aabbccddeeff\n").unwrap();
    let arguments = ["--show-values", "--key-file", key.path().to_str().unwrap()];
    let first = redact(RAW, &arguments).await.unwrap();
    assert_eq!(first, redact(RAW, &arguments).await.unwrap());
    assert_ne!(first, redact(RAW, &["--show-values"]).await.unwrap());
}

#[tokio::test]
async fn a_har_and_json_are_read_too() {
    let har = serde_json::json!({"log": {"entries": [
        {"request": {"method": "GET", "url": "https://shop.example/a?b=1", "headers": []},
         "response": {"status": 200, "headers": [], "content": {"mimeType": "application/json", "text": "{\"iban\":\"DE89370400440532013000\"}"}}},
        {"request": {"method": "GET", "url": "https://shop.example/c", "headers": []}},
    ]}});
    let told = redact(&har.to_string(), &["-o", "jsonl"]).await.unwrap();
    let effect: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(effect["exchange"], "1: GET /a");
    assert_eq!((&effect["rule"], &effect["place"]), (&"field.iban".into(), &"response.body.$.iban".into()));
    let told = redact("[{\"x\": \"write to ada@example.org\"}]", &["-o", "json"]).await.unwrap();
    let effects: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(effects[0]["rule"], "detector.email");
}

#[tokio::test]
async fn rules_and_profiles_are_applied_and_checked() {
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(rules.path(), "redaction:\n  key_file: /nowhere\n  fields: [nickname]\n").unwrap();
    let path = rules.path().to_str().unwrap();
    let told = redact("{\"nickname\": \"Countess\"}", &["--rules", path]).await.unwrap();
    assert!(told.contains("field.nickname"), "{told}");
    let told = redact("{\"colour\": \"blue\"}", &["--profile", "strict"]).await.unwrap();
    assert!(told.contains("shape"), "{told}");
    std::fs::write(rules.path(), "fieldz: [x]\n").unwrap();
    let error = redact("{}", &["--rules", path]).await.unwrap_err();
    assert!(error.is::<tapctl::WrongUsage>() && error.to_string().contains("fieldz"), "{error}");
    let error = redact("{}", &["--profile", "none-such"]).await.unwrap_err();
    assert!(error.is::<tapctl::WrongUsage>(), "{error}");
}

/// Of ten exchanges, the fourth holds an address and a key, the fifth tokens alone.
async fn stored() -> Collector {
    let mut served = Served::of(10);
    let body = |text: &str| Some(Body { content: Some(Content::Text(text.into())), ..Body::default() });
    let request = served.exchanges[4].request.as_mut().unwrap();
    request.body = body("{\"note\": \"from ada@example.org\"}");
    request.headers = vec![
        Header { name: "Content-Type".into(), value: "application/json".into(), ..Header::default() },
        Header {
            name: "X-Note".into(),
            value: "ghp_0123456789abcdefghijABCDEFGHIJ012345".into(),
            ..Header::default()
        },
    ];
    let request = served.exchanges[5].request.as_mut().unwrap();
    request.body = body(
        "{\"email\": \"u_0123456789abcdef@redacted.example\", \"ip\": \"203.0.113.9\", \"password\": \"tok_abcdefghijklmnop2345\"}",
    );
    request.headers =
        vec![Header { name: "Content-Type".into(), value: "application/json".into(), ..Header::default() }];
    Collector::start(served).await
}

#[tokio::test]
async fn an_audit_tells_what_slipped_through_and_where_but_not_what() {
    let collector = stored().await;
    let (verdict, told) = tapctl(&collector, &["audit"]).await.unwrap();
    assert_eq!(verdict, Verdict::Bad);
    assert!(told.contains("detector.email") && told.contains("request.body.$.note"), "{told}");
    assert!(told.contains("detector.api_key.github") && told.contains(&exchange(4).id), "{told}");
    assert!(!told.contains("ada@") && !told.contains("ghp_0"), "{told}");
    assert!(!told.contains(&exchange(5).id), "a token is taken for a value: {told}");
    let (_, lines) = tapctl(&collector, &["audit", "--rule", "api_key", "-o", "jsonl"]).await.unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(!collector.served(|served| served.searches[0].summary), "bodies are needed");
}

#[tokio::test]
async fn an_audit_of_what_is_clean_is_good() {
    let collector = Collector::start(Served::of(10)).await;
    let (verdict, told) = tapctl(&collector, &["audit", "--since", "1h"]).await.unwrap();
    assert_eq!((verdict, told.as_str()), (Verdict::Good, ""));
}

//! A redacted capture of a stateful flow, replayed at a test instance whose data was redacted with the same key.

use std::{fs, path::Path};

use podtap_tests::{Agent, Cgroup, Shop, program};
use serde_json::Value;
use tap_proto::v1::{Exchange, body::Content};
use tempfile::TempDir;

use crate::{
    rig::{Rig, lines},
    tools::tapctl,
    traffic::curl,
};

/// What a customer does: each step stands on what the one before gave.
struct Customer<'a> {
    shop: &'a Shop,
    /// curl's cookie jar.
    cookies: String,
}

impl<'a> Customer<'a> {
    fn new(shop: &'a Shop, directory: &Path, name: &str) -> Self {
        Self { shop, cookies: directory.join(name).to_str().unwrap().to_owned() }
    }

    fn ask(&self, path: &str, arguments: &[&str]) -> Value {
        let url = self.shop.url(path);
        let arguments = [&["-b", &self.cookies, "-c", &self.cookies, &url], arguments].concat();
        serde_json::from_slice(&curl(&arguments)).unwrap()
    }

    fn buys(&self, email: &str, password: &str, card_number: &str, cvv: &str) {
        let (user, secret) = (format!("email={email}"), format!("password={password}"));
        let login = self.ask("/login", &["--data-urlencode", &user, "--data-urlencode", &secret]);
        let token = login["access_token"].as_str().unwrap();
        let bearer = format!("Authorization: Bearer {token}");
        let account = self.ask("/account", &[]);
        assert_eq!(account["email"], email);
        self.ask(&format!("/customers/{}", email.replace('@', "%40")), &[]);
        for item in ["desk", "lamp"] {
            let body = format!(r#"{{"item": "{item}"}}"#);
            self.ask("/cart", &["-H", &bearer, "-H", "Content-Type: application/json", "-d", &body]);
        }
        let form = self.ask("/form", &[]);
        let order = serde_json::json!({
            "csrf_token": form["csrf_token"], "card_number": card_number, "cvv": cvv,
        });
        let order = order.to_string();
        let paid = self.ask("/purchase", &["-H", "Content-Type: application/json", "-d", &order]);
        assert_eq!(paid["paid"], 238.5, "{paid}");
        self.ask(&format!("/receipt?access_token={token}&lang=en"), &[]);
    }
}

fn response_body(exchange: &Exchange) -> &str {
    match exchange.response.as_ref().and_then(|response| response.body.as_ref()?.content.as_ref()) {
        Some(Content::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// Every text and number of a document that names a person or opens a door.
fn secrets(data: &Value) -> Vec<String> {
    match data {
        Value::Object(fields) => fields.values().flat_map(secrets).collect(),
        Value::Array(items) => items.iter().flat_map(secrets).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

#[test]
fn a_redacted_capture_replays_against_redacted_data() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("shop").unwrap();
    let directory = TempDir::with_prefix("podtap-shop-").unwrap();
    let key = directory.path().join("redaction.key");
    fs::write(&key, "2026-11 = 7b1f00112233445566778899aabbccdd\n").unwrap();
    let data = program("shop.json");
    let shop = Shop::start(&cgroup, &data).unwrap();
    let options = rig.agent().target("shop", &cgroup);
    let agent =
        Agent::start(&options.settings(&format!("redaction: {{key_file: \"{}\"}}", key.display()))).unwrap();

    Customer::new(&shop, directory.path(), "grace").buys(
        "grace.hopper@navy.example",
        "correct horse battery staple",
        "5555 5555 5555 4444",
        "121",
    );
    Customer::new(&shop, directory.path(), "alan").buys(
        "alan.turing@bletchley.example",
        "enigma-1936",
        "378282246310005",
        "9051",
    );
    let captured = rig.stored("", 16);
    assert!(captured.iter().all(|exchange| exchange.redaction_key == "2026-11"), "{captured:#?}");
    let text = format!("{captured:?}");
    let production: Value = serde_json::from_slice(&fs::read(&data).unwrap()).unwrap();
    for secret in secrets(&production).iter().filter(|secret| secret.len() >= 5) {
        assert!(!text.contains(secret.as_str()), "{secret} was captured");
    }

    let redacted = directory.path().join("shop.redacted.json");
    let (key, redacted_path) = (key.to_str().unwrap(), redacted.to_str().unwrap());
    tapctl(&rig, &["redact", "--key-file", key, "--write", redacted_path, data.to_str().unwrap()]);
    let test_instance = Shop::start_untapped(&redacted).unwrap();
    // Slower than it was: each request is to find what the one before left.
    let replayed = tapctl(
        &rig,
        &[
            "--output",
            "json",
            "replay",
            "--target",
            &test_instance.url(""),
            "--allow-method",
            "POST",
            "--speed",
            "0.2",
            "--fail-on-mismatch",
        ],
    );
    let report: Value = serde_json::from_str(&replayed).unwrap();
    assert_eq!(report["statuses"]["200"].to_string().trim_matches('"'), "16", "{report:#}");

    let expected: Vec<&str> = captured.iter().map(response_body).collect();
    let answers = podtap_tests::until("the test instance has answered", || {
        let answers = test_instance.answers();
        if answers.len() == captured.len() { Ok(answers) } else { Err(format!("{} answers", answers.len())) }
    });
    assert_eq!(answers.unwrap(), expected, "{:#?}", lines(&captured));

    // With production's data as it is, nobody is known.
    let unredacted = Shop::start_untapped(&data).unwrap();
    let arguments = ["replay", "--target", &unredacted.url(""), "--allow-method", "POST", "--speed", "5"];
    tapctl(&rig, &arguments);
    assert!(unredacted.answers().iter().all(|answer| answer.contains("unknown")));
    rig.settle(agent);
    drop(shop);
}

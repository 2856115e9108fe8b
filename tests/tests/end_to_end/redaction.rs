//! Secrets do not leave the node: not into the table, not into a log, not into a metric.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use podtap_tests::{Agent, Cgroup, Nginx, binary};
use tap_proto::v1::body::Content;

use crate::{
    rig::Rig,
    traffic::{curl, exchange},
};

const SECRETS: [&str; 8] = [
    "bearer-s3cr3t-token",
    "cookie-s3cr3t-value",
    "s3cr3t-session-value",
    "key-s3cr3t-value",
    "query-s3cr3t-value",
    "hunter2-s3cr3t",
    "jane.doe@example.com",
    "4111111111111111",
];

/// Every file below a directory that holds one of the secrets, with the secret.
fn leaks(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(leaks(&path));
            continue;
        }
        let content = fs::read(&path).unwrap();
        for secret in SECRETS {
            if content.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                found.push(format!("{secret} in {}", path.display()));
            }
        }
    }
    found
}

#[test]
fn secrets_are_nowhere() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("secrets").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    // Everything that the agent can log.
    let options = rig.agent().target("web", &cgroup).settings("log: {filter: trace}");
    let agent = Agent::start(&options).unwrap();

    curl(&[
        "-H",
        "Authorization: Bearer bearer-s3cr3t-token",
        &nginx.url("/json?access_token=query-s3cr3t-value&page=2"),
    ]);
    curl(&[
        "-H",
        "Cookie: session=cookie-s3cr3t-value; theme=dark",
        "-H",
        "X-Api-Key: key-s3cr3t-value",
        &nginx.url("/login"),
    ]);
    let json = r#"{"user": {"email": "jane.doe@example.com", "password": "hunter2-s3cr3t"}, "card_number": "4111111111111111", "items": [1, 2]}"#;
    curl(&["-H", "Content-Type: application/json", "-d", json, &nginx.url("/upload")]);
    curl(&[
        "-d",
        "email=jane.doe@example.com&password=hunter2-s3cr3t&card_number=4111111111111111&size=9",
        &nginx.url("/upload"),
    ]);
    // Not HTTP, or broken: not passed either.
    exchange(
        nginx.address(),
        b"hunter2-s3cr3t nonsense\r\nAuthorization: Bearer bearer-s3cr3t-token\r\n\r\n",
    );

    // Where no name tells it, in all kinds of bodies, whole and broken.
    let torture = [
        ("application/json", r#"{"a": ["see jane.doe@example.com"], "b": "{\"c\": 4111111111111111}"}"#),
        ("application/json", r#"{"broken": "jane.doe@example.com", "card": 4111111111111111"#),
        ("application/xml", "<a note='jane.doe@example.com'><!-- 4111111111111111 --></a>"),
        ("text/html", "<p>jane.doe@example.com<script>let card = 4111111111111111;</script>"),
        ("text/csv", "id,note\n1,jane.doe@example.com\n2,4111111111111111\n"),
        ("text/plain", "write to jane.doe@example.com or pay with 4111111111111111"),
        ("text/event-stream", "data: {\"a\": \"jane.doe@example.com\"}\n\n"),
        ("application/graphql", "query { user(mail: \"jane.doe@example.com\") { id } }"),
        ("application/octet-stream", "jane.doe@example.com 4111111111111111"),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=\"n\"; filename=\"jane.doe@example.com.txt\"\r\n\r\n4111111111111111\r\n--b--\r\n",
        ),
    ];
    for (media, body) in torture {
        let media = format!("Content-Type: {media}");
        let path = "/torture/jane.doe%40example.com?q=4111111111111111";
        curl(&[
            "-H",
            &media,
            "-H",
            "X-Note: of jane.doe@example.com",
            "--data-binary",
            body,
            &nginx.url(path),
        ]);
    }
    let tortured = rig.stored(r#"role == "inbound" && request.path.startsWith("/torture/")"#, torture.len());

    let exchanges = rig.stored(r#"role == "inbound" && request.path in ["/json", "/login", "/upload"]"#, 4);
    let metrics = agent.admin("/metrics").unwrap();
    let log = agent.log();
    rig.settle(agent);

    let texts = [
        format!("{exchanges:?} {tortured:?}"),
        metrics,
        log,
        rig.collector.admin("/metrics").unwrap(),
        rig.collector.log(),
    ];
    for (place, text) in
        ["exchanges", "agent's metrics", "agent's log", "collector's metrics", "collector's log"]
            .iter()
            .zip(texts)
    {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is in the {place}");
        }
    }
    // Parquet compresses: the raw files are read too, for what is not, and the API above for what is.
    assert_eq!(leaks(rig.directory.path()), Vec::<String>::new());

    // Nor does any detector find one.
    let audit = audit(&rig);
    assert!(audit.status.success(), "{audit:?}");

    // What is no secret is kept, and what was replaced is told.
    let request = exchanges[0].request.as_ref().unwrap();
    assert!(request.query.contains("page=2"), "{}", request.query);
    assert!(request.headers.iter().any(|header| header.name == "Authorization"));
    let body = exchanges[2].request.as_ref().unwrap().body.as_ref().unwrap();
    let Some(Content::Text(text)) = &body.content else { panic!("{body:?}") };
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(json["items"], serde_json::json!([1, 2]));
    for exchange in &exchanges {
        assert!(!exchange.redactions.is_empty(), "{exchange:#?}");
    }
    // The same value is the same token everywhere, so that what belonged together still does.
    let form = exchanges[3].request.as_ref().unwrap().body.as_ref().unwrap();
    let Some(Content::Text(form)) = &form.content else { panic!("{form:?}") };
    assert!(form.contains("size=9"), "{form}");
}

fn audit(rig: &Rig) -> Output {
    Command::new(binary("tapctl").unwrap())
        .args(["--collector", &rig.collector.url(), "--output", "json", "audit", "--since", "1h"])
        .output()
        .unwrap()
}

#[test]
fn an_audit_finds_what_a_rule_let_through() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("audit").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let rule = r#"{name: open, when: 'request.path == "/contact"', detector: email, action: keep}"#;
    let options = rig.agent().target("web", &cgroup).settings(&format!("redaction: {{rules: [{rule}]}}"));
    let agent = Agent::start(&options).unwrap();
    for path in ["/contact", "/other"] {
        let body = r#"{"note": "write to jane.doe@example.com"}"#;
        curl(&["-H", "Content-Type: application/json", "-d", body, &nginx.url(path)]);
    }
    let stored = rig.stored("", 2);

    let audit = audit(&rig);
    assert_eq!(audit.status.code(), Some(1), "{audit:?}");
    let (told, said) = (String::from_utf8(audit.stdout).unwrap(), String::from_utf8(audit.stderr).unwrap());
    assert!(!told.contains("jane") && !said.contains("jane"), "{told} {said}");
    let found: serde_json::Value = serde_json::from_str(&told).unwrap();
    let found: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|effect| {
            let text = |field: &str| effect[field].as_str().unwrap();
            (text("exchange"), text("rule"), text("place"))
        })
        .collect();
    assert_eq!(found, [(stored[0].id.as_str(), "detector.email", "request.body.$.note")]);
    rig.settle(agent);
}

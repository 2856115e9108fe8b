//! Python and Node at both ends: each request is one exchange, as the client itself tells it.

use std::collections::HashSet;

use podtap_tests::{Cgroup, NodeServer, PythonServer};
use serde_json::Value;
use tap_proto::v1::{Body, body::Content};

use crate::{client::line, rig::Rig, traffic::run};

const REQUESTS: usize = 60;

fn text_of(body: Option<&Body>) -> &str {
    match body.and_then(|body| body.content.as_ref()) {
        Some(Content::Text(text)) => text,
        _ => "",
    }
}

/// What the client prints of each of its requests, against the table.
fn compare(interpreter: &str, client: &str, url: &str, rig: &Rig, path: &str) {
    let script = podtap_tests::program(client);
    let told = run(interpreter, &[script.to_str().unwrap(), url, &REQUESTS.to_string()]);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), REQUESTS);
    let exchanges =
        rig.stored(&format!(r#"role == "inbound" && request.path.startsWith("{path}")"#), REQUESTS);
    for (told, exchange) in told.iter().zip(&exchanges) {
        let text = |name: &str| told[name].as_str().unwrap();
        assert_eq!(line(exchange), format!("{} {} {}", text("method"), text("path"), told["status"]));
        let request = exchange.request.as_ref().unwrap();
        let response = exchange.response.as_ref().unwrap();
        assert_eq!(text_of(request.body.as_ref()), text("request_body"), "{}", line(exchange));
        assert_eq!(text_of(response.body.as_ref()), text("response_body"), "{}", line(exchange));
        assert!(
            response.headers.iter().any(|header| header.name == "X-Method" && header.value == text("method"))
        );
    }
    for pair in exchanges.windows(2) {
        // A kept-alive connection, until a client takes another (Node does after HEAD).
        let same = pair[0].flow == pair[1].flow;
        assert_eq!(pair[1].flow_index, if same { pair[0].flow_index + 1 } else { 0 });
    }
    let flows: HashSet<_> = exchanges.iter().map(|exchange| exchange.flow).collect();
    assert!(flows.len() <= 1 + REQUESTS / 5, "{} connections", flows.len());
}

#[test]
fn python_server() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("python").unwrap();
    let server = PythonServer::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    compare("python3", "client.py", &server.url("/"), &rig, "/python/");
    compare("node", "client.mjs", &server.url("/"), &rig, "/node/");
    let totals = rig.settle(agent);
    assert_eq!(totals.stored.exchanges, 2 * REQUESTS as u64, "{totals:#?}");
}

#[test]
fn node_server() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("node").unwrap();
    let server = NodeServer::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    compare("python3", "client.py", &server.url("/"), &rig, "/python/");
    compare("node", "client.mjs", &server.url("/"), &rig, "/node/");
    let totals = rig.settle(agent);
    assert_eq!(totals.stored.exchanges, 2 * REQUESTS as u64, "{totals:#?}");
}

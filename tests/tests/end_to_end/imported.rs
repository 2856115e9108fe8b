//! The same traffic by two ways: captured by an agent, and recorded by tcpdump and imported.

use std::process::Command;

use podtap_tests::{Agent, Cgroup, Nginx, Running, until};
use tap_proto::v1::{Body, Endpoint, Exchange, Header, Request, Response};

use crate::{
    rig::Rig,
    tools::tapctl,
    traffic::{curl, text},
};

/// Without what nginx causes as a client of itself: the agent sees both ends of that.
const OUTER: &str = r#"role == "inbound" && request.path != "/inner""#;

/// What both ways have to agree on: all that was said, and between whom.
#[derive(Debug, PartialEq)]
struct Said {
    ends: [Option<Endpoint>; 2],
    flow_index: u32,
    wire_bytes: u64,
    request: Option<Request>,
    response: Option<Response>,
}

fn said(exchange: Exchange) -> Said {
    let Exchange { source, destination, flow_index, wire_bytes, request, response, .. } = exchange;
    Said { ends: [source, destination], flow_index, wire_bytes, request, response }
}

#[test]
fn what_tcpdump_recorded_is_what_an_agent_captured() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("imported").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    nginx.put("page.txt", text(50_000)).unwrap();
    nginx.put("small.html", "<p>hello</p>").unwrap();
    let file = rig.directory.path().join("recorded.pcap");
    let url = nginx.url("/");
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
    let mut command = Command::new("tcpdump");
    // As root it would give the file away.
    command.args(["-i", "lo", "-U", "-Z", "root", "-w", file.to_str().unwrap(), "tcp", "port", port]);
    let tcpdump = Running::start("tcpdump", rig.directory.path(), &mut command).unwrap();
    until("tcpdump listens", || {
        if tcpdump.log().contains("listening on") { Ok(()) } else { Err(tcpdump.log()) }
    })
    .unwrap();
    // With the same key, both ways have the same tokens.
    let key = rig.directory.path().join("redaction.key");
    std::fs::write(&key, "2026-11 = 7b1f00112233445566778899aabbccdd\n").unwrap();
    let settings = format!("redaction: {{key_file: \"{}\"}}", key.display());
    let agent = Agent::start(&rig.agent().target("web", &cgroup).settings(&settings)).unwrap();

    let at = |path: &str| nginx.url(path);
    curl(&[&at("/files/small.html?a=1&b=%20"), &at("/json"), &at("/missing")]);
    curl(&["-d", r#"{"name": "widget"}"#, "-H", "Content-Type: application/json", &at("/upload")]);
    curl(&[
        "-X",
        "PUT",
        "-H",
        "Transfer-Encoding: chunked",
        "-H",
        "Content-Type: text/plain",
        "-d",
        "chunk",
        &at("/upload"),
    ]);
    curl(&["--compressed", &at("/files/page.txt")]);
    curl(&["-I", &at("/files/page.txt")]);
    curl(&[&at("/status/204")]);
    let captured = rig.stored(&format!("target == \"web\" && {OUTER}"), 8);
    // Everything is in the kernel's buffer by then; at its end tcpdump writes what is left there.
    tcpdump.terminate().unwrap();

    let import = || {
        tapctl(
            &rig,
            &["import", file.to_str().unwrap(), "--target", "imported", "--key-file", key.to_str().unwrap()],
        )
    };
    let told = import();
    assert!(told.contains("10 read, 10 stored\n"), "{told}");
    let imported = rig.stored(&format!("target == \"imported\" && {OUTER}"), 8);
    let captured: Vec<_> = captured.into_iter().map(said).collect();
    let imported: Vec<_> = imported.into_iter().map(said).collect();
    assert_eq!(imported, captured);
    let compressed = imported[5].response.as_ref().unwrap();
    let is_gzip = |header: &Header| header.name == "Content-Encoding" && header.value == "gzip";
    let Body { size, decoded_from, .. } = compressed.body.as_ref().unwrap();
    assert!(compressed.headers.iter().any(is_gzip) && decoded_from == "gzip" && *size < 50_000);

    let again = import();
    assert!(again.contains("10 stored (10 before)"), "{again}");
    rig.stored(&format!("target == \"imported\" && {OUTER}"), 8);
    rig.settle(agent);
}

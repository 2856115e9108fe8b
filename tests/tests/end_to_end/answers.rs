//! The tap never disturbs what it taps.

use std::net::SocketAddr;

use podtap_tests::{Cgroup, Nginx};

use crate::{
    rig::Rig,
    traffic::{exchange, run, text},
};

/// What the server answers to requests of many kinds, without the one header that tells the time.
fn answers(address: SocketAddr) -> Vec<Vec<u8>> {
    let requests = [
        "GET /files/page.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /files/page.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
            .to_owned(),
        "GET /files/large.txt HTTP/1.0\r\n\r\n".to_owned(),
        format!(
            "POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n{}",
            text(100_000)
        ),
        "HEAD /files/large.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /json HTTP/1.1\r\nHost: a\r\n\r\nGET /missing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            .to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ];
    requests.iter().map(|request| without_date(&exchange(address, request.as_bytes()))).collect()
}

fn without_date(answer: &[u8]) -> Vec<u8> {
    answer
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"Date: "))
        .flatten()
        .copied()
        .collect()
}

/// The programs attached to a cgroup, as the kernel tells them.
fn attached(cgroup: &Cgroup) -> Vec<serde_json::Value> {
    let listed = run("bpftool", &["--json", "cgroup", "show", cgroup.path().to_str().unwrap()]);
    if listed.trim().is_empty() { Vec::new() } else { serde_json::from_str(&listed).unwrap() }
}

#[test]
fn answers_are_the_same_with_and_without_the_tap() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("answers").unwrap();
    let mut nginx = Nginx::start(&cgroup).unwrap();
    nginx.put("page.txt", text(10_000)).unwrap();
    nginx.put("large.txt", text(5_000_000)).unwrap();

    let untapped = answers(nginx.address());
    assert!(attached(&cgroup).is_empty());

    let agent = rig.tap(&cgroup);
    let programs = attached(&cgroup);
    assert_eq!(programs.len(), 2, "{programs:?}");
    assert!(answers(nginx.address()) == untapped, "the answers differ while tapped");

    // Full rings, nobody to empty them: the server does not notice.
    agent.pause().unwrap();
    assert!(answers(nginx.address()) == untapped, "the answers differ while the agent is stopped");
    run("wrk", &["-t1", "-c8", "-d1s", &nginx.url("/files/large.txt")]);
    assert!(answers(nginx.address()) == untapped, "the answers differ while the rings are full");

    agent.kill().unwrap();
    podtap_tests::until("the kernel detaches the killed agent's programs", || {
        let programs = attached(&cgroup);
        if programs.is_empty() { Ok(()) } else { Err(format!("{programs:?}")) }
    })
    .unwrap();
    assert!(answers(nginx.address()) == untapped, "the answers differ after the agent was killed");

    let agent = rig.tap(&cgroup);
    assert_eq!(attached(&cgroup).len(), 2);
    agent.terminate().unwrap();
    assert!(attached(&cgroup).is_empty(), "an agent that ended left programs behind");
    nginx.running().check().unwrap();
    assert!(answers(nginx.address()) == untapped, "the answers differ after the agent ended");
}

#[test]
fn a_neighbour_is_not_tapped() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("tapped").unwrap();
    let other_cgroup = Cgroup::create("neighbour").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let neighbour = Nginx::start(&other_cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    assert!(attached(&other_cgroup).is_empty());
    exchange(neighbour.address(), b"GET /json?neighbour HTTP/1.0\r\n\r\n");
    exchange(nginx.address(), b"GET /json?tapped HTTP/1.0\r\n\r\n");
    rig.stored("", 1);
    let totals = rig.settle(agent);
    assert_eq!(totals.stored.exchanges, 1, "{totals:#?}");
}

//! More traffic than the agent can take: what is lost is named, to the byte.

use podtap_tests::{Agent, Cgroup, Nginx};

use crate::{rig::Rig, traffic::run};

#[test]
fn a_tiny_ring_and_a_stopped_agent_lose_by_name() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("overload").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    nginx.put("large.txt", vec![b'x'; 300_000]).unwrap();
    let options = rig.agent().target("web", &cgroup).settings("rings: {count: 1, bytes: 256KiB}");
    let agent = Agent::start(&options).unwrap();

    run("wrk", &["-t1", "-c16", "-d1s", &nginx.url("/json")]);
    agent.pause().unwrap();
    run("wrk", &["-t1", "-c16", "-d1s", &nginx.url("/json")]);
    run("wrk", &["-t1", "-c4", "-d1s", &nginx.url("/files/large.txt")]);
    agent.resume().unwrap();
    run("wrk", &["-t1", "-c16", "-d1s", &nginx.url("/json")]);

    let totals = rig.settle(agent);
    assert!(totals.stored.exchanges > 0, "{totals:#?}");
    assert!(
        totals.losses.keys().any(|name| name.starts_with("kernel/") || name.starts_with("ring/")),
        "{totals:#?}"
    );
    // Never an exchange that was not: there are no more than nginx served.
    let stored = rig.client.summaries(r#"role == "inbound" && response.status == 200"#).unwrap().len();
    assert!(stored <= nginx.requests().len(), "{stored} of {}", nginx.requests().len());
}

#[test]
fn a_tiny_spool_drops_by_name() {
    let mut rig = Rig::new();
    let cgroup = Cgroup::create("spool").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    nginx.put("page.txt", vec![b'x'; 20_000]).unwrap();
    let options = rig.agent().target("web", &cgroup).settings("spool: {bytes: 1MiB}");
    let agent = Agent::start(&options).unwrap();

    rig.collector.kill().unwrap();
    run("wrk", &["-t1", "-c4", "-d2s", &nginx.url("/files/page.txt")]);
    rig.collector.restart().unwrap();

    let totals = rig.settle(agent);
    let dropped = totals.losses.iter().filter(|(name, _)| name.starts_with("spool/"));
    let dropped: u64 = dropped.map(|(_, sum)| sum.exchanges).sum();
    assert!(dropped > 0, "{totals:#?}");
    // The newest are kept.
    assert!(totals.stored.exchanges > 0, "{totals:#?}");
}

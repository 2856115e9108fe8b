//! A connection seen from both ends is one exchange for each role.

use podtap_tests::{Agent, Cgroup, Nginx};

use crate::rig::{Rig, lines};

#[test]
fn client_and_server_on_one_machine() {
    let rig = Rig::new();
    let server_cgroup = Cgroup::create("server").unwrap();
    let client_cgroup = Cgroup::create("client").unwrap();
    let nginx = Nginx::start(&server_cgroup).unwrap();
    let options = rig.agent().target("server", &server_cgroup).target("client", &client_cgroup);
    let agent = Agent::start(&options).unwrap();

    for url in [nginx.url("/json?v4"), nginx.url_v6("/json?v6")] {
        let status = client_cgroup
            .command("curl")
            .args(["-sS", "--noproxy", "*", "-o", "/dev/null", &url])
            .status()
            .unwrap();
        assert!(status.success());
    }

    let inbound = rig.stored(r#"role == "inbound""#, 2);
    let outbound = rig.stored(r#"role == "outbound""#, 2);
    rig.settle(agent);
    assert_eq!(lines(&inbound), ["GET /json?v4 200", "GET /json?v6 200"]);
    assert_eq!(lines(&outbound), lines(&inbound));
    for (inbound, outbound) in inbound.iter().zip(&outbound) {
        assert_eq!((inbound.target.as_str(), outbound.target.as_str()), ("server", "client"));
        assert_eq!(inbound.source, outbound.source);
        assert_eq!(inbound.destination, outbound.destination);
        assert_ne!(inbound.id, outbound.id);
    }
}

#[test]
fn both_ends_in_one_cgroup() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("both").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    let status = cgroup
        .command("curl")
        .args(["-sS", "--noproxy", "*", "-o", "/dev/null", &nginx.url("/json")])
        .status()
        .unwrap();
    assert!(status.success());
    rig.stored(r#"role == "inbound""#, 1);
    rig.stored(r#"role == "outbound""#, 1);
    let totals = rig.settle(agent);
    assert_eq!(totals.stored.exchanges, 2, "{totals:#?}");
}

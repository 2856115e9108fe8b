//! The table without its collector: every question is answered by whoever can read the folder or the bucket.

use std::process::Command;

use podtap_tests::{Cgroup, Nginx, binary};
use serde_json::Value;

use crate::{
    rig::Rig,
    traffic::{curl, run},
};

#[test]
fn tapctl_searches_and_replays_a_table_without_a_collector() {
    let mut rig = Rig::new();
    let cgroup = Cgroup::create("table").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    for number in 0..5 {
        curl(&[&nginx.url(&format!("/json?n={number}"))]);
    }
    let stored = rig.stored("", 5);
    rig.settle(agent);
    rig.collector.terminate().unwrap();

    let store = rig.collector.table().to_str().unwrap().to_owned();
    let program = binary("tapctl").unwrap();
    let tapctl = |arguments: &[&str]| {
        let arguments: Vec<_> = ["--store", &store, "-o", "jsonl"].iter().chain(arguments).copied().collect();
        run(program.to_str().unwrap(), &arguments)
    };
    let found = tapctl(&["search", r#"request.query == "n=3""#]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["id"], stored[3].id, "{found:#}");
    let got: Value = serde_json::from_str(&tapctl(&["get", &stored[3].id])).unwrap();
    assert_eq!(got["response"]["status"], 200, "{got:#}");
    tapctl(&["ledger", "--check"]);
    let report = tapctl(&["replay", "--target", &nginx.url(""), "--speed", "100"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["matched"], "5", "{report:#}");

    // What runs, runs in a collector.
    let refused = Command::new(&program).args(["--store", &store, "mirror"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--store"), "{refused:?}");
}

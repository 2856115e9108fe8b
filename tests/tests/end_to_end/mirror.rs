//! What Podtap itself sends: a mirror reaches its shadow, and the tap leaves out whatever carries the marker.

use podtap_tests::{Cgroup, Nginx, until};
use serde_json::Value;

use crate::{rig::Rig, tools::tapctl, traffic::curl};

#[test]
fn a_shadow_gets_what_the_server_got_and_a_replay_is_not_captured() {
    let shadow = Nginx::start_untapped().unwrap();
    let mirror = format!("mirrors: [{{name: shadow, target: '{}', compare: true}}]\n", shadow.url(""));
    let rig = Rig::with_settings(&mirror);
    let cgroup = Cgroup::create("mirror").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    for number in 0..10 {
        curl(&[&nginx.url(&format!("/json?n={number}"))]);
    }
    curl(&["-d", "a=1", &nginx.url("/json")]);
    rig.stored("", 11);

    let requests = until("the shadow's share", || {
        let requests = shadow.requests();
        if requests.len() == 10 { Ok(requests) } else { Err(format!("{requests:#?}")) }
    });
    // The POST was not named.
    assert!(requests.unwrap().iter().all(|request| request.contains(" GET /json?n=")));
    let shown = until("the mirror has counted them", || {
        let shown = tapctl(&rig, &["--output", "json", "mirror", "shadow"]);
        let mirror: Value = serde_json::from_str(&shown).unwrap();
        if mirror["report"]["answered"] == "10" { Ok(mirror) } else { Err(shown) }
    })
    .unwrap();
    assert_eq!(shown["report"]["passedOver"]["method"], "1", "{shown:#}");
    assert_eq!(shown["report"]["matched"], "10", "{shown:#}");

    tapctl(&rig, &["replay", "--target", &nginx.url(""), "--speed", "100"]);
    let totals = rig.settle(agent);
    assert_eq!(totals.stored.exchanges, 11, "{totals:#?}");
    assert_eq!(totals.losses["policy/replayed"].exchanges, 10, "{totals:#?}");
}

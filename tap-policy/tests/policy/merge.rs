//! Several policies on one pod.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use tap_flow::Role;
use tap_policy::{BodyPolicy, MAX_POLICIES, Plan, Policy, Unkept};
use tap_proto::v1;

use crate::support::{exchange, policy};

fn plan(specs: &[&str]) -> Plan {
    let policies =
        specs.iter().enumerate().map(|(number, spec)| policy(&format!("p{number}"), number as u8, spec));
    Plan::new(policies.collect()).unwrap()
}

fn message(path: &str) -> v1::Exchange {
    let request = v1::Request { path: path.to_owned(), ..v1::Request::default() };
    v1::Exchange { request: Some(request), ..v1::Exchange::default() }
}

#[test]
fn no_policy_is_no_plan() {
    assert!(Plan::new(Vec::new()).is_none());
}

#[test]
fn one_policy_that_keeps_an_exchange_is_enough() {
    let plan =
        plan(&["{selector: {}, direction: outbound}", "{selector: {}, ports: [8080], containers: [app]}"]);
    let inbound = exchange(Role::Inbound, 1, &[]);
    assert!(plan.before_redaction(&inbound, Some("app")).is_ok());
    assert_eq!(plan.before_redaction(&inbound, Some("sidecar")), Err(Unkept::Container));
    assert_eq!(plan.before_redaction(&inbound, None), Err(Unkept::Container));
    assert!(plan.before_redaction(&exchange(Role::Outbound, 1, &[]), None).is_ok());
}

#[test]
fn the_reason_is_the_last_test_that_was_reached() {
    let of =
        |specs: &[&str]| plan(specs).before_redaction(&exchange(Role::Inbound, 1, &[]), None).unwrap_err();
    assert_eq!(of(&["{selector: {}, direction: outbound}"]), Unkept::Direction);
    assert_eq!(of(&["{selector: {}, direction: outbound}", "{selector: {}, ports: [1]}"]), Unkept::Port);
    assert_eq!(of(&["{selector: {}, sample: {percent: 0}}", "{selector: {}, ports: [1]}"]), Unkept::Sample);
}

#[test]
fn what_podtap_sent_is_kept_only_where_a_policy_asks_for_it() {
    let marked = exchange(Role::Inbound, 1, &[("PODTAP-replay", "any")]);
    let verdict = |specs: &[&str]| plan(specs).before_redaction(&marked, None).map(drop);
    assert_eq!(verdict(&["{selector: {}}"]), Err(Unkept::Replayed));
    assert_eq!(verdict(&["{selector: {}, replayed: drop}"]), Err(Unkept::Replayed));
    assert_eq!(verdict(&["{selector: {}}", "{selector: {}, replayed: keep}"]), Ok(()));
    assert_eq!(
        verdict(&["{selector: {}}", "{selector: {}, replayed: keep, ports: [1]}"]),
        Err(Unkept::Port),
        "the last test that was reached"
    );
}

#[test]
fn ports_are_of_the_server_and_not_of_the_client() {
    let plan = plan(&["{selector: {}, ports: [1]}"]);
    assert_eq!(plan.before_redaction(&exchange(Role::Inbound, 1, &[]), None), Err(Unkept::Port));
}

#[test]
fn the_largest_body_of_the_keeping_policies_counts() {
    let plan = plan(&[
        "{selector: {}, body: {capture: none}}",
        "{selector: {}, filter: 'request.path == \"/cart\"', body: {maxBytes: 10}}",
        "{selector: {}, direction: outbound}",
    ]);
    let selected = plan.before_redaction(&exchange(Role::Inbound, 1, &[]), None).unwrap();
    assert!(!plan.ignores_bodies(selected));
    let body = |path| plan.after_redaction(selected, &message(path)).map(|kept| kept.body);
    assert_eq!(body("/cart"), Ok(BodyPolicy::UpTo(10)));
    assert_eq!(body("/"), Ok(BodyPolicy::None));
}

#[test]
fn only_policies_that_keep_an_exchange_mirror_it() {
    let to = "mirror: {target: 'http://v2'}";
    let plan = plan(&[
        &format!("{{selector: {{}}, {to}}}"),
        &format!("{{selector: {{}}, filter: 'request.path == \"/cart\"', {to}}}"),
        &format!("{{selector: {{}}, direction: outbound, {to}}}"),
        "{selector: {}}",
    ]);
    let mirrors = |role, path| {
        let selected = plan.before_redaction(&exchange(role, 1, &[]), None).unwrap();
        plan.mirrors(plan.after_redaction(selected, &message(path)).unwrap().policies)
    };
    assert_eq!(mirrors(Role::Inbound, "/"), ["p0"]);
    assert_eq!(mirrors(Role::Inbound, "/cart"), ["p0", "p1"]);
    assert_eq!(mirrors(Role::Outbound, "/"), ["p0", "p2"]);
}

#[test]
fn what_no_filter_lets_through_is_not_kept() {
    let plan = plan(&["{selector: {}, filter: 'request.path == \"/cart\"'}"]);
    let selected = plan.before_redaction(&exchange(Role::Inbound, 1, &[]), None).unwrap();
    assert_eq!(plan.after_redaction(selected, &message("/")), Err(Unkept::Filter));
    let kept = plan.after_redaction(selected, &message("/cart")).unwrap();
    assert_eq!(kept.body, BodyPolicy::ALL);
}

#[test]
fn the_kernel_copies_what_any_policy_may_want() {
    assert_eq!(
        plan(&["{selector: {}, ports: [1, 2]}", "{selector: {}, ports: [2, 3]}"]).ports(),
        [1, 2, 3].into()
    );
    assert!(plan(&["{selector: {}, ports: [1, 2]}", "{selector: {}}"]).ports().is_empty());
    let many = |from: u16| {
        format!(
            "{{selector: {{}}, ports: [{}]}}",
            (from..from + 9).map(|port| port.to_string()).collect::<Vec<_>>().join(", ")
        )
    };
    assert!(plan(&[&many(1), &many(100)]).ports().is_empty(), "too many for the kernel: all");
}

#[test]
fn the_oldest_names_the_collector_and_all_add_labels() {
    let plan = plan(&[
        "{selector: {}, labels: [app]}",
        "{selector: {}, labels: [version, missing], collector: 'http://other'}",
    ]);
    assert_eq!(plan.collector(), None);
    let labels: BTreeMap<String, String> = [("app", "cart"), ("version", "1"), ("secret", "x")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    assert_eq!(plan.labels(&labels).into_keys().collect::<Vec<_>>(), ["app", "version"]);
}

#[test]
fn every_policys_redaction_applies() {
    let plan = plan(&[
        "{selector: {}, redaction: {fields: [a]}}",
        "{selector: {}}",
        "{selector: {}, direction: outbound, redaction: {fields: [b]}}",
    ]);
    let fields: Vec<_> = plan.redactions().flat_map(|settings| settings.fields.clone()).collect();
    assert_eq!(fields, ["a", "b"]);
}

#[test]
fn more_policies_than_count_leave_the_youngest_out() {
    let policies: Vec<_> = (0..70)
        .map(|number| policy(&format!("p{number:02}"), 0, "{selector: {}, direction: outbound}"))
        .collect();
    let plan = Plan::new(policies).unwrap();
    assert_eq!(plan.policies().len(), MAX_POLICIES);
    assert_eq!(plan.policies()[63].name, "p63");
    assert_eq!(plan.before_redaction(&exchange(Role::Inbound, 1, &[]), None), Err(Unkept::Direction));
    assert!(plan.before_redaction(&exchange(Role::Outbound, 1, &[]), None).is_ok());
}

/// Every policy that these parts make.
fn any_policy() -> impl Strategy<Value = String> {
    let direction = prop::sample::select(vec!["inbound", "outbound", "both"]);
    let ports = prop::sample::select(vec!["[8080]", "[1]", "[]"]);
    let containers = prop::sample::select(vec!["[app]", "[other]", "[]"]);
    let filter = prop::sample::select(vec!["''", "'request.path == \"/cart\"'", "'false'"]);
    let bodies = ["{capture: none}", "{capture: metadata}", "{maxBytes: 5}", "{capture: upTo}"];
    let body = prop::sample::select(bodies.to_vec());
    (direction, ports, containers, filter, 0..=2_u8, body).prop_map(|(direction, ports, containers, filter, sample, body)| {
        format!(
            "{{selector: {{}}, direction: {direction}, ports: {ports}, containers: {containers}, filter: {filter}, \
             sample: {{percent: {}}}, body: {body}}}",
            sample * 50
        )
    })
}

fn verdict(policies: Vec<Arc<Policy>>, role: Role, port: u16) -> Result<BodyPolicy, Unkept> {
    let plan = Plan::new(policies).unwrap();
    let selected = plan.before_redaction(&exchange(role, port, &[]), Some("app"))?;
    plan.after_redaction(selected, &message("/cart")).map(|kept| kept.body)
}

proptest! {
    /// The merge is what each policy decides alone: any that keeps, the largest body, the reason that came furthest.
    #[test]
    fn a_plan_decides_as_its_policies_do_alone(
        specs in prop::collection::vec(any_policy(), 1..6), inbound: bool, port in 1..2000_u16
    ) {
        let role = if inbound { Role::Inbound } else { Role::Outbound };
        let policies: Vec<_> =
            specs.iter().enumerate().map(|(number, spec)| policy(&format!("p{number}"), number as u8, spec)).collect();
        let alone: Vec<_> = policies.iter().map(|policy| verdict(vec![Arc::clone(policy)], role, port)).collect();
        let expected = alone.iter().filter_map(|verdict| verdict.ok()).max();
        let reason = alone.iter().filter_map(|verdict| verdict.err()).max();
        let mut shuffled = policies.clone();
        shuffled.reverse();
        for policies in [policies, shuffled] {
            let merged = verdict(policies, role, port);
            match expected {
                Some(body) => prop_assert_eq!(merged, Ok(body)),
                None => prop_assert_eq!(merged.err(), reason),
            }
        }
    }

    /// What is added can only add.
    #[test]
    fn another_policy_loses_nothing(first in any_policy(), second in any_policy(), port in 1..2000_u16) {
        let (first, second) = (policy("a", 0, &first), policy("b", 1, &second));
        if let Ok(body) = verdict(vec![Arc::clone(&first)], Role::Inbound, port) {
            let merged = verdict(vec![first, second], Role::Inbound, port);
            prop_assert!(merged.is_ok_and(|merged| merged >= body));
        }
    }
}

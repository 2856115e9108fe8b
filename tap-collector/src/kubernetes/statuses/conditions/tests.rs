use std::{collections::BTreeSet, time::SystemTime};

use tap_proto::v1::{Ledger, PolicyProblem, PolicyReport};

use super::{
    super::reports::{Heard, Reports},
    *,
};

fn now(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn problem(pod: &str, reason: &str, message: &str) -> PolicyProblem {
    PolicyProblem { reason: reason.to_owned(), message: message.to_owned(), pod: pod.to_owned() }
}

/// What one agent reports of the policy.
fn reports(matched_pods: u32, active_taps: u32, problems: &[PolicyProblem]) -> Reports {
    let report = PolicyReport {
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
        uid: "u1".to_owned(),
        observed_generation: 3,
        matched_pods,
        active_taps,
        problems: problems.to_vec(),
    };
    let ledger = Ledger { agent: "n1".to_owned(), policies: vec![report], ..Ledger::default() };
    let at = SystemTime::now();
    Reports::of(std::iter::once(Heard { ledger: &ledger, at }), at)
}

fn facts<'a>(reports: &'a Reports, problems: &'a [Problem]) -> Facts<'a> {
    let report = reports.get(&("shop".to_owned(), "cart".to_owned()));
    Facts {
        uid: "u1",
        generation: Some(3),
        problems,
        report,
        agents: reports.agents,
        losses: None,
        mirrors: &[],
    }
}

/// Status, reason and message of a condition.
fn condition<'a>(status: &'a TapPolicyStatus, kind: &str) -> [&'a str; 3] {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
    [&condition.status, &condition.reason, &condition.message]
}

#[test]
fn a_policy_in_use_is_as_expected() {
    let reports = reports(3, 3, &[]);
    let status = status(facts(&reports, &[]), None, now(0));
    assert_eq!((status.observed_generation, status.matched_pods, status.active_taps), (Some(3), 3, 3));
    assert_eq!(status.agents, 1);
    assert_eq!(condition(&status, "Accepted"), ["True", "Valid", "the policy is valid"]);
    assert_eq!(condition(&status, "Capturing"), ["True", "AllPods", "3 of 3 pods are tapped"]);
    assert_eq!(condition(&status, "Degraded"), ["False", "AsExpected", "nothing was lost by mishap"]);
}

#[test]
fn the_worst_of_the_mirrors_is_told() {
    use tap_replay::mirror::Recent;

    let told = |target: &str, state: Result<Recent, Refusal>| Told { target: target.to_owned(), state };
    let well = told("http://well", Ok(Recent { answered: 9, failed: 1, ..Recent::default() }));
    let drops = told("http://slow", Ok(Recent { answered: 9, dropped: 1, ..Recent::default() }));
    let fails = told("http://away", Ok(Recent { failed: 1, failure: Some("timeout"), ..Recent::default() }));
    let refusal = Refusal { reason: "TargetNotAllowed", message: "not listed".to_owned() };
    let refused = told("http://other", Err(refusal));
    let reports = reports(3, 3, &[]);
    let of = |mirrors: &[Told]| {
        let status = status(Facts { mirrors, ..facts(&reports, &[]) }, None, now(0));
        let [status, reason, message] = condition(&status, "Mirroring").map(str::to_owned);
        (status, reason, message)
    };
    assert_eq!(of(std::slice::from_ref(&well)).1, "AsExpected");
    assert_eq!(of(&[well.clone(), drops.clone()]).1, "Dropping");
    let (holds, reason, message) = of(&[drops.clone(), fails.clone()]);
    assert_eq!((holds.as_str(), reason.as_str()), ("False", "TargetFails"));
    assert!(message.starts_with("http://away: ") && message.ends_with("timeout"), "{message}");
    assert_eq!(of(&[drops, fails, refused]).1, "TargetNotAllowed");
    let without = status(facts(&reports, &[]), None, now(0));
    assert!(without.conditions.iter().all(|condition| condition.type_ != "Mirroring"));
}

#[test]
fn agents_that_go_by_an_older_generation_are_told_of() {
    let reports = reports(3, 3, &[]);
    let status = status(Facts { generation: Some(4), ..facts(&reports, &[]) }, None, now(0));
    let expected = "3 of 3 pods are tapped, on some nodes still as generation 3 says";
    assert_eq!(condition(&status, "Capturing"), ["True", "AllPods", expected]);
}

#[test]
fn what_is_wrong_with_a_policy_is_said_with_the_field() {
    let reports = Reports::default();
    let problems = [
        Problem {
            field: "spec.filter".to_owned(),
            reason: "InvalidFilter",
            message: "column 9: unknown variable".to_owned(),
        },
        Problem { field: "spec.ports".to_owned(), reason: "InvalidPort", message: "0".to_owned() },
    ];
    let status = status(facts(&reports, &problems), None, now(0));
    let message = "spec.filter: column 9: unknown variable; spec.ports: 0";
    assert_eq!(condition(&status, "Accepted"), ["False", "InvalidFilter", message]);
    assert_eq!(condition(&status, "Capturing")[..2], ["False", "NotAccepted"]);
}

#[test]
fn why_nothing_is_captured_is_said() {
    let nobody = Reports::default();
    assert_eq!(condition(&status(facts(&nobody, &[]), None, now(0)), "Capturing")[1], "NoAgents");
    let elsewhere = Facts { agents: 2, ..facts(&nobody, &[]) };
    assert_eq!(condition(&status(elsewhere, None, now(0)), "Capturing")[1], "NoPodsMatch");
    let waiting = reports(2, 0, &[]);
    assert_eq!(condition(&status(facts(&waiting, &[]), None, now(0)), "Capturing")[1], "NotTapped");
    let refused = reports(2, 0, &[problem("", "CollectorNotAllowed", "http://x:1 is not allowed")]);
    let status = status(facts(&refused, &[]), None, now(0));
    let expected = ["CollectorNotAllowed", "http://x:1 is not allowed"];
    assert_eq!(condition(&status, "Capturing"), ["False", expected[0], expected[1]]);
    assert_eq!(condition(&status, "Degraded"), ["True", expected[0], expected[1]]);
}

#[test]
fn pods_that_are_not_tapped_are_named_in_bounds() {
    let problems: Vec<PolicyProblem> =
        (0..9).map(|pod| problem(&format!("cart-{pod}"), "CgroupNotFound", &"é".repeat(300))).collect();
    let reports = reports(10, 1, &problems);
    let status = status(facts(&reports, &[]), None, now(0));
    assert_eq!(condition(&status, "Capturing"), ["True", "SomePods", "1 of 10 pods are tapped"]);
    let [holds, reason, message] = condition(&status, "Degraded");
    assert_eq!((holds, reason), ("True", "CgroupNotFound"));
    assert!(message.starts_with("pod cart-0: éé") && message.len() <= MAX_MESSAGE, "{message}");
    let few = reports_of_seven();
    let status = super::status(facts(&few, &[]), None, now(0));
    let message = condition(&status, "Degraded")[2];
    assert_eq!(message, "pod a: x; pod b: x; pod c: x; pod d: x; pod e: x; and 2 more");
}

fn reports_of_seven() -> Reports {
    let problems: Vec<PolicyProblem> =
        ["a", "b", "c", "d", "e", "f", "g"].map(|pod| problem(pod, "R", "x")).to_vec();
    reports(7, 0, &problems)
}

#[test]
fn losses_are_told_with_their_place() {
    let reports = reports(1, 1, &[]);
    let mishaps = Mishaps { count: 3, places: BTreeSet::from([("ring", "full"), ("spool", "full")]) };
    let status = status(Facts { losses: Some(&mishaps), ..facts(&reports, &[]) }, None, now(0));
    let [holds, reason, message] = condition(&status, "Degraded");
    assert_eq!((holds, reason), ("True", "Losses"));
    assert!(message.contains("ring/full, spool/full"), "{message}");
}

#[test]
fn a_reason_that_is_no_name_and_what_controls_a_terminal_are_not_passed_on() {
    let reports = reports(1, 0, &[problem("cart", "no name!", "x\u{1b}[2J\n")]);
    let status = status(facts(&reports, &[]), None, now(0));
    assert_eq!(condition(&status, "Degraded")[1..], ["Unknown", "pod cart: x\u{fffd}[2J\u{fffd}"]);
}

#[test]
fn without_news_the_status_is_the_same_and_a_transition_has_its_time() {
    let all = reports(2, 2, &[]);
    let first = status(facts(&all, &[]), None, now(0));
    assert_eq!(status(facts(&all, &[]), Some(&first), now(100)), first);
    let some = reports(2, 0, &[]);
    let second = status(facts(&some, &[]), Some(&first), now(200));
    let time = |status: &TapPolicyStatus, kind: &str| {
        let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        found.last_transition_time.0
    };
    assert_eq!([time(&second, "Accepted"), time(&second, "Capturing")], [now(0), now(200)]);
}

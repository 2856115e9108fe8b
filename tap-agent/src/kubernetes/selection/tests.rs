//! Pods and policies come, change and go; the commands follow.

use serde_json::json;

use super::*;
use crate::{
    budget::{Cause, SheddingPods},
    config::{Config, Settings},
    kubernetes::pod::PodObject,
    taps::{TapState, TapStatus},
};

fn selection() -> Selection {
    let settings: Settings =
        serde_yaml_ng::from_str("kubernetes: {node: n, collectors: ['http://other:7070']}").unwrap();
    let config = Config::new(settings, "host").unwrap();
    let routes = Routes::new("http://own:7070", &config.kubernetes.unwrap().collectors);
    let mut selection = Selection::new(routes, Redactors::new(config.redaction));
    selection.pods.take(Change::ListBegins);
    selection.pods.take(Change::ListEnds);
    selection.take_policies(Change::ListBegins);
    selection.take_policies(Change::ListEnds);
    selection
}

fn pod(selection: &mut Selection, namespace: &str, name: &str, labels: Value, phase: &str) {
    let object: PodObject = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "labels": labels},
        "spec": {"containers": [{"name": "app"}]}, "status": {"phase": phase},
    }))
    .unwrap();
    let record = PodRecord::of(object).unwrap();
    selection.pods.take(Change::Put(record.uid.to_string(), record));
}

fn policy(selection: &mut Selection, name: &str, generation: i64, spec: Value) {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("shop".to_owned()),
        uid: Some(format!("uid-{name}")),
        generation: Some(generation),
        ..ObjectMeta::default()
    };
    selection.take_policies(Change::Put(format!("uid-{name}"), Box::new((metadata, spec))));
}

/// "+NAME" and "-UID", in order.
fn commands(selection: &mut Selection) -> Vec<String> {
    let mut commands: Vec<_> = selection
        .reconcile()
        .into_iter()
        .map(|command| match command {
            Command::Put(wanted) => format!("+{}", wanted.name),
            Command::Remove(TargetId::Pod(uid)) => format!("-{uid}"),
            other => panic!("{other:?}"),
        })
        .collect();
    commands.sort();
    commands
}

fn put(selection: &mut Selection) -> Wanted {
    match selection.reconcile().pop() {
        Some(Command::Put(wanted)) => *wanted,
        other => panic!("{other:?}"),
    }
}

fn cart() -> Value {
    json!({"selector": {"matchLabels": {"app": "cart"}}})
}

#[test]
fn what_a_policy_selects_is_tapped_and_nothing_else() {
    let mut selection = selection();
    pod(&mut selection, "shop", "cart-1", json!({"app": "cart"}), "Running");
    pod(&mut selection, "shop", "other-1", json!({"app": "other"}), "Running");
    pod(&mut selection, "bank", "cart-2", json!({"app": "cart"}), "Running");
    assert!(commands(&mut selection).is_empty(), "no policy, no tap");
    policy(&mut selection, "cart", 1, cart());
    assert_eq!(commands(&mut selection), ["+shop/cart-1"]);
    assert!(commands(&mut selection).is_empty(), "told once");
    policy(&mut selection, "all", 1, json!({"selector": {}}));
    assert_eq!(
        commands(&mut selection),
        ["+shop/cart-1", "+shop/other-1"],
        "all of its namespace, and changed plans"
    );
}

#[test]
fn a_label_a_phase_a_policy_or_a_pod_that_goes_ends_the_tap() {
    let mut selection = selection();
    policy(&mut selection, "cart", 1, cart());
    for end in ["label", "phase", "pod", "policy"] {
        pod(&mut selection, "shop", "cart-1", json!({"app": "cart"}), "Running");
        assert_eq!(commands(&mut selection), ["+shop/cart-1"], "{end}");
        match end {
            "label" => pod(&mut selection, "shop", "cart-1", json!({"app": "x"}), "Running"),
            "phase" => pod(&mut selection, "shop", "cart-1", json!({"app": "cart"}), "Succeeded"),
            "pod" => selection.pods.take(Change::Gone("uid-cart-1".to_owned())),
            _ => selection.take_policies(Change::Gone("uid-cart".to_owned())),
        }
        assert_eq!(commands(&mut selection), ["-uid-cart-1"], "{end}");
    }
}

#[test]
fn nothing_is_tapped_before_all_policies_are_known() {
    let mut selection = selection();
    selection.policies = Objects::default();
    pod(&mut selection, "shop", "cart-1", json!({"app": "cart"}), "Running");
    selection.take_policies(Change::ListBegins);
    policy(&mut selection, "cart", 1, cart());
    assert!(commands(&mut selection).is_empty());
    selection.take_policies(Change::ListEnds);
    assert_eq!(commands(&mut selection), ["+shop/cart-1"]);
}

#[test]
fn a_policy_that_is_not_valid_taps_nothing_and_the_others_go_on() {
    let mut selection = selection();
    pod(&mut selection, "shop", "cart-1", json!({"app": "cart"}), "Running");
    policy(&mut selection, "cart", 1, cart());
    policy(&mut selection, "wrong", 1, json!({"selector": {}, "filter": "request.paht == 1"}));
    policy(&mut selection, "odd", 1, json!({"selector": [1]}));
    policy(&mut selection, "away", 1, json!({"selector": {}, "collector": "http://evil:1"}));
    assert_eq!(commands(&mut selection), ["+shop/cart-1"]);
    let reports = selection.report(&[], &SheddingPods::new());
    let reasons: Vec<_> = reports
        .iter()
        .map(|report| (report.name.as_str(), report.problems.first().map_or("", |problem| &problem.reason)))
        .collect();
    assert_eq!(
        reasons,
        [("away", "CollectorNotAllowed"), ("cart", ""), ("odd", "InvalidSpec"), ("wrong", "InvalidFilter")]
    );
    // A valid one that becomes wrong ends what it tapped.
    policy(&mut selection, "cart", 2, json!({"selector": {}, "ports": [0]}));
    assert_eq!(commands(&mut selection), ["-uid-cart-1"]);
}

#[test]
fn a_change_of_the_status_alone_changes_nothing() {
    let mut selection = selection();
    pod(&mut selection, "shop", "cart-1", json!({"app": "cart"}), "Running");
    policy(&mut selection, "cart", 1, cart());
    commands(&mut selection);
    let before = Arc::as_ptr(selection.entries().next().unwrap().policy.as_ref().unwrap());
    selection.take_policies(Change::ListBegins);
    policy(&mut selection, "cart", 1, cart());
    selection.take_policies(Change::ListEnds);
    assert_eq!(Arc::as_ptr(selection.entries().next().unwrap().policy.as_ref().unwrap()), before);
    assert!(commands(&mut selection).is_empty());
}

#[test]
fn a_pod_is_told_with_what_its_policies_want() {
    let mut selection = selection();
    pod(&mut selection, "shop", "cart-1", json!({"app": "cart", "version": "7", "x": "y"}), "Running");
    policy(
        &mut selection,
        "cart",
        1,
        json!({"selector": {}, "ports": [8080], "labels": ["version"], "redaction": {"fields": ["birthday"]},
               "collector": "http://other:7070"}),
    );
    let wanted = put(&mut selection);
    assert_eq!(wanted.ports, PortFilter::Only(vec![8080]));
    assert_eq!(wanted.route, RouteId(1));
    assert_eq!(wanted.details.labels.keys().collect::<Vec<_>>(), ["version"]);
    assert_eq!((wanted.details.namespace.as_str(), wanted.details.pod.as_str()), ("shop", "cart-1"));
    assert_eq!(wanted.details.policies, ["shop/cart"]);
    assert!(wanted.details.plan.unwrap().redactor.is_some());
    assert_eq!(selection.redactors.made.len(), 1);
    policy(&mut selection, "cart", 2, json!({"selector": {}}));
    let wanted = put(&mut selection);
    assert!(wanted.details.plan.unwrap().redactor.is_none());
    assert!(selection.redactors.made.is_empty(), "what no plan uses is given back");
}

#[test]
fn a_report_counts_pods_and_taps_and_says_what_is_wrong() {
    let mut selection = selection();
    for name in ["cart-1", "cart-2", "cart-3", "cart-4"] {
        pod(&mut selection, "shop", name, json!({"app": "cart"}), "Running");
    }
    policy(&mut selection, "cart", 5, cart());
    policy(&mut selection, "none", 1, json!({"selector": {"matchLabels": {"app": "none"}}}));
    commands(&mut selection);
    let status = |name: &str, state| TapStatus {
        id: TargetId::Pod(format!("uid-{name}").into()),
        name: format!("shop/{name}"),
        state,
    };
    let reports = selection.report(
        &[
            status("cart-1", TapState::Attached),
            status("cart-2", TapState::Awaited { reason: "no cgroup".to_owned(), overdue: true }),
            status("cart-3", TapState::Failed { reason: "cap".to_owned() }),
            status("cart-4", TapState::Awaited { reason: "soon".to_owned(), overdue: false }),
        ],
        &SheddingPods::new(),
    );
    assert_eq!(reports.len(), 1, "a policy without pods here is not reported");
    let report = &reports[0];
    assert_eq!((report.matched_pods, report.active_taps, report.observed_generation), (4, 1, 5));
    let problems: Vec<_> =
        report.problems.iter().map(|problem| (problem.reason.as_str(), problem.pod.as_str())).collect();
    assert_eq!(problems, [("CgroupNotFound", "cart-2"), ("TapFailed", "cart-3")]);
}

#[test]
fn pods_that_lose_connections_to_a_budget_are_named() {
    let mut selection = selection();
    for name in ["cart-1", "cart-2"] {
        pod(&mut selection, "shop", name, json!({"app": "cart"}), "Running");
    }
    policy(&mut selection, "cart", 1, cart());
    commands(&mut selection);
    let shedding = SheddingPods::from([("uid-cart-2".to_owned(), Cause::Memory)]);
    let reports = selection.report(&[], &shedding);
    let [problem] = &reports[0].problems[..] else { panic!("{reports:?}") };
    assert_eq!((problem.reason.as_str(), problem.pod.as_str()), ("Shedding", "cart-2"));
    assert!(problem.message.contains("budget.memory"), "{}", problem.message);
}

#[test]
fn a_pod_whose_policies_ask_for_what_does_not_fit_is_told_of() {
    let mut selection = selection();
    pod(&mut selection, "shop", "cart-1", json!({}), "Running");
    policy(&mut selection, "a", 1, json!({"selector": {}}));
    commands(&mut selection);
    // Nothing that is valid by itself fails together today: as if it had.
    selection.unfit.insert("uid-cart-1".into(), "rules: too many".to_owned());
    let report = &selection.report(&[], &SheddingPods::new())[0];
    let problem = &report.problems[0];
    assert_eq!(
        (problem.reason.as_str(), problem.message.as_str(), problem.pod.as_str()),
        ("RedactionConflict", "rules: too many", "cart-1")
    );
    assert!(
        commands(&mut selection).is_empty()
            && selection.report(&[], &SheddingPods::new())[0].problems.is_empty()
    );
}

#[test]
fn a_collector_that_does_not_count_is_said() {
    let mut selection = selection();
    pod(&mut selection, "shop", "cart-1", json!({"app": "cart"}), "Running");
    policy(&mut selection, "a", 1, cart());
    policy(&mut selection, "b", 1, json!({"selector": {}, "collector": "http://other:7070"}));
    let wanted = put(&mut selection);
    assert_eq!(wanted.route, RouteId(0));
    let reports = selection.report(&[], &SheddingPods::new());
    assert_eq!(reports[1].problems[0].reason, "CollectorOverruled");
    assert!(reports[0].problems.is_empty());
}

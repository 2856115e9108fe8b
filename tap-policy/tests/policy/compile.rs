//! What is wrong with a policy is said with its place, all at once.

use std::collections::BTreeMap;

use tap_policy::TapPolicy;

use crate::support::{policy, problems, try_policy};

#[test]
fn a_selector_is_enough() {
    let policy = policy("p", 0, "{selector: {}}");
    assert_eq!((policy.full_name().as_str(), policy.generation), ("shop/p", 3));
    assert!(policy.selects("shop", &BTreeMap::new()), "the empty selector is every pod of the namespace");
    assert!(!policy.selects("other", &BTreeMap::new()), "and of no other");
}

#[test]
fn everything_can_be_said() {
    let spec = r#"{
        selector: {matchLabels: {app: checkout}, matchExpressions: [{key: canary, operator: DoesNotExist}]},
        containers: [app], ports: [8080], direction: inbound, filter: 'request.path.startsWith("/cart")',
        sample: {percent: 12.5, key: header, header: x-session}, body: {capture: upTo, maxBytes: 16KiB},
        redaction: {fields: [birthday]}, collector: 'http://Other:7070/', labels: [app, app.kubernetes.io/version],
        replayed: keep, mirror: {target: 'http://v2.shop:8080', percent: 10, by: traceId, keepHost: true, compare: true},
        mirrors: [{target: 'http://v3.shop/base', hosts: [shop.example], prefixes: [/cart], rewrite: /, methods: [GET, POST],
          maxRate: 100.5, maxInFlight: 8, timeout: 500ms, maxLag: 10s, shadowHost: true, filter: 'response.status < 500'},
          {target: 'https://v4.shop', tls: {ca: '-----BEGIN CERTIFICATE-----', serverName: v4.example}}]}"#;
    let policy = policy("p", 0, spec);
    assert_eq!(policy.collector(), Some("http://other:7070"));
    let targets: Vec<_> =
        policy.mirrors().iter().map(|mirror| (mirror.target.as_str(), mirror.percent)).collect();
    let expected =
        [("http://v2.shop:8080", 10.0), ("http://v3.shop/base", 100.0), ("https://v4.shop", 100.0)];
    assert_eq!(targets, expected);
    assert_eq!(policy.mirrors()[2].tls.server_name.as_deref(), Some("v4.example"));
}

#[test]
fn each_problem_names_its_field_and_a_reason() {
    for (spec, field, reason) in [
        (
            "{selector: {matchExpressions: [{key: a, operator: Near}]}}",
            "spec.selector.matchExpressions[0]",
            "InvalidSelector",
        ),
        ("{selector: {}, containers: ['']}", "spec.containers[0]", "InvalidContainers"),
        ("{selector: {}, ports: [80, 70000]}", "spec.ports[1]", "InvalidPorts"),
        ("{selector: {}, ports: [0]}", "spec.ports[0]", "InvalidPorts"),
        (
            "{selector: {}, ports: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]}",
            "spec.ports",
            "InvalidPorts",
        ),
        ("{selector: {}, filter: 'request.paht == 1'}", "spec.filter", "InvalidFilter"),
        ("{selector: {}, sample: {percent: 101}}", "spec.sample.percent", "InvalidSample"),
        ("{selector: {}, sample: {percent: -1}}", "spec.sample.percent", "InvalidSample"),
        ("{selector: {}, sample: {percent: .nan}}", "spec.sample.percent", "InvalidSample"),
        ("{selector: {}, sample: {percent: 1, key: header}}", "spec.sample.header", "InvalidSample"),
        ("{selector: {}, sample: {percent: 1, header: x}}", "spec.sample.header", "InvalidSample"),
        (
            "{selector: {}, sample: {percent: 1, key: header, header: 'a b'}}",
            "spec.sample.header",
            "InvalidSample",
        ),
        ("{selector: {}, body: {capture: none, maxBytes: 1KiB}}", "spec.body.maxBytes", "InvalidBody"),
        ("{selector: {}, body: {maxBytes: 2MiB}}", "spec.body.maxBytes", "InvalidBody"),
        ("{selector: {}, body: {maxBytes: lots}}", "spec.body.maxBytes", "InvalidBody"),
        ("{selector: {}, redaction: {headers: [':']}}", "spec.redaction.headers[0]", "InvalidRedaction"),
        ("{selector: {}, collector: 'https://x'}", "spec.collector", "InvalidCollector"),
        ("{selector: {}, collector: 'http://me:secret@x'}", "spec.collector", "InvalidCollector"),
        ("{selector: {}, collector: 'http://x/path'}", "spec.collector", "InvalidCollector"),
        ("{selector: {}, labels: ['not a key']}", "spec.labels[0]", "InvalidLabels"),
    ] {
        let problems = problems(spec);
        assert_eq!(problems.len(), 1, "{spec}: {problems:?}");
        assert_eq!((problems[0].field.as_str(), problems[0].reason), (field, reason), "{spec}");
        assert!(!problems[0].message.contains("secret"), "{problems:?}");
    }
}

#[test]
fn a_filters_problem_has_its_position() {
    let problem =
        &problems("{selector: {}, filter: 'request.method == \"GET\" && request.paht == \"/\"'}")[0];
    assert!(problem.message.starts_with("line 1, column 36: "), "{}", problem.message);
}

#[test]
fn all_problems_come_together() {
    let problems = problems(
        "{selector: {matchLabels: {'': x}}, ports: [0], filter: '(', sample: {percent: 200}, body: {maxBytes: x}, \
         collector: x, labels: ['']}",
    );
    let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.selector.matchLabels",
            "spec.ports[0]",
            "spec.filter",
            "spec.sample.percent",
            "spec.body.maxBytes",
            "spec.collector",
            "spec.labels[0]"
        ]
    );
}

#[test]
fn quantities_are_read_as_people_write_them() {
    for quantity in ["1024", "1KiB", "1Ki", "1 kib", "1.0KiB"] {
        assert!(
            try_policy("p", 0, &format!("{{selector: {{}}, body: {{maxBytes: {quantity}}}}}")).is_ok(),
            "{quantity}"
        );
    }
}

#[test]
fn a_spec_of_another_shape_is_a_problem_and_no_failure() {
    let spec = serde_json::json!({"selector": {}, "ports": "all of them"});
    let problem = TapPolicy::read(Default::default(), &spec).unwrap_err();
    assert_eq!((problem.field.as_str(), problem.reason), ("spec", "InvalidSpec"));
    let problem = TapPolicy::read(Default::default(), &serde_json::json!({})).unwrap_err();
    assert!(problem.message.contains("selector"), "a selector is required: {problem}");
}

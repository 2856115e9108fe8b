use super::*;

fn parse(yaml: &str) -> Result<Config, ConfigErrors> {
    Config::new(serde_yaml_ng::from_str(yaml).unwrap(), "host")
}

#[test]
fn a_target_is_enough() {
    let config = parse("targets: [{name: web, systemd_unit: nginx}]").unwrap();
    assert_eq!(config.agent, "host");
    assert_eq!(config.collector.0.uri().to_string(), format!("{DEFAULT_COLLECTOR}/"));
    assert_eq!(config.targets[0].selector, Selector::SystemdUnit("nginx".to_owned()));
    assert_eq!(config.targets[0].ports, PortFilter::All);
    assert_eq!(config.drain_timeout, Duration::from_secs(10));
}

#[test]
fn everything_can_be_set() {
    let config = parse(
        "agent: node-1
collector: http://collector:1234
targets:
  - {name: a, cgroup: /a.slice, ports: [80, 8080]}
  - {name: b, pid: 17}
rings: {count: 4, bytes: 1MiB, segment_bytes: 4096}
limits: {body_bytes: 1KiB, head_bytes: 2KiB, total_bytes: 8MiB, flows: 9, idle: 5s}
redaction: {headers: [x-secret], query: [q], fields: [f]}
budget: {memory: 100MiB, cpu: 0.5}
spool: {bytes: 2MiB}
admin: {listen: off}
log: {filter: debug, format: json}
drain_timeout: 250ms
",
    )
    .unwrap();
    assert_eq!(config.targets[0].ports, PortFilter::Only(vec![80, 8080]));
    assert_eq!(config.rings, RingConfig { count: 4, bytes: 1 << 20, segment_bytes: 4096 });
    assert_eq!((config.limits.body_bytes, config.limits.flows), (1024, 9));
    assert_eq!(config.limits.idle_ns, 5_000_000_000);
    assert_eq!(config.spool_bytes, 2 << 20);
    assert_eq!(config.budget, Budget { memory: Some(100 << 20), cpu: Some(0.5) });
    assert_eq!(config.admin, None);
    assert_eq!(config.drain_timeout, Duration::from_millis(250));
}

#[test]
fn all_errors_come_together() {
    let errors = parse(
        "agent: 'a b'
collector: https://x
targets:
  - {name: a, cgroup: /a, pid: 1}
  - {name: a, pid: 2, ports: [0, 70000]}
rings: {count: 3, bytes: 1000000}
limits: {body_bytes: 1GiB, idle: soon}
redaction: {key_file: /no/such/key, headers: [':']}
budget: {memory: 1MiB, cpu: 0}
spool: {bytes: lots}
admin: {listen: here}
log: {format: xml}
drain_timeout: '1'
",
    )
    .unwrap_err()
    .0;
    for setting in [
        "agent:",
        "collector:",
        "targets[0]:",
        "targets[1].name:",
        "targets[1].ports: must be 1 to 65535, is 0",
        "targets[1].ports: must be 1 to 65535, is 70000",
        "rings.count:",
        "rings.bytes:",
        "limits.body_bytes:",
        "limits.idle:",
        "redaction.key_file:",
        "redaction.headers[0]:",
        "budget.memory:",
        "budget.cpu:",
        "spool.bytes:",
        "admin.listen:",
        "log.format:",
        "drain_timeout:",
    ] {
        assert_eq!(
            errors.iter().filter(|error| error.starts_with(setting)).count(),
            1,
            "{setting} in {errors:#?}"
        );
    }
    assert_eq!(errors.len(), 18, "{errors:#?}");
}

#[test]
fn a_node_is_enough_too_and_names_the_agent() {
    let config = parse("kubernetes: {node: node-7, collectors: ['http://Other:7070/']}").unwrap();
    assert_eq!(config.agent, "node-7");
    assert_eq!(config.kubernetes.unwrap().collectors, ["http://other:7070"]);
    assert_eq!(parse("{agent: a, kubernetes: {node: n}}").unwrap().agent, "a");
}

#[test]
fn what_is_wrong_with_kubernetes_settings_is_said() {
    let errors = parse(
        "{targets: [{name: a, pid: 1}], kubernetes: {cgroup_root: relative, collectors: ['ftp://x', 'http://x/y']}}",
    )
    .unwrap_err()
    .0;
    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(parse("kubernetes: {node: 'Not A Node'}").unwrap_err().0[0].starts_with("kubernetes.node:"));
}

#[test]
fn no_targets_is_an_error() {
    assert_eq!(parse("{}").unwrap_err().0.len(), 1);
}

#[test]
fn the_collector_may_be_a_variable_of_its_service() {
    for (variable, uri) in
        [("tcp://10.0.0.1:7070", "http://10.0.0.1:7070/"), ("tcp://[fd00::1]:7070", "http://[fd00::1]:7070/")]
    {
        assert_eq!(collector_endpoint(variable).unwrap().0.uri().to_string(), uri);
    }
    // The Service was not known when the container was made.
    assert!(collector_endpoint("$(PODTAP_COLLECTOR_PORT)").is_err());
}

#[test]
fn credentials_do_not_belong_into_the_url() {
    let errors = parse("{collector: 'http://me:secret@host', targets: [{name: a, pid: 1}]}").unwrap_err();
    assert!(!errors.to_string().contains("secret"), "{errors}");
}

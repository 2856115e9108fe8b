//! The examples of configuration are valid.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::path::Path;

use tap_agent::config::{Config, Settings};

fn example(name: &str) -> String {
    // Cargo runs tests in the directory of their package.
    std::fs::read_to_string(Path::new("../deploy/examples").join(name)).unwrap()
}

#[test]
fn agent() {
    let settings: Settings = serde_yaml_ng::from_str(&example("agent.yaml")).unwrap();
    let config = Config::new(settings, "host").unwrap();
    assert_eq!(config.targets.len(), 3);
}

/// The settings that the Helm chart gives to agents, as it is rendered for kubectl.
#[test]
fn chart() {
    let manifests = std::fs::read_to_string("../deploy/manifests/podtap.yaml").unwrap();
    let settings = manifests
        .split("\n---\n")
        .map(|object| serde_yaml_ng::from_str::<serde_json::Value>(object).unwrap())
        .find_map(|object| object["data"]["agent.yaml"].as_str().map(str::to_owned))
        .unwrap();
    let mut settings: Settings = serde_yaml_ng::from_str(&settings).unwrap();
    // By variables: the node's name, and the Service of the collector.
    settings.kubernetes.node = Some("node-1".to_owned());
    settings.collector = Some("tcp://10.96.0.10:7070".to_owned());
    let config = Config::new(settings, "host").unwrap();
    assert_eq!(config.agent, "node-1");
    assert!(config.targets.is_empty());
}

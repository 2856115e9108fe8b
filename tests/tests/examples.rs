//! The examples of configuration are valid.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::path::Path;

use tap_agent::config::{Config, Settings};

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples").join(name))
        .unwrap()
}

#[test]
fn agent() {
    let settings: Settings = serde_yaml_ng::from_str(&example("agent.yaml")).unwrap();
    let config = Config::new(settings, "host").unwrap();
    assert_eq!(config.targets.len(), 3);
}

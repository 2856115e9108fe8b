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

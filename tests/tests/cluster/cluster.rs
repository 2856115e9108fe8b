//! The cluster that `cargo xtask e2e` gives, by its environment.

use std::{
    env,
    path::PathBuf,
    sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use podtap_tests::{ClusterTool, Kubectl, until};
use serde_json::Value;

/// Held to read by scenarios that run side by side, to write by those that take something down.
static AT_WORK: RwLock<()> = RwLock::new(());

/// A scenario's part in the cluster: nothing of Podtap goes away while it lives, unless it is alone.
#[derive(Debug)]
pub(crate) enum Turn {
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

impl Turn {
    pub(crate) fn shared() -> Self {
        Self::Shared(AT_WORK.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn alone() -> Self {
        Self::Alone(AT_WORK.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All of it may be done.
pub(crate) fn kubectl() -> Kubectl {
    let kubeconfig = env::var_os("KUBECONFIG").expect("`cargo xtask e2e` runs this, and sets KUBECONFIG");
    Kubectl::new(&PathBuf::from(kubeconfig))
}

/// The tool, where it made the cluster: the API server of somebody else's is not for us to kill.
pub(crate) fn tool() -> Option<ClusterTool> {
    let directory = env::var_os("PODTAP_E2E_CLUSTER")?;
    Some(ClusterTool::new(&PathBuf::from(directory)).unwrap())
}

/// Two nodes that take pods; the same one twice where there is only one.
pub(crate) fn nodes() -> [String; 2] {
    static NODES: OnceLock<[String; 2]> = OnceLock::new();
    NODES
        .get_or_init(|| {
            let nodes = json(&kubectl(), &["get", "nodes"]);
            let names: Vec<_> = items(&nodes)
                .iter()
                .filter(|node| node["spec"]["taints"].as_array().is_none_or(Vec::is_empty))
                .map(|node| text(&node["metadata"]["name"]).to_owned())
                .collect();
            assert!(!names.is_empty(), "no node takes pods: {nodes:#}");
            [names[0].clone(), names[names.len() - 1].clone()]
        })
        .clone()
}

/// `kubectl <arguments> -o json`.
pub(crate) fn json(kubectl: &Kubectl, arguments: &[&str]) -> Value {
    try_json(kubectl, arguments).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn try_json(kubectl: &Kubectl, arguments: &[&str]) -> Result<Value, String> {
    let output = kubectl.run(&[arguments, &["-o", "json"]].concat()).map_err(|error| format!("{error:#}"))?;
    serde_json::from_str(&output).map_err(|error| format!("{error}: {output}"))
}

/// Of a list.
pub(crate) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

/// The text, or nothing where it is something else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Waits until a command succeeds; gives what it prints.
pub(crate) fn eventually(kubectl: &Kubectl, arguments: &[&str]) -> String {
    until(&arguments.join(" "), || kubectl.run(arguments).map_err(|error| format!("{error:#}"))).unwrap()
}

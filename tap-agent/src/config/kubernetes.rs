//! The settings for pods.

use std::path::PathBuf;

use super::{Errors, KubernetesSettings};

/// Collectors that policies may name: each has a spool and a stream of its own.
pub const MAX_COLLECTORS: usize = 8;

/// Pods of one node are tapped as TapPolicies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    pub node: String,
    pub cgroup_root: Option<PathBuf>,
    /// Collectors that policies may name, in the spelling of [`tap_policy::normal_url`].
    pub collectors: Vec<String>,
}

/// `None` where pods are not wanted, or something is wrong.
pub(super) fn check(settings: KubernetesSettings, errors: &mut Errors) -> Option<Kubernetes> {
    let KubernetesSettings { node, cgroup_root, collectors } = settings;
    if node.is_none() && (cgroup_root.is_some() || !collectors.is_empty()) {
        errors.add("kubernetes.node", "is needed where other settings of kubernetes are given");
    }
    if let Some(node) = &node
        && !is_node_name(node)
    {
        errors.add("kubernetes.node", format_args!("{node:?} is no name of a node"));
    }
    if let Some(root) = &cgroup_root
        && !root.is_absolute()
    {
        errors.add("kubernetes.cgroup_root", format_args!("must be an absolute path, is {}", root.display()));
    }
    if collectors.len() > MAX_COLLECTORS {
        errors.add("kubernetes.collectors", format_args!("must be {MAX_COLLECTORS} at most"));
    }
    let mut allowed = Vec::new();
    for (index, url) in collectors.iter().enumerate() {
        match tap_policy::normal_url(url) {
            Ok(url) if !allowed.contains(&url) => allowed.push(url),
            Ok(_) => {}
            Err(problem) => errors.add(&format!("kubernetes.collectors[{index}]"), problem),
        }
    }
    node.map(|node| Kubernetes { node, cgroup_root, collectors: allowed })
}

/// A DNS subdomain, as the API server demands; so it can stand in a field selector.
fn is_node_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

//! A Kubernetes object as text: as it was rendered, comments and all, and as a value to look into.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The order in which objects are applied: what others need comes first. As Helm's own.
const KINDS: [&str; 18] = [
    "Namespace",
    "NetworkPolicy",
    "PriorityClass",
    "CustomResourceDefinition",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Deployment",
    "StatefulSet",
    "ServiceMonitor",
    "TapPolicy",
];

/// One object of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) text: String,
    pub(crate) value: Value,
}

impl Object {
    /// The objects of a stream of YAML documents.
    pub(crate) fn all_of(stream: &str) -> Result<Vec<Self>> {
        let mut objects = Vec::new();
        for document in documents(stream) {
            let value: Value =
                serde_yaml_ng::from_str(&document).with_context(|| format!("not YAML:\n{document}"))?;
            // A template whose condition does not hold leaves comments at most.
            if !value.is_null() {
                objects.push(Self { text: document, value });
            }
        }
        Ok(objects)
    }

    pub(crate) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Sorts by when it is to be applied, then by name.
    pub(crate) fn order(&self) -> (usize, String) {
        let position = KINDS.iter().position(|kind| *kind == self.kind());
        (position.unwrap_or(KINDS.len()), self.name().to_owned())
    }
}

/// The documents of a stream, without what separates them and without Helm's remark on where each is from.
fn documents(stream: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in stream.lines() {
        if line == "---" {
            documents.push(String::new());
        } else if !line.starts_with("# Source: ")
            && let Some(document) = documents.last_mut()
        {
            document.push_str(line.trim_end());
            document.push('\n');
        }
    }
    documents.iter().map(|document| format!("{}\n", document.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_objects() {
        let objects = Object::all_of(
            "# Source: chart/templates/a.yaml\n\n# why\nkind: Service\nmetadata: {name: a}\n---\n# nothing\n---\n\nkind: Role\n",
        )
        .unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!((objects[0].kind(), objects[0].name()), ("Service", "a"));
        assert_eq!(objects[0].text, "# why\nkind: Service\nmetadata: {name: a}\n");
        assert!(objects[1].order() < objects[0].order());
    }
}

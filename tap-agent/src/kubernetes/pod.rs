//! What is kept of a pod: a few hundred bytes of the kilobytes that the API server sends.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, core::ObjectMeta};
use serde::Deserialize;

use crate::registry::Container;

/// On the API object of a static pod: the hash by which the kubelet, and so its cgroup, knows it.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The parts of a pod that are read.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub(super) struct PodObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    containers: Option<Vec<Named>>,
    init_containers: Option<Vec<Named>>,
    ephemeral_containers: Option<Vec<Named>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Deserialize)]
struct ContainerStatus {
    name: String,
    /// `containerd://…`; absent or empty before it was made.
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

/// One pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodRecord {
    pub(super) uid: Arc<str>,
    /// By which its cgroup is known.
    pub(super) cgroup: Arc<str>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) workload: String,
    pub(super) containers: Vec<Container>,
    /// All of its containers have ended and will not be started again.
    pub(super) has_ended: bool,
}

impl PodRecord {
    /// `None` for an object without a UID, which no server sends.
    pub(super) fn of(pod: PodObject) -> Option<Self> {
        let PodObject { metadata, spec, status } = pod;
        let workload = tap_policy::workload(&metadata).unwrap_or_default();
        let mirrored = metadata.annotations.as_ref().and_then(|annotations| annotations.get(MIRROR));
        let uid: Arc<str> = metadata.uid.as_deref()?.into();
        let cgroup = mirrored.map_or_else(|| Arc::clone(&uid), |hash| hash.as_str().into());
        let Spec { containers, init_containers, ephemeral_containers } = spec;
        let Status { phase, container_statuses, init_container_statuses, ephemeral_container_statuses } =
            status;
        let statuses = [container_statuses, init_container_statuses, ephemeral_container_statuses];
        let ids: BTreeMap<_, _> = statuses
            .iter()
            .flatten()
            .flatten()
            .filter_map(|status| Some((status.name.as_str(), status.container_id.as_deref()?)))
            .collect();
        let named = [containers, init_containers, ephemeral_containers];
        let containers = named.into_iter().flatten().flatten().map(|Named { name }| {
            let id = ids.get(name.as_str()).map_or("", |id| id.rsplit_once("://").map_or(id, |(_, id)| id));
            Container { id: id.to_owned(), name: name.into() }
        });
        Some(Self {
            uid,
            cgroup,
            containers: containers.collect(),
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            workload,
            has_ended: matches!(phase.as_deref(), Some("Succeeded" | "Failed")),
        })
    }

    /// `namespace/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: serde_json::Value) -> PodRecord {
        PodRecord::of(serde_json::from_value(json).unwrap()).unwrap()
    }

    #[test]
    fn what_is_needed_of_a_pod_is_kept() {
        let pod = record(serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "cart-6d5f-x", "namespace": "shop", "uid": "u-1",
                "labels": {"app": "cart", "pod-template-hash": "6d5f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6d5f", "uid": "r", "controller": true}],
                "managedFields": [{"manager": "kubelet"}],
            },
            "spec": {
                "nodeName": "node-1", "initContainers": [{"name": "init", "image": "i"}],
                "containers": [{"name": "app", "image": "a"}, {"name": "late", "image": "l"}],
            },
            "status": {
                "phase": "Running",
                "containerStatuses": [{"name": "app", "containerID": "containerd://aaaa", "ready": true}, {"name": "late", "containerID": ""}],
                "initContainerStatuses": [{"name": "init", "containerID": "cri-o://bbbb"}],
            },
        }));
        assert_eq!(
            (pod.full_name().as_str(), pod.workload.as_str()),
            ("shop/cart-6d5f-x", "Deployment/cart")
        );
        assert_eq!((&*pod.uid, &*pod.cgroup, pod.has_ended), ("u-1", "u-1", false));
        let containers: Vec<_> =
            pod.containers.iter().map(|container| (&*container.name, container.id.as_str())).collect();
        assert_eq!(containers, [("app", "aaaa"), ("late", ""), ("init", "bbbb")]);
    }

    #[test]
    fn a_static_pod_is_known_to_the_kernel_by_its_hash() {
        let pod = record(serde_json::json!({
            "metadata": {"name": "etcd-node-1", "uid": "u-1", "annotations": {"kubernetes.io/config.mirror": "abcd"}},
            "spec": {"containers": null}, "status": {"phase": "Failed", "containerStatuses": null},
        }));
        assert_eq!((&*pod.uid, &*pod.cgroup, pod.has_ended), ("u-1", "abcd", true));
        assert!(pod.containers.is_empty());
    }
}

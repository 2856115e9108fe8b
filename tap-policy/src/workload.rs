//! The workload of a pod, told from its metadata alone: no reads of ReplicaSets and Jobs, which nobody needs the rights for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The label of the ReplicaSets that a Deployment makes, and of their pods.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// A CronJob's jobs end in the minute for which they were scheduled (before 1.21 in its second), as a number.
const CRON_DIGITS: usize = 8;

/// The owner of a pod as Kind/name: the Deployment of a ReplicaSet and the CronJob of a Job, by how these name what they
/// make; otherwise the controller that owns the pod; `Pod/name` for a pod on its own, static pods among them. `None` for
/// what has neither owner nor name.
pub fn workload(pod: &ObjectMeta) -> Option<String> {
    let on_its_own = || pod.name.as_deref().map(|name| format!("Pod/{name}"));
    let mut owners = pod.owner_references.iter().flatten();
    let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else {
        return on_its_own();
    };
    let (kind, name) = (owner.kind.as_str(), owner.name.as_str());
    let workload = match kind {
        "ReplicaSet" => {
            let hash = pod.labels.iter().flatten().find(|(key, _)| *key == POD_TEMPLATE_HASH);
            let deployment = hash.and_then(|(_, hash)| name.strip_suffix(hash.as_str())?.strip_suffix('-'));
            match deployment {
                Some(deployment) if !deployment.is_empty() => format!("Deployment/{deployment}"),
                _ => format!("ReplicaSet/{name}"),
            }
        }
        "Job" => match name.rsplit_once('-') {
            Some((cron_job, minute))
                if !cron_job.is_empty()
                    && minute.len() >= CRON_DIGITS
                    && minute.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                format!("CronJob/{cron_job}")
            }
            _ => format!("Job/{name}"),
        },
        // The mirror of a static pod: the kubelet makes it, and the node owns it.
        "Node" => return on_its_own(),
        _ => format!("{kind}/{name}"),
    };
    Some(workload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> String {
        workload(&serde_yaml_ng::from_str(yaml).unwrap()).unwrap()
    }

    fn owned(kind: &str, name: &str, labels: &str) -> String {
        of(&format!(
            "{{name: pod, labels: {labels}, ownerReferences: [{{apiVersion: v1, kind: {kind}, name: {name}, uid: u, \
             controller: true}}]}}"
        ))
    }

    #[test]
    fn the_owner_that_a_user_knows_is_named() {
        assert_eq!(owned("ReplicaSet", "cart-6d5f", "{pod-template-hash: 6d5f}"), "Deployment/cart");
        assert_eq!(owned("ReplicaSet", "cart-6d5f", "{}"), "ReplicaSet/cart-6d5f");
        assert_eq!(owned("ReplicaSet", "cart", "{pod-template-hash: other}"), "ReplicaSet/cart");
        assert_eq!(owned("Job", "report-27431520", "{}"), "CronJob/report");
        assert_eq!(owned("Job", "migrate-42", "{}"), "Job/migrate-42");
        assert_eq!(owned("StatefulSet", "db", "{}"), "StatefulSet/db");
        assert_eq!(owned("Node", "node-1", "{}"), "Pod/pod");
        assert_eq!(of("{name: alone}"), "Pod/alone");
    }

    #[test]
    fn an_owner_that_is_no_controller_is_none() {
        let owner = "{apiVersion: v1, kind: ConfigMap, name: c, uid: u}";
        assert_eq!(of(&format!("{{name: alone, ownerReferences: [{owner}]}}")), "Pod/alone");
    }
}

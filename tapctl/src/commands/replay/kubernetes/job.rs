//! The objects of a replay in a cluster.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tap_replay::sealed::SealKey;

use super::{
    SECRETS,
    arguments::{RUN, SEAL_KEY, SETTINGS, Told},
};
use crate::commands::WrongUsage;

/// On everything of one replay; its value is the replay's name.
pub(super) const LABEL: &str = "podtap.dev/replay";
/// Which shard a pod is, where its Job is no indexed one.
pub(super) const SHARD_LABEL: &str = "podtap.dev/shard";
/// Which one it is in an indexed Job.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// A Job that nobody waits for any more removes itself.
const KEPT_SECONDS: u32 = 3_600;
/// tapctl's own user in its image.
const USER: u32 = 65_532;
/// Beyond the longest request that is in flight, for the report.
const GRACE_SECONDS: u64 = 15;
/// What kubelets and drains put up with.
const MAX_GRACE_SECONDS: u64 = 600;

/// All that the objects say.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub name: String,
    pub namespace: String,
    pub image: String,
    pub shards: u32,
    pub told: Told,
    /// Names of Secrets that pods see below [`SECRETS`].
    pub secrets: Vec<String>,
    pub settings: PodSettings,
    pub request_timeout: std::time::Duration,
}

/// How a shard learns which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// From the index that Kubernetes gives each pod of the one Job.
    Indexed,
    /// From its Job, of which each shard has its own: for API servers without indexed Jobs.
    JobForEach,
}

/// What whoever runs the cluster wants of the pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PodSettings {
    pod: Map<String, Value>,
    container: Map<String, Value>,
}

impl PodSettings {
    pub(super) fn parse(document: &str) -> Result<Self> {
        let settings: Self = serde_yaml_ng::from_str(document)
            .map_err(|error| WrongUsage(format!("--kubernetes-settings: {error}")))?;
        let ours: [(&str, &Map<String, Value>, &[&str]); 2] = [
            ("pod", &settings.pod, &["containers", "volumes", "restartPolicy"]),
            ("container", &settings.container, &["name", "image", "command", "args", "volumeMounts"]),
        ];
        for (part, fields, fixed) in ours {
            if let Some(field) = fixed.iter().find(|field| fields.contains_key(**field)) {
                let problem = format!("--kubernetes-settings: {part}.{field} is not for you to say");
                return Err(WrongUsage(problem).into());
            }
        }
        Ok(settings)
    }
}

impl Run {
    /// The Jobs, of which there is one in [`Form::Indexed`].
    pub(super) fn jobs(&self, form: Form) -> Vec<Value> {
        match form {
            Form::Indexed => vec![self.job(None)],
            Form::JobForEach => (0..self.shards).map(|shard| self.job(Some(shard))).collect(),
        }
    }

    /// What the pods read; removed with its owners.
    pub(super) fn files(&self, key: &SealKey, owners: &[Value]) -> Result<Vec<Value>> {
        let owners = owners
            .iter()
            .map(|job| {
                let metadata = &job["metadata"];
                let (name, uid) = metadata["name"].as_str().zip(metadata["uid"].as_str())?;
                Some(json!({"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}))
            })
            .collect::<Option<Vec<_>>>()
            .context("a Job without a name")?;
        let metadata = || {
            let mut metadata =
                json!({"name": self.name, "namespace": self.namespace, "labels": self.labels()});
            if !owners.is_empty() {
                metadata["ownerReferences"] = json!(owners);
            }
            metadata
        };
        let mut private: BTreeMap<&str, String> = self.told.private.clone();
        private.insert(SEAL_KEY, key.to_text());
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(), "stringData": private});
        let settings = &self.told.settings;
        let files = match settings.is_empty() {
            true => vec![secret],
            false => {
                let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(), "data": settings});
                vec![settings, secret]
            }
        };
        Ok(files)
    }

    /// What selects all of it.
    pub(super) fn selector(&self) -> String {
        format!("{LABEL}={}", self.name)
    }

    fn job(&self, shard: Option<u32>) -> Value {
        let mut labels = self.labels();
        let name = match shard {
            None => self.name.clone(),
            Some(shard) => {
                labels[SHARD_LABEL] = json!(shard.to_string());
                format!("{}-{shard}", self.name)
            }
        };
        let count = if shard.is_some() { 1 } else { self.shards };
        // Not to an API server that does not know it.
        let mut spec = if shard.is_none() { json!({"completionMode": "Indexed"}) } else { json!({}) };
        let rest = json!({
            "completions": count,
            "parallelism": count,
            // A replay that failed has sent something: not again by itself.
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": self.pod(shard)},
        });
        json_patch::merge(&mut spec, &rest);
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "spec": spec,
        })
    }

    fn pod(&self, shard: Option<u32>) -> Value {
        let mut arguments = self.told.arguments.clone();
        arguments.extend(shard.map(|shard| format!("--shard={shard}")));
        let mut volumes = vec![("run".to_owned(), RUN.to_owned(), secret(&self.name))];
        if !self.told.settings.is_empty() {
            let settings = json!({"configMap": {"name": self.name}});
            volumes.push(("settings".to_owned(), SETTINGS.to_owned(), settings));
        }
        for (index, name) in self.secrets.iter().enumerate() {
            volumes.push((format!("secret-{index}"), format!("{SECRETS}/{name}"), secret(name)));
        }
        let mut container = json!({
            "name": "replay",
            "image": self.image,
            "args": arguments,
            "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": volumes
                .iter()
                .map(|(name, path, _)| json!({"name": name, "mountPath": path, "readOnly": true}))
                .collect::<Vec<_>>(),
        });
        json_patch::merge(&mut container, &Value::Object(self.settings.container.clone()));
        let grace = (self.request_timeout.as_secs() + GRACE_SECONDS).min(MAX_GRACE_SECONDS);
        let mut pod = json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": grace,
            // One machine's limits are what shards are there to get past.
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {LABEL: self.name}},
            }],
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": volumes
                .into_iter()
                .map(|(name, _, mut volume)| {
                    volume["name"] = json!(name);
                    volume
                })
                .collect::<Vec<_>>(),
        });
        json_patch::merge(&mut pod, &Value::Object(self.settings.pod.clone()));
        pod
    }

    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "podtap",
            "app.kubernetes.io/component": "replay",
            "app.kubernetes.io/managed-by": "tapctl",
            LABEL: self.name,
        })
    }
}

/// A volume that its group may read.
fn secret(name: &str) -> Value {
    json!({"secret": {"secretName": name, "defaultMode": 0o440}})
}

/// Of an object, or of a file in one.
pub(super) fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.starts_with('.')
}

//! The objects of a small cluster: a namespace `shop`, a node, pods and services.

use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use podtap_tests::ApiServer;
use serde_json::{Value, json};

use crate::{process::Process, support::until};

pub(super) const NAMESPACE: &str = "shop";
pub(super) const NODE_IP: &str = "10.250.0.1";

pub(super) struct Cluster {
    pub(super) server: ApiServer,
    pub(super) client: Client,
}

impl Cluster {
    /// One with a node, `n1`, and the namespace; `None` where this machine can't run it.
    pub(super) async fn start() -> Option<Self> {
        let server = ApiServer::start_or_skip()?;
        // Fails where another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        let cluster = Self { server, client: Client::try_from(config).unwrap() };
        cluster.create("v1", "Namespace", json!({"metadata": {"name": NAMESPACE}})).await;
        let addresses = json!([{"type": "InternalIP", "address": NODE_IP}]);
        cluster.create("v1", "Node", json!({"metadata": {"name": "n1"}})).await;
        cluster.set_status("v1", "Node", "n1", json!({"addresses": addresses})).await;
        Some(cluster)
    }

    /// A collector that uses the cluster.
    pub(super) fn collector(&self, store: &std::path::Path) -> Process {
        self.collector_with(store, &[])
    }

    pub(super) fn collector_with(&self, store: &std::path::Path, arguments: &[&str]) -> Process {
        Process::start_with(store, |command| {
            command.env("KUBECONFIG", self.server.kubeconfig());
            command.args(["--kubernetes", "--kubernetes-namespace", NAMESPACE]).args(arguments);
        })
    }

    pub(super) async fn create(&self, api_version: &str, kind: &str, mut object: Value) -> DynamicObject {
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        let object = serde_json::from_value(object).unwrap();
        self.api(api_version, kind).create(&PostParams::default(), &object).await.unwrap()
    }

    /// As its controller or kubelet would.
    pub(super) async fn set_status(&self, api_version: &str, kind: &str, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.api(api_version, kind).patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(super) async fn get(&self, api_version: &str, kind: &str, name: &str) -> DynamicObject {
        self.api(api_version, kind).get(name).await.unwrap()
    }

    /// A pod of the Deployment `name` that runs, with this address, since a second ago.
    pub(super) async fn run_pod(&self, name: &str, ip: &str) -> String {
        let pod = format!("{name}-6d4cf56db6-x2x2x");
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-6d4cf56db6"),
            "uid": "0b8e2a3c-5df1-4f0e-8d5c-7b1f6a9e2c11", "controller": true,
        });
        let metadata = json!({
            "name": pod, "labels": {"app": name, "pod-template-hash": "6d4cf56db6"}, "ownerReferences": [owner],
        });
        let spec = json!({
            "nodeName": "n1", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]}],
        });
        self.create("v1", "Pod", json!({"metadata": metadata, "spec": spec})).await;
        let started = k8s_openapi::jiff::Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_secs(1);
        let started = started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let container = json!({
            "name": "app", "image": "app:1", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": started}},
        });
        let status = json!({
            "phase": "Running", "hostIP": NODE_IP, "podIP": ip, "podIPs": [{"ip": ip}],
            "containerStatuses": [container],
        });
        self.set_status("v1", "Pod", &pod, status).await;
        pod
    }

    pub(super) async fn delete_pod(&self, name: &str) {
        self.api("v1", "Pod")
            .delete(name, &kube::api::DeleteParams::default().grace_period(0))
            .await
            .unwrap();
    }

    /// Ends the API server and brings it back.
    pub(super) async fn restart_server(&self) {
        self.server.kill().unwrap();
        self.server.revive().unwrap();
        until("the API server is back", async || self.client.apiserver_version().await.is_ok()).await;
    }

    /// How many requests with this verb and of this resource came, `pods` or `tappolicies/status`, since the start.
    pub(super) fn requests(&self, verb: &str, resource: &str) -> usize {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let audit = self.server.audit().unwrap();
        let requests = audit.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        requests
            .filter(|request| {
                request["verb"] == verb
                    && request["objectRef"]["resource"] == resource
                    && request["objectRef"]["subresource"].as_str().unwrap_or_default() == subresource
            })
            .count()
    }

    fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let plural = match kind {
            "TapPolicy" => "tappolicies".to_owned(),
            other => format!("{}s", other.to_lowercase()),
        };
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural,
        };
        match kind {
            "Namespace" | "Node" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), NAMESPACE, &resource),
        }
    }
}

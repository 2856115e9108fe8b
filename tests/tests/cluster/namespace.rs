//! A namespace of a scenario's own, with servers and clients in pods.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use podtap_tests::{Kubectl, until};
use serde_json::Value;

use crate::cluster::{eventually, items, json, kubectl, text, try_json};

/// Removed with everything in it on drop.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    kubectl: Kubectl,
}

/// What serves in the pods of a Deployment, on port 8080.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program<'a> {
    /// Answers everything, and asks the server at an address for what is below `/upstream`.
    Nginx { upstream: &'a str },
    /// Answers with the request's body.
    Python,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Server<'a> {
    /// Of the Deployment and of the Service.
    pub(crate) name: &'a str,
    /// More labels than `app: <name>`, as YAML within brackets.
    pub(crate) labels: &'a str,
    pub(crate) program: Program<'a>,
    /// Empty: wherever there is room.
    pub(crate) node: &'a str,
    pub(crate) replicas: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) ip: String,
    pub(crate) node: String,
}

impl<'a> Server<'a> {
    pub(crate) fn nginx(name: &'a str) -> Self {
        Self { name, labels: "", program: Program::Nginx { upstream: "127.0.0.1:9" }, node: "", replicas: 1 }
    }

    pub(crate) fn python(name: &'a str) -> Self {
        Self { program: Program::Python, ..Self::nginx(name) }
    }

    /// ConfigMap, Deployment and Service.
    pub(crate) fn objects(&self) -> String {
        let Self { name, labels, program, node, replicas } = self;
        let (command, upstream) = match program {
            Program::Nginx { upstream } => {
                (r#"[nginx, -e, /dev/stderr, -c, /etc/server/nginx.conf]"#, *upstream)
            }
            Program::Python => ("[python3, /programs/server.py, 0.0.0.0, '8080']", "127.0.0.1:9"),
        };
        let comma = if labels.is_empty() { "" } else { ", " };
        let node = if node.is_empty() { String::new() } else { format!("nodeName: {node}") };
        format!(
            r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data:
  nginx.conf: |
    daemon off;
    user root;
    worker_processes 1;
    pid /tmp/nginx.pid;
    error_log stderr;
    events {{ worker_connections 256; }}
    http {{
      access_log off;
      client_body_temp_path /tmp/body;
      proxy_temp_path /tmp/proxy;
      fastcgi_temp_path /tmp/fastcgi;
      uwsgi_temp_path /tmp/uwsgi;
      scgi_temp_path /tmp/scgi;
      default_type text/plain;
      server {{
        listen 8080;
        location /upstream {{
          proxy_pass http://{upstream};
          proxy_http_version 1.1;
          proxy_set_header Connection "";
        }}
        location / {{ return 200 "$hostname\n"; }}
      }}
    }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}{comma}{labels}}}}}
    spec:
      {node}
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      containers:
      - name: server
        image: podtap/e2e:1
        command: {command}
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
        volumeMounts: [{{name: server, mountPath: /etc/server}}]
      volumes: [{{name: server, configMap: {{name: {name}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"#
        )
    }
}

impl Namespace {
    /// `name` is made unique.
    pub(crate) fn create(name: &str) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}-{}", process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        kubectl().run(&["create", "namespace", &name]).unwrap();
        Self { kubectl: kubectl().with(&["--namespace", &name]), name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// kubectl for this namespace.
    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Starts a server, and waits until all of its pods are ready.
    pub(crate) fn deploy(&self, server: Server<'_>) {
        self.kubectl.apply(&server.objects()).unwrap();
        self.rolled_out(server.name);
    }

    pub(crate) fn rolled_out(&self, deployment: &str) {
        eventually(
            &self.kubectl,
            &["rollout", "status", &format!("deployment/{deployment}"), "--timeout=20s"],
        );
    }

    /// Starts a pod that waits to be told what to do, with a label `app` of its name.
    pub(crate) fn client(&self, name: &str, node: &str) -> Pod {
        let pod = format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers: [{{name: client, image: 'podtap/e2e:1', command: [sleep, 1d]}}]
"
        );
        self.kubectl.apply(&pod).unwrap();
        eventually(
            &self.kubectl,
            &["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=20s"],
        );
        self.pods(&format!("app={name}")).remove(0)
    }

    /// Those that are not on their way out, by name.
    pub(crate) fn pods(&self, selector: &str) -> Vec<Pod> {
        let list = json(&self.kubectl, &["get", "pods", "-l", selector]);
        let stay = items(&list).iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        stay.map(|pod| Pod {
            name: text(&pod["metadata"]["name"]).to_owned(),
            uid: text(&pod["metadata"]["uid"]).to_owned(),
            ip: text(&pod["status"]["podIP"]).to_owned(),
            node: text(&pod["spec"]["nodeName"]).to_owned(),
        })
        .collect()
    }

    pub(crate) fn cluster_ip(&self, service: &str) -> String {
        text(&json(&self.kubectl, &["get", "service", service])["spec"]["clusterIP"]).to_owned()
    }

    /// Has a pod ask by curl, as often as there are numbers: `<url><number>`. Each must be answered by 200.
    pub(crate) fn ask(&self, from: &str, url: &str, numbers: std::ops::Range<u32>) {
        let script = r#"for n in $(seq "$1" "$2"); do curl -fsS -m 10 -o /dev/null "$0$n" || exit 1; done"#;
        let (first, last) = (numbers.start.to_string(), (numbers.end - 1).to_string());
        self.kubectl.run(&["exec", from, "--", "sh", "-c", script, url, &first, &last]).unwrap();
    }

    /// Makes or changes a TapPolicy.
    pub(crate) fn policy(&self, name: &str, spec: &str) {
        self.kubectl.apply(&policy(name, spec)).unwrap();
    }

    /// Waits until a policy's status says that it was seen as it is, and that so many pods are tapped by it.
    pub(crate) fn tapped(&self, policy: &str, pods: u64) {
        self.status(policy, &format!("{pods} taps of the policy {policy}"), |status| {
            status["activeTaps"].as_u64().unwrap_or(0) == pods
                && status["matchedPods"].as_u64().unwrap_or(0) == pods
        });
    }

    /// Waits for a status of the policy's newest generation; gives it.
    pub(crate) fn status(&self, policy: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, || {
            let object = try_json(&self.kubectl, &["get", "tappolicy", policy])?;
            let status = &object["status"];
            let seen = status["observedGeneration"] == object["metadata"]["generation"];
            if seen && wanted(status) { Ok(status.clone()) } else { Err(format!("{object:#}")) }
        })
        .unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = kubectl().run(&["delete", "namespace", &self.name, "--wait=false"]) {
            eprintln!("the namespace {} stays behind: {error:#}", self.name);
        }
    }
}

pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!("apiVersion: podtap.dev/v1alpha1\nkind: TapPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

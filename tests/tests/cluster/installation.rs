//! Podtap in the cluster, from the chart's rendered manifests, and the way to its collector.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use podtap_tests::{Running, until};
use tap_proto::v1::Exchange;
use tempfile::TempDir;

use crate::{
    client::{Client, Totals, line},
    cluster::{eventually, json, kubectl, nodes, text, tool},
};

/// Where the manifests put it.
pub(crate) const SYSTEM: &str = "podtap-system";

/// The tests' own: the probes, which look at cgroups.
const TESTS: &str = "podtap-e2e";

/// The repository.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("Cargo runs the tests");
    Path::new(&package).parent().unwrap().to_owned()
}

/// The chart's rendered manifests.
pub(crate) fn manifests() -> PathBuf {
    root().join("deploy/manifests")
}

/// Installs Podtap once, as the README says, and waits until all of it is ready.
pub(crate) fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let kubectl = kubectl();
        kubectl.apply(&probes()).unwrap();
        provide_volume();
        let manifests = manifests();
        kubectl.run(&["apply", "-f", &manifests.to_string_lossy()]).unwrap();
        eventually(&kubectl, &["-n", TESTS, "rollout", "status", "daemonset/probe", "--timeout=60s"]);
        ready();
    });
}

/// Waits until the collector and every agent are.
pub(crate) fn ready() {
    let kubectl = kubectl();
    for what in ["statefulset/podtap-collector", "daemonset/podtap-agent"] {
        let status = until(&format!("{what} is ready"), || {
            let status = kubectl.run(&["-n", SYSTEM, "rollout", "status", what, "--timeout=20s"]);
            status.map_err(|error| format!("{error:#}"))
        });
        if let Err(error) = status {
            let describe =
                |arguments: &[&str]| kubectl.run(arguments).unwrap_or_else(|error| error.to_string());
            panic!(
                "{error:#}\n{}\n{}",
                describe(&["-n", SYSTEM, "describe", "pods"]),
                describe(&["-n", SYSTEM, "logs", what, "--tail=50"]),
            );
        }
    }
}

/// A volume for the collector's table: the cluster that the tests make has nothing that provides them.
fn provide_volume() {
    let Some(tool) = tool() else { return };
    let node = &nodes()[0];
    let path = "/var/lib/podtap-e2e";
    // Kubelet would make it for root alone, and the collector is not root.
    let number = node.trim_start_matches("node");
    tool.run(&["enter"], ["--node", number, "--", "mkdir", "-p", "-m", "0777", path]).unwrap();
    let volume = format!(
        "
apiVersion: v1
kind: PersistentVolume
metadata: {{name: podtap-e2e}}
spec:
  capacity: {{storage: 1Ti}}
  accessModes: [ReadWriteOnce]
  hostPath: {{path: {path}, type: Directory}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{node}]}}]
"
    );
    kubectl().apply(&volume).unwrap();
}

/// A pod on each node that can see what is attached to its cgroups.
pub(crate) fn probes() -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: {TESTS}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: probe, namespace: {TESTS}}}
spec:
  selector: {{matchLabels: {{app: probe}}}}
  template:
    metadata: {{labels: {{app: probe}}}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{{operator: Exists}}]
      containers:
      - name: probe
        image: podtap/e2e:1
        command: [sleep, 1d]
        securityContext: {{privileged: true}}
        volumeMounts: [{{name: cgroup, mountPath: /host/cgroup, readOnly: true}}]
      volumes: [{{name: cgroup, hostPath: {{path: /sys/fs/cgroup}}}}]
"
    )
}

/// The programs attached to a pod's cgroups, as `bpftool` on its node shows them, one a line.
pub(crate) fn attached(node: &str, pod_uid: &str) -> Result<Vec<String>, String> {
    let kubectl = kubectl();
    let selector = format!("spec.nodeName={node}");
    let probe = kubectl
        .run(&["-n", TESTS, "get", "pods", "-l", "app=probe", "--field-selector", &selector, "-o", "name"])
        .map_err(|error| error.to_string())?;
    // The systemd driver writes the UID with underscores. Directories of cgroup v1 are not for bpftool. A directory may
    // go while it is looked at.
    let script = r#"
        for pod in $(find /host/cgroup -type d \( -name "*$0*" -o -name "*$(echo "$0" | tr - _)*" \)); do
            for group in $(find "$pod" -type d); do
                bpftool cgroup show "$group" 2> /dev/null > /tmp/shown && echo "$group" && grep -v '^ID ' /tmp/shown
            done
        done
        true"#;
    let shown = kubectl
        .run(&["-n", TESTS, "exec", probe.trim(), "--", "sh", "-c", script, pod_uid])
        .map_err(|error| format!("{error:#}"))?;
    let (groups, programs): (Vec<_>, Vec<_>) =
        shown.lines().map(str::to_owned).partition(|line| line.starts_with('/'));
    if groups.is_empty() {
        return Err(format!("no cgroup of the pod {pod_uid} is to be found on {node}"));
    }
    Ok(programs)
}

/// A way to the collector: `kubectl port-forward`, and a client that uses it.
#[derive(Debug)]
pub(crate) struct Collector {
    client: Client,
    url: String,
    // Before the directory: it writes its log there.
    _forward: Running,
    _directory: TempDir,
}

impl Collector {
    /// Installs Podtap if need be, and connects.
    pub(crate) fn connect() -> Self {
        install();
        let directory = TempDir::with_prefix("podtap-forward-").unwrap();
        let arguments = ["-n", SYSTEM, "port-forward", "service/podtap-collector", ":7070"];
        let mut forward =
            Running::start("port-forward", directory.path(), &mut kubectl().command(&arguments)).unwrap();
        let address = until("kubectl forwards a port", || {
            forward.check().map_err(|error| error.to_string())?;
            let log = forward.log();
            let address = log.lines().find_map(|line| {
                line.strip_prefix("Forwarding from ")?
                    .split(" -> ")
                    .next()
                    .filter(|from| from.starts_with("127."))
            });
            address.map(str::to_owned).ok_or(log)
        })
        .unwrap();
        let url = format!("http://{address}");
        let client = Client::new(&url);
        Self { client, url, _forward: forward, _directory: directory }
    }

    /// As this machine reaches it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What matches at this moment.
    pub(crate) fn search(&self, filter: &str) -> Vec<Exchange> {
        self.client.search(filter)
    }

    /// Waits until the table holds `count` exchanges that match; gives them, oldest first.
    pub(crate) fn stored(&self, filter: &str, count: usize) -> Vec<Exchange> {
        let stored =
            until(&format!("{count} exchanges of {filter:?}"), || match self.client.try_search(filter) {
                Ok(exchanges) if exchanges.len() >= count => Ok(exchanges),
                Ok(exchanges) => Err(format!(
                    "{:#?}; ledger {:#?}; policies {}",
                    exchanges.iter().map(place).collect::<Vec<_>>(),
                    self.client.totals(),
                    kubectl()
                        .run(&["get", "tappolicies", "-A", "-o", "wide"])
                        .unwrap_or_else(|error| error.to_string()),
                )),
                Err(status) => Err(status.to_string()),
            })
            .unwrap();
        let places: Vec<_> = stored.iter().map(place).collect();
        assert_eq!(stored.len(), count, "more exchanges than there were: {places:#?}");
        stored
    }

    /// Waits until the accounts of a namespace's pods balance with nothing on the way, once nobody sends there; gives their sum.
    pub(crate) fn settled(&self, namespace: &str) -> Totals {
        let prefix = format!("{namespace}/");
        until(&format!("the ledger of {namespace} balances"), || {
            let totals = self.client.totals_of(|target| target.starts_with(&prefix));
            let totals = totals.map_err(|status| status.to_string())?;
            let Totals { seen_bytes, assembled, stored, pending, lost, .. } = &totals;
            let balances = *seen_bytes == stored.bytes + pending.bytes + lost.bytes
                && *assembled == stored.exchanges + pending.exchanges + lost.exchanges;
            if balances && pending.exchanges == 0 && pending.bytes == 0 {
                Ok(totals)
            } else {
                Err(format!("{totals:#?}"))
            }
        })
        .unwrap()
    }
}

/// One line that tells where an exchange was tapped.
pub(crate) fn place(exchange: &Exchange) -> String {
    format!("{}/{} {:?}: {}", exchange.namespace, exchange.pod, exchange.role(), line(exchange))
}

/// The one pod of a label on a node.
pub(crate) fn system_pod(label: &str, node: &str) -> String {
    let selector = format!("spec.nodeName={node}");
    let pods = json(&kubectl(), &["-n", SYSTEM, "get", "pods", "-l", label, "--field-selector", &selector]);
    text(&pods["items"][0]["metadata"]["name"]).to_owned()
}

//! What the chart gives for which values, by Helm's engine; skipped where setup has not brought it.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{Helm, Release, helm::Refused, object::Object};
use crate::{setup, workspace::Workspace};

/// The chart, and what renders it.
struct Chart {
    workspace: Workspace,
    helm: Helm,
}

/// What was rendered.
struct Rendered(Vec<Object>);

impl Chart {
    /// `None` where there is no Helm.
    fn find() -> Option<Self> {
        let helm = setup::present_helm();
        if helm.is_none() {
            podtap_tests::skip("no Helm: `cargo xtask setup` brings it");
        }
        Some(Self { workspace: Workspace::find(), helm: helm? })
    }

    fn render(&self, values: &Value) -> anyhow::Result<Rendered> {
        let release = Release { name: "podtap", namespace: "podtap-system", values };
        self.helm.render(&self.workspace.root().join(super::CHART), release).map(Rendered)
    }

    /// Renders one of the sets of values that are kept with the chart.
    fn render_set(&self, name: &str) -> Rendered {
        self.render(&super::value_sets(&self.workspace).unwrap()[name]).unwrap()
    }

    /// Helm's complaint about values that must not be taken.
    fn refusal(&self, values: &Value) -> String {
        match self.render(values).map(drop) {
            Ok(()) => panic!("taken: {values}"),
            Err(error) => error.downcast::<Refused>().unwrap().0,
        }
    }
}

impl Rendered {
    fn get(&self, kind: &str, name: &str) -> &Value {
        let found = self.0.iter().find(|object| (object.kind(), object.name()) == (kind, name));
        &found.unwrap_or_else(|| panic!("no {kind} {name} among {:?}", self.names())).value
    }

    fn names(&self) -> BTreeSet<String> {
        self.0.iter().map(|object| format!("{}/{}", object.kind(), object.name())).collect()
    }

    fn has(&self, kind: &str) -> bool {
        self.0.iter().any(|object| object.kind() == kind)
    }

    /// The settings in a ConfigMap.
    fn settings(&self, name: &str, file: &str) -> Value {
        serde_yaml_ng::from_str(self.get("ConfigMap", name)["data"][file].as_str().unwrap()).unwrap()
    }
}

/// The one container and the pod of a workload.
fn pod(workload: &Value) -> (&Value, &Value) {
    let pod = &workload["spec"]["template"]["spec"];
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    (&pod["containers"][0], pod)
}

#[test]
fn the_agent_has_its_privileges_and_no_other() {
    let Some(chart) = Chart::find() else { return };
    let rendered = chart.render(&json!({})).unwrap();
    let (container, pod) = pod(rendered.get("DaemonSet", "podtap-agent"));
    assert_eq!(
        container["securityContext"],
        json!({
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["BPF", "PERFMON", "NET_ADMIN"]},
        })
    );
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for host in ["hostPID", "hostNetwork", "hostIPC"] {
        assert_eq!(pod[host], Value::Null, "{host}");
    }
    let host_paths: Vec<_> = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|volume| volume["hostPath"]["path"].as_str())
        .collect();
    assert_eq!(host_paths, ["/sys/fs/cgroup"]);
    for mount in container["volumeMounts"].as_array().unwrap() {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(rendered.get("PriorityClass", "podtap-agent")["preemptionPolicy"], "Never");
    let rules = rendered.get("ClusterRole", "podtap-agent")["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["verbs"] == json!(["list", "watch"])), "{rules:?}");
}

#[test]
fn by_default_there_is_one_collector_with_a_volume() {
    let Some(chart) = Chart::find() else { return };
    let rendered = chart.render(&json!({})).unwrap();
    let collector = rendered.get("StatefulSet", "podtap-collector");
    assert_eq!(collector["spec"]["replicas"], 1);
    assert_eq!(collector["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "table");
    let (container, pod) = pod(collector);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    let settings = rendered.settings("podtap-collector", "collector.yaml");
    let table =
        container["volumeMounts"].as_array().unwrap().iter().find(|mount| mount["name"] == "table").unwrap();
    let (store, volume) = (settings["store"].as_str().unwrap(), table["mountPath"].as_str().unwrap());
    assert!(store.starts_with(&format!("{volume}/")), "{store} is not in {volume}");
    // With one replica a budget would block every drain.
    for absent in ["Deployment", "PodDisruptionBudget", "ServiceMonitor"] {
        assert!(!rendered.has(absent), "{absent}");
    }
    let ports = &rendered.get("Service", "podtap-collector")["spec"]["ports"];
    assert_eq!((&ports[0]["port"], &ports[1]["port"]), (&json!(7070), &json!(7071)));
}

#[test]
fn agents_find_the_collector_without_dns() {
    let Some(chart) = Chart::find() else { return };
    let variable = |values: &Value, name: &str| {
        let rendered = chart.render(values).unwrap();
        let (container, _) = pod(rendered.get("DaemonSet", name));
        let variables = container["env"].as_array().unwrap();
        variables
            .iter()
            .find(|variable| variable["name"] == "PODTAP_COLLECTOR")
            .map(|found| found["value"].clone())
    };
    assert_eq!(variable(&json!({}), "podtap-agent"), Some(json!("$(PODTAP_COLLECTOR_PORT)")));
    let renamed = json!({"fullnameOverride": "my-tap"});
    assert_eq!(variable(&renamed, "my-tap-agent"), Some(json!("$(MY_TAP_COLLECTOR_PORT)")));
    // A variable would win over the file.
    let elsewhere = json!({"agent": {"config": {"collector": "http://collector.example.com:7070"}}});
    assert_eq!(variable(&elsewhere, "podtap-agent"), None);
}

#[test]
fn with_an_object_store_collectors_keep_nothing() {
    let Some(chart) = Chart::find() else { return };
    let rendered = chart.render_set("object-store");
    let collector = rendered.get("Deployment", "podtap-collector");
    assert_eq!(collector["spec"]["replicas"], 3);
    let (_, pod) = pod(collector);
    let volumes: Vec<_> = pod["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]).collect();
    assert_eq!(volumes, ["config", "tmp"]);
    assert!(!rendered.has("StatefulSet"));
    let budget = rendered.get("PodDisruptionBudget", "podtap-collector");
    assert_eq!((&budget["apiVersion"], &budget["spec"]["maxUnavailable"]), (&json!("policy/v1"), &json!(1)));
    let account = rendered.get("ServiceAccount", "podtap-collector");
    assert!(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].is_string());
    assert_eq!(rendered.settings("podtap-collector", "collector.yaml")["store"], "s3://captures/production");
}

#[test]
fn secrets_of_others_are_used_and_not_made() {
    let Some(chart) = Chart::find() else { return };
    let rendered = chart.render_set("existing-secrets");
    assert!(!rendered.has("Secret"));
    let (_, agent) = pod(rendered.get("DaemonSet", "podtap-agent"));
    let key =
        agent["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "redaction-key").unwrap();
    assert_eq!((&key["secret"]["secretName"], &key["secret"]["optional"]), (&json!("tokens"), &Value::Null));
    assert_eq!(agent["imagePullSecrets"], json!([{"name": "registry"}]));
    let (collector, _) = pod(rendered.get("Deployment", "podtap-collector"));
    assert_eq!(collector["envFrom"], json!([{"secretRef": {"name": "bucket"}}]));
}

#[test]
fn the_redaction_key_is_random_and_survives_an_uninstall() {
    let Some(chart) = Chart::find() else { return };
    let secret = || chart.render(&json!({})).unwrap().get("Secret", "podtap-redaction-key").clone();
    let (one, other) = (secret(), secret());
    assert_eq!(one["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert_ne!(one["data"]["key"], other["data"]["key"]);
    assert_eq!(one["data"]["key"].as_str().unwrap().len(), 88);
    // Without one, the settings name none, and the agents start.
    let rendered = chart.render(&json!({"redaction": {"createSecret": false}})).unwrap();
    assert!(!rendered.has("Secret"));
    assert_eq!(rendered.settings("podtap-agent", "agent.yaml")["redaction"], Value::Null);
}

#[test]
fn settings_are_passed_through() {
    let Some(chart) = Chart::find() else { return };
    let rendered = chart.render_set("everything");
    let agent = rendered.settings("tap-agent", "agent.yaml");
    assert_eq!(agent["rings"], json!({"count": 2, "bytes": 33_554_432}));
    assert_eq!(agent["admin"]["listen"], "0.0.0.0:7072");
    assert_eq!(agent["kubernetes"]["cgroup_root"], "/host/sys/fs/cgroup");
    assert_eq!(agent["log"], json!({"filter": "debug", "format": "json"}));
    let collector = rendered.settings("tap-collector", "collector.yaml");
    assert_eq!(collector["commit"], json!({"interval": "2s", "bytes": 8_388_608}));
    assert_eq!(collector["kubernetes"]["lease"], "tap-collector");
}

#[test]
fn agents_restart_for_settings_but_not_for_redaction() {
    let Some(chart) = Chart::find() else { return };
    let checksum = |config: &Value| {
        let rendered = chart.render(&json!({"agent": {"config": config}})).unwrap();
        rendered.get("DaemonSet", "podtap-agent")["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
    };
    let before = checksum(&json!({}));
    assert!(before.is_string());
    assert_eq!(checksum(&json!({"redaction": {"headers": ["x-secret"]}})), before);
    assert_ne!(checksum(&json!({"spool": {"bytes": "1MiB"}})), before);
}

#[test]
fn everything_can_be_set() {
    let Some(chart) = Chart::find() else { return };
    let rendered = chart.render_set("everything");
    let (agent, agent_pod) = pod(rendered.get("DaemonSet", "tap-agent"));
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_eq!(agent["image"], format!("registry.example.com/mirror/podtap/agent@{digest}"));
    assert_eq!(agent["imagePullPolicy"], "Always");
    assert_eq!(
        agent["securityContext"]["capabilities"]["add"],
        json!(["BPF", "PERFMON", "NET_ADMIN", "SYS_RESOURCE"])
    );
    assert_eq!(agent["securityContext"]["seLinuxOptions"]["type"], "spc_t");
    let seccomp = json!({"type": "Localhost", "localhostProfile": "podtap.json"});
    assert_eq!(agent_pod["securityContext"]["seccompProfile"], seccomp);
    assert_eq!(agent_pod["priorityClassName"], "system-node-critical");
    assert_eq!(agent_pod["serviceAccountName"], "tapper");
    assert_eq!(agent_pod["tolerations"], Value::Null);
    assert_eq!(rendered.get("DaemonSet", "tap-agent")["spec"]["updateStrategy"]["type"], "OnDelete");
    let (collector, _) = pod(rendered.get("StatefulSet", "tap-collector"));
    assert_eq!(collector["image"], "registry.example.com/mirror/mirror/collector:1.2.4");
    let claim = &rendered.get("StatefulSet", "tap-collector")["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["storageClassName"], "fast");
    assert_eq!(rendered.get("ServiceMonitor", "tap-agent")["spec"]["endpoints"][0]["interval"], "15s");
    assert_eq!(rendered.get("ConfigMap", "tap-dashboard")["metadata"]["labels"]["grafana_dashboard"], "1");
    let ingress = &rendered.get("NetworkPolicy", "tap-collector")["spec"]["ingress"];
    // The agents, replays, the mock, and who is named.
    assert_eq!(ingress[0]["from"].as_array().unwrap().len(), 4);
    assert_eq!(ingress[1]["ports"], json!([{"port": "admin", "protocol": "TCP"}]));
}

#[test]
fn a_mock_comes_only_when_it_is_asked_for_and_knows_from_where_it_answers() {
    let Some(chart) = Chart::find() else { return };
    assert!(!chart.render(&json!({})).unwrap().has("Deployment"));

    let rendered = chart.render_set("everything");
    let (mock, mock_pod) = pod(rendered.get("Deployment", "tap-mock"));
    assert_eq!(mock["image"], "registry.example.com/mirror/podtap/tapctl:1.2.5");
    assert_eq!(mock_pod["automountServiceAccountToken"], false);
    for argument in [
        "--listen=[::]:9090=payments.example",
        "--listen=[::]:9091",
        "--collector=http://tap-collector.podtap-system:7070",
        "--filter=destination.host == \"payments.example\"",
        "--chaos=/etc/podtap/mock/chaos.yaml",
        "--session=cookie:sid",
    ] {
        assert!(mock["args"].as_array().unwrap().contains(&json!(argument)), "{argument}: {}", mock["args"]);
    }
    assert_eq!(rendered.settings("tap-mock", "chaos.yaml")["rules"][0]["name"], "slow");
    let ingress = &rendered.get("NetworkPolicy", "tap-collector")["spec"]["ingress"];
    assert!(ingress[0]["from"].to_string().contains("mock"), "{ingress}");

    let from_file = json!({
        "mock": {"enabled": true, "since": "", "file": {"configMap": "recorded"}},
        "networkPolicy": {"mockFrom": [{"podSelector": {}}]},
    });
    let rendered = chart.render(&from_file).unwrap();
    let (mock, mock_pod) = pod(rendered.get("Deployment", "podtap-mock"));
    assert!(mock["args"].as_array().unwrap().contains(&json!("--file=/captures/captures.jsonl")));
    assert_eq!(mock_pod["volumes"][0]["configMap"]["name"], "recorded");
    // With a file it has nothing to ask the collector.
    let ingress = &rendered.get("NetworkPolicy", "podtap-collector")["spec"]["ingress"];
    assert!(!ingress[0]["from"].to_string().contains("mock"), "{ingress}");
}

#[test]
fn mounts_below_the_cgroups_can_be_read_only_too() {
    let Some(chart) = Chart::find() else { return };
    let mount = |values: &Value| {
        let rendered = chart.render(values).unwrap();
        let (container, _) = pod(rendered.get("DaemonSet", "podtap-agent"));
        let mounts = container["volumeMounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["name"] == "cgroup").unwrap()["recursiveReadOnly"].clone()
    };
    // Servers before 1.30 refuse the field.
    assert_eq!(mount(&json!({})), Value::Null);
    assert_eq!(mount(&json!({"agent": {"recursiveReadOnly": "IfPossible"}})), "IfPossible");
}

#[test]
fn objects_of_two_releases_do_not_meet() {
    let Some(chart) = Chart::find() else { return };
    let names = |name: &str| {
        let release = Release { name, namespace: "podtap-system", values: &json!({}) };
        Rendered(chart.helm.render(&chart.workspace.root().join(super::CHART), release).unwrap()).names()
    };
    assert!(names("podtap").is_disjoint(&names("other.release")));
    assert!(names("other.release").contains("Service/other-release-podtap-collector"));
}

#[test]
fn wrong_values_are_refused_by_name() {
    let Some(chart) = Chart::find() else { return };
    for (values, complaint) in [
        (json!({"agnet": {}}), "agnet"),
        (json!({"agent": {"resource": {}}}), "resource"),
        (json!({"agent": {"config": {"spol": {}}}}), "spol"),
        (json!({"agent": {"config": {"admin": {"listen": "[::]:9999"}}}}), "/agent/config/admin/listen"),
        (json!({"agent": {"extraCapabilities": ["CAP_SYS_ADMIN"]}}), "/agent/extraCapabilities/0"),
        (json!({"agent": {"seccompProfile": "none"}}), "/agent/seccompProfile"),
        (json!({"collector": {"store": "gs://bucket"}}), "/collector/store"),
        (json!({"collector": {"store": "/var/lib"}}), "/collector/store"),
        (json!({"collector": {"config": {"store": "s3://bucket"}}}), "store"),
        (json!({"collector": {"replicas": "two"}}), "/collector/replicas"),
        (json!({"collector": {"replicas": 2}}), "needs collector.store on an object store"),
        (json!({"image": {"tag": 1.10}}), "/image/tag"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
        (json!({"serviceMonitor": {"enabled": true}}), "networkPolicy.metricsFrom"),
        (json!({"mock": {"enabled": true}}), "networkPolicy.mockFrom"),
        (json!({"mock": {"listeners": [{"name": "admin", "port": 9090}]}}), "/mock/listeners/0/name"),
    ] {
        let refusal = chart.refusal(&values);
        assert!(refusal.contains(complaint), "{values}: {refusal}");
    }
}

#[test]
fn the_schema_knows_every_default() {
    let Some(chart) = Chart::find() else { return };
    // Strict: what values.yaml has and the schema does not would be refused.
    chart.helm.lint(&chart.workspace.root().join(super::CHART), &json!({})).unwrap();
}

#[test]
fn the_schema_knows_every_setting_of_the_programs() {
    let root = Workspace::find().root().to_owned();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let schema = fs::read_to_string(root.join(super::CHART).join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    for (program, values) in [("tap-agent", "agent"), ("tap-collector", "collector")] {
        let known = &schema["properties"][values]["properties"]["config"]["properties"];
        let settings = sections_of_settings(&readme, program);
        assert!(settings.len() > 4, "{settings:?}");
        // The store decides on the kind of workload, and so is a value of the chart's own.
        for setting in settings.iter().filter(|setting| *setting != "store") {
            assert!(known.get(setting).is_some(), "{program}: {setting} is not in values.schema.json");
        }
    }
}

/// The first words of the settings in the README's table of a program.
fn sections_of_settings(readme: &str, program: &str) -> BTreeSet<String> {
    let heading = format!("### {program}");
    let section = readme.lines().skip_while(|line| *line != heading).skip(1);
    let rows = section.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2));
    let first = names.filter_map(|name| name.split(['.', '[']).next());
    first.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let root = Workspace::find().root().to_owned();
    let dashboard = fs::read_to_string(root.join(super::CHART).join("dashboards/podtap.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let listed = listed_metrics(&readme);
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            asked.extend(words.filter(|word| word.starts_with("podtap_")).map(str::to_owned));
        }
    }
    assert!(asked.len() > 15, "{asked:?}");
    for metric in asked {
        // Of a histogram the README names the whole.
        let metric = metric.trim_end_matches("_bucket");
        assert!(listed.contains(metric), "{metric} is not in README.md");
    }
}

/// The metrics in the README's tables, where `…_bytes_total` repeats what is before it in the row.
fn listed_metrics(readme: &str) -> BTreeSet<String> {
    let mut metrics = BTreeSet::new();
    for row in readme.lines().filter(|line| line.starts_with("| `podtap_")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        let mut first: Option<String> = None;
        for name in cell.split('`').map(|name| name.split('{').next().unwrap_or_default().trim()) {
            if name.starts_with("podtap_") {
                first = Some(name.to_owned());
                metrics.insert(name.to_owned());
            } else if let (Some(end), Some(first)) = (name.strip_prefix('…'), &first) {
                // podtap_agent_seen_bytes_total, …_segments_total: the stem is up to the unit.
                let units = end.matches('_').count();
                let stem: Vec<_> = first.rsplitn(units + 1, '_').collect();
                metrics.insert(format!("{}{end}", stem.last().unwrap()));
            }
        }
    }
    metrics
}

#[test]
fn shortened_names_of_metrics_are_spelt_out() {
    let metrics = listed_metrics(
        "| `podtap_a_seen_bytes_total`, `…_segments_total {stage}` | x |\n| `podtap_p_exchanges`, `…_bytes` | y |",
    );
    let expected =
        ["podtap_a_seen_bytes_total", "podtap_a_seen_segments_total", "podtap_p_bytes", "podtap_p_exchanges"];
    assert_eq!(metrics.into_iter().collect::<Vec<_>>(), expected);
}

//! `cargo xtask chart`: writes what is made of the Helm chart and committed, and checks the chart.
//!
//! - `deploy/helm/podtap/crds/`: a copy of `deploy/crds/`, since Helm takes CRDs from nowhere else;
//! - `deploy/manifests/podtap.yaml`: the chart rendered for those who do not use Helm;
//! - `deploy/manifests/base.yaml`: the namespace and the CRDs, apart, so that deleting the former spares policies and captures.
//!
//! Rendered by Helm's own engine, so that the manifests are what an installation would be.

mod helm;
mod object;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

pub(crate) use self::helm::{Helm, Release};
use self::object::Object;
use crate::{
    process::{line, run as run_command},
    setup,
    workspace::Workspace,
};

const CHART: &str = "deploy/helm/podtap";
const CRDS: &str = "deploy/crds";
const BASE: &str = "deploy/manifests/base.yaml";
const MANIFESTS: &str = "deploy/manifests/podtap.yaml";

/// Sets of values that the chart is tried with; Helm's own tools look for them here, too.
const VALUE_SETS: &str = "deploy/helm/podtap/ci";

const RELEASE: &str = "podtap";
const NAMESPACE: &str = "podtap-system";

const BASE_HEADER: &str = "\
# What stays when Podtap goes: the namespace with the volume of the captures, and the CRD with all TapPolicies.
#
# Written by `cargo xtask chart`: change deploy/crds, not this file.
";

const HEADER: &str = "\
# Podtap for kubectl: kubectl apply -f deploy/manifests/
#
# Rendered from deploy/helm/podtap by `cargo xtask chart`: change the chart, not this file. docs/install.md says how to
# give all agents one redaction key; until then each makes its own.
";

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Write nothing; fail where what is committed is not what the chart gives.
    #[arg(long)]
    check: bool,
    /// Also have the API server that KUBECONFIG names check every object, for each set of values, by a dry run.
    #[arg(long)]
    server: bool,
}

/// Writes or compares, lints, and with `--server` asks an API server.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Options { check: only_check, server } = options;
    let helm = setup::helm()?;
    if *only_check {
        check(workspace, &helm)?;
    } else {
        for (path, text) in generated(workspace, &helm)? {
            let directory = path.parent().context("a file lies in a directory")?;
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
    }
    for (name, values) in value_sets(workspace)? {
        helm.lint(&workspace.root().join(CHART), &values).with_context(|| format!("lint with {name}"))?;
    }
    if *server {
        validate_on_server(workspace, &helm)?;
    }
    Ok(())
}

/// The chart's mock beside a release of the manifests: of what clients were answered below a path.
pub(crate) fn mock(workspace: &Workspace, helm: &Helm, prefix: &str) -> Result<String> {
    let values = json!({
        "mock": {"enabled": true, "filter": format!("role == 'outbound' && request.path.startsWith('{prefix}')")},
        "networkPolicy": {"mockFrom": [{"namespaceSelector": {}}]},
    });
    let release = Release { name: RELEASE, namespace: NAMESPACE, values: &values };
    let objects = helm.render(&workspace.root().join(CHART), release)?;
    let of_mock = |object: &&Object| object.name() == "podtap-mock";
    let mut objects: Vec<_> = objects.iter().filter(of_mock).collect();
    objects.sort_by_key(|object| object.order());
    Ok(objects.iter().map(|object| format!("---\n{}\n", object.text)).collect())
}

/// Fails where what is committed is not what the chart gives.
pub(crate) fn check(workspace: &Workspace, helm: &Helm) -> Result<()> {
    let fresh = generated(workspace, helm)?;
    for (path, text) in &fresh {
        if fs::read_to_string(path).ok().as_ref() != Some(text) {
            bail!("{} is stale: run `cargo xtask chart` and commit", path.display());
        }
    }
    let copies = files_in(&workspace.root().join(CHART).join("crds"))?;
    if let Some(extra) = copies.iter().find(|path| !fresh.contains_key(*path)) {
        bail!("{} is no copy of anything in {CRDS}: remove it", extra.display());
    }
    Ok(())
}

/// Has the API server of KUBECONFIG check every object that the chart can give, by `kubectl apply --dry-run=server`.
///
/// Creates the namespace, without which the server refuses what would be in it. Kinds that the server does not
/// have (of an operator that is not installed, or of a newer Kubernetes) are named and left out.
pub(crate) fn validate_on_server(workspace: &Workspace, helm: &Helm) -> Result<()> {
    let directory = tempfile::tempdir().context("create a directory for manifests")?;
    let apply = |name: &str, text: &str, how: &[&str]| {
        let path = directory.path().join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        let mut command = Command::new("kubectl");
        command.args(["apply", "--filename"]).arg(&path).args(how);
        let output = command.output().with_context(|| format!("run {}", line(&command)))?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::Ok(if output.status.success() { None } else { Some(complaint) })
    };
    run_command(Command::new("kubectl").arg("version")).context("reach the API server of KUBECONFIG")?;
    if let Some(complaint) = apply("namespace.yaml", &namespace(), &[])? {
        bail!("create the namespace {NAMESPACE}: {complaint}");
    }
    for (set, values) in value_sets(workspace)? {
        let release = Release { name: RELEASE, namespace: NAMESPACE, values: &values };
        for object in helm.render(&workspace.root().join(CHART), release).with_context(|| set.clone())? {
            let name = format!("{}-{}.yaml", object.kind(), object.name());
            match apply(&name, &object.text, &["--dry-run=server"])? {
                None => {}
                Some(complaint) if complaint.contains("no matches for kind") => {
                    println!("{set}: the server has no {}: {} is not checked", object.kind(), object.name());
                }
                Some(complaint) => bail!("{set}: {} {}: {complaint}", object.kind(), object.name()),
            }
        }
        println!("{set}: the API server takes it");
    }
    Ok(())
}

/// The committed files that are made of the chart, with what should be in them.
fn generated(workspace: &Workspace, helm: &Helm) -> Result<BTreeMap<PathBuf, String>> {
    let root = workspace.root();
    let mut files = BTreeMap::new();
    let mut base = Object::all_of(&namespace())?;
    for path in files_in(&root.join(CRDS))? {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        base.extend(Object::all_of(&text).with_context(|| path.display().to_string())?);
        let name = path.file_name().context("a file has a name")?;
        files.insert(root.join(CHART).join("crds").join(name), text);
    }
    files.insert(root.join(BASE), manifest(BASE_HEADER, base));
    // A Secret that is committed is none: each agent makes a key of its own until the user gives one.
    let values = json!({"redaction": {"createSecret": false}});
    let release = Release { name: RELEASE, namespace: NAMESPACE, values: &values };
    let objects = helm.render(&root.join(CHART), release).context("render the manifests")?;
    files.insert(root.join(MANIFESTS), manifest(HEADER, objects));
    Ok(files)
}

/// Objects as one file, in the order in which they can be applied.
fn manifest(header: &str, mut objects: Vec<Object>) -> String {
    objects.sort_by_key(Object::order);
    let mut text = header.to_owned();
    for object in &objects {
        text.push_str("---\n");
        // Nothing of this is Helm's to manage.
        let lines = object.text.lines().filter(|line| !line.contains("app.kubernetes.io/managed-by: Helm"));
        lines.for_each(|line| text.extend([line, "\n"]));
    }
    text
}

/// The namespace as the manifests make it: agents need more than the stricter levels of Pod Security admit.
fn namespace() -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    app.kubernetes.io/part-of: podtap
    # hostPath and the capabilities in docs/security.md.
    pod-security.kubernetes.io/enforce: privileged
"
    )
}

/// The defaults, and each set in [`VALUE_SETS`], by name.
fn value_sets(workspace: &Workspace) -> Result<BTreeMap<String, Value>> {
    let mut sets = BTreeMap::from([("defaults".to_owned(), json!({}))]);
    for path in files_in(&workspace.root().join(VALUE_SETS))? {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let values = serde_yaml_ng::from_str(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        sets.insert(name.trim_end_matches("-values").to_owned(), values);
    }
    Ok(sets)
}

/// The YAML files of a directory, which need not exist, in order.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.context("read a directory entry")?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

//! Helm's own engine, as the program `helm` or as its Python binding. Both give the same objects.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::object::Object;
use crate::process::line;

/// Speaks for the Python binding.
const ENGINE: &str = include_str!("engine.py");

/// What renders the chart.
#[derive(Clone, Debug)]
pub(crate) enum Helm {
    Program(PathBuf),
    /// The directory with the package `helm_python`.
    Python {
        packages: PathBuf,
    },
}

/// A release to render.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) values: &'a Value,
}

/// Why there are no objects, in Helm's words: wrong values, or a chart that is not sound.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

impl Helm {
    /// The objects of a release, in no order that means anything.
    pub(crate) fn render(&self, chart: &Path, release: Release<'_>) -> Result<Vec<Object>> {
        let Release { name, namespace, values } = release;
        match self {
            Self::Program(helm) => {
                let file = values_file(values)?;
                let mut command = Command::new(helm);
                command.args(["template", name]).arg(chart).args(["--namespace", namespace, "--values"]);
                let output = refuse_failure(command.arg(file.path()))?;
                Object::all_of(&output)
            }
            Self::Python { packages } => {
                let request = json!({
                    "action": "render",
                    "chart": chart,
                    "name": name,
                    "namespace": namespace,
                    "values": values,
                });
                let answer = ask(packages, &request)?;
                let templates: BTreeMap<String, String> =
                    serde_json::from_value(answer["templates"].clone()).context("the rendered templates")?;
                let mut objects = Vec::new();
                for (name, text) in templates.iter().filter(|(name, _)| !name.ends_with("/NOTES.txt")) {
                    objects.extend(Object::all_of(text).with_context(|| name.clone())?);
                }
                Ok(objects)
            }
        }
    }

    /// Fails where Helm finds anything to criticise.
    pub(crate) fn lint(&self, chart: &Path, values: &Value) -> Result<()> {
        match self {
            Self::Program(helm) => {
                let file = values_file(values)?;
                let mut command = Command::new(helm);
                command.args(["lint", "--strict"]).arg(chart).arg("--values").arg(file.path());
                refuse_failure(&mut command).map(drop)
            }
            Self::Python { packages } => {
                ask(packages, &json!({"action": "lint", "chart": chart, "values": values})).map(drop)
            }
        }
    }
}

/// Values as a file: JSON is YAML.
fn values_file(values: &Value) -> Result<tempfile::NamedTempFile> {
    let mut file =
        tempfile::Builder::new().suffix(".yaml").tempfile().context("create a file for the values")?;
    serde_json::to_writer(&mut file, values).context("write the values")?;
    file.flush().context("write the values")?;
    Ok(file)
}

/// What the command prints; where it fails, what it complains about.
fn refuse_failure(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {}", line(command)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        // `helm lint` tells its findings on standard output.
        bail!(Refused(format!("{}{}", text(&output.stdout), text(&output.stderr))));
    }
    Ok(text(&output.stdout))
}

/// Puts a request to the Python binding.
fn ask(packages: &Path, request: &Value) -> Result<Value> {
    let mut command = Command::new("python3");
    command.args(["-c", ENGINE]).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start Helm's engine in Python")?;
    let mut stdin = child.stdin.take().context("the engine's input")?;
    // It reads the whole request before it writes anything.
    stdin.write_all(request.to_string().as_bytes()).context("ask Helm's engine")?;
    drop(stdin);
    let output = child.wait_with_output().context("wait for Helm's engine")?;
    if !output.status.success() {
        bail!("Helm's engine in Python: {}", output.status);
    }
    let answer: Value = serde_json::from_slice(&output.stdout).context("read the answer of Helm's engine")?;
    let problems: Vec<&str> =
        answer["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !problems.is_empty() {
        bail!(Refused(problems.join("\n")));
    }
    Ok(answer)
}

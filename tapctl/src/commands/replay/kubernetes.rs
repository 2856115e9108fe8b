//! `tapctl replay --kubernetes`: the shards of a replay as the pods of a Job, their reports as one.
//!
//! What pods print is gathered where many can read it, and a report quotes what was captured: each pod seals its report
//! with a key that was made for this run ([`tap_replay::sealed`]), and tells its progress in numbers alone. The key is in a
//! Secret that belongs to the Job, and goes with it.
//!
//! The Job comes first, then what its pods read: so all of it belongs to the Job from the beginning, and nothing stays
//! behind wherever this program is killed.

mod arguments;
mod follow;
mod job;
mod kubectl;
mod pods;

use std::{fs, io::Write};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use tap_proto::v1::{Replay, replay::State};
use tap_replay::sealed::SealKey;
use url::Url;
use uuid::Uuid;

use self::{
    follow::{Followed, Interrupts},
    job::{Form, PodSettings, Run, is_name},
    kubectl::Kubectl,
};
use super::{Ending, Printing, plan};
use crate::{
    cli::{self, Output},
    commands::{Verdict, WrongUsage, judgement::Judgement},
    render::Style,
};

/// Where the pods see the Secrets that are named.
pub(super) const SECRETS: &str = "/secrets";
/// As many pods are followed at a time.
const MAX_SHARDS: u32 = 64;
const MAX_SECRETS: usize = 16;
/// The first API servers that have indexed Jobs without being told to.
const INDEXED_SINCE: u32 = 22;
const MAX_SETTINGS_BYTES: u64 = 64 * 1024;

/// Runs the Job, waits for it, and judges what all shards report together.
pub(in crate::commands) async fn run(
    arguments: &cli::Replay,
    store: Option<&Url>,
    output: Output,
    style: Style,
    out: &mut impl Write,
) -> Result<Verdict> {
    let judgement = Judgement::read(&arguments.judging)?;
    let key = SealKey::generate()?;
    let run = of(arguments, store, &judgement)?;
    if arguments.sending.dry_run {
        print(&run, &key, output, out)?;
        return Ok(Verdict::Good);
    }
    let cluster = &arguments.cluster;
    let kubectl = Kubectl::new(cluster.kubernetes_context.clone(), run.namespace.clone());
    let form = form(&kubectl).await?;
    // From here on there is something to be removed.
    let interrupts = follow::interrupts();
    let jobs = kubectl.create(&run.jobs(form)).await;
    let followed = match jobs {
        Ok(jobs) => follow(&kubectl, &run, &key, interrupts, &jobs, arguments).await,
        Err(error) => Err(error.context("create the Job")),
    };
    if !cluster.keep || followed.is_err() {
        remove(&kubectl, &run).await;
    }
    conclude(followed?, arguments, Printing { output, style, out, judgement })
}

async fn follow(
    kubectl: &Kubectl,
    run: &Run,
    key: &SealKey,
    interrupts: Interrupts,
    jobs: &[Value],
    arguments: &cli::Replay,
) -> Result<Followed> {
    let files = run.files(key, jobs)?;
    kubectl.create(&files).await.context("create what the Job's pods read")?;
    eprintln!("the Job {} replays in {}, shards: {}", run.name, run.namespace, run.shards);
    let (length, wait) = (arguments.sending.duration, arguments.cluster.kubernetes_wait);
    follow::follow(kubectl, run, key, interrupts, length, wait).await
}

/// Adds the reports up; what did not end as it should is said, and is the verdict.
fn conclude(
    followed: Followed,
    arguments: &cli::Replay,
    mut printing: Printing<'_, impl Write>,
) -> Result<Verdict> {
    let Followed { shards } = followed;
    let count = shards.len();
    let mut reports = Vec::new();
    let mut problems = Vec::new();
    for (index, shard) in shards.into_iter().enumerate() {
        match shard {
            Ok(replay) => {
                let how = ended(&replay);
                reports.extend(replay.report);
                problems.extend((!how.is_empty()).then(|| format!("shard {index}: {how}")));
            }
            Err(why) => problems.push(format!("shard {index}: no report: {why}")),
        }
    }
    let how = problems.join("\n");
    if reports.is_empty() {
        bail!("no shard of {count} has a report\n{how}");
    }
    let report = tap_replay::merge(reports)?;
    let target = arguments.target.as_deref().unwrap_or_default();
    let title = format!("replay at {target}, in {count} shards");
    let ending = Ending { title: &title, fail_on_mismatch: arguments.fail_on_mismatch, how: &how };
    printing.conclude(&report, &ending)
}

/// How a shard ended, where it was not at its end.
pub(super) fn ended(replay: &Replay) -> String {
    let error = &replay.error;
    match replay.state() {
        State::Finished => String::new(),
        State::Stopped => "stopped before the end".to_owned(),
        State::Aborted => format!("aborted: {error}"),
        State::Interrupted => format!("interrupted: {error}"),
        State::Failed | State::Running | State::Unspecified => format!("failed: {error}"),
    }
}

/// The run that arguments ask for, and all that is wrong with them.
fn of(arguments: &cli::Replay, store: Option<&Url>, judgement: &Judgement) -> Result<Run> {
    // As every pod will see it: what is wrong is told here.
    plan(arguments, judgement)?;
    let cli::InCluster {
        kubernetes_namespace,
        kubernetes_image,
        kubernetes_secrets,
        kubernetes_settings,
        ..
    } = &arguments.cluster;
    let shards = arguments.sending.shards;
    let mut mistakes = Vec::new();
    if shards > MAX_SHARDS {
        mistakes.push(format!("--shards {shards}: {MAX_SHARDS} at most in Kubernetes"));
    }
    if kubernetes_secrets.len() > MAX_SECRETS {
        mistakes.push(format!("--kubernetes-secret: {MAX_SECRETS} at most"));
    }
    if store.is_some_and(|store| store.scheme() == "file") {
        mistakes.push("--store: a directory of this machine is not in the cluster".to_owned());
    }
    for wrong in kubernetes_secrets.iter().chain([kubernetes_namespace]).filter(|name| !is_name(name)) {
        mistakes.push(format!("{wrong:?}: not a name of an object"));
    }
    if !mistakes.is_empty() {
        return Err(WrongUsage(mistakes.join("\n  ")).into());
    }
    let settings = match kubernetes_settings {
        None => PodSettings::default(),
        Some(path) => {
            let wrong = |problem: String| WrongUsage(format!("{}: {problem}", path.display()));
            let length = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
            if length > MAX_SETTINGS_BYTES {
                return Err(wrong(format!("longer than {MAX_SETTINGS_BYTES} bytes")).into());
            }
            PodSettings::parse(&fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?)?
        }
    };
    Ok(Run {
        name: name(),
        namespace: kubernetes_namespace.clone(),
        image: kubernetes_image.clone(),
        shards,
        told: arguments::told(arguments, store, judgement, Timestamp::now())?,
        secrets: kubernetes_secrets.clone(),
        settings,
        request_timeout: arguments.request_timeout,
    })
}

fn name() -> String {
    let id = Uuid::now_v7().simple().to_string();
    // Its end is random.
    format!("podtap-replay-{}", &id[20..])
}

fn print(run: &Run, key: &SealKey, output: Output, out: &mut impl Write) -> Result<()> {
    let objects = [run.jobs(Form::Indexed), run.files(key, &[])?].concat();
    if output != Output::Table {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        return writeln!(out, "{list}").map_err(Into::into);
    }
    for object in objects {
        write!(out, "---\n{}", serde_yaml_ng::to_string(&object).context("write YAML")?)?;
    }
    Ok(())
}

async fn form(kubectl: &Kubectl) -> Result<Form> {
    let version = kubectl.run(&["get", "--raw", "/version"], None).await?;
    let version: Value = serde_json::from_str(&version).context("the API server's version")?;
    // Some providers write "22+".
    let number = |field: &str| {
        let digits: String =
            version[field].as_str()?.chars().take_while(char::is_ascii_digit).take(9).collect();
        digits.parse::<u32>().ok()
    };
    Ok(match (number("major"), number("minor")) {
        (Some(1), Some(minor)) if minor < INDEXED_SINCE => Form::JobForEach,
        _ => Form::Indexed,
    })
}

async fn remove(kubectl: &Kubectl, run: &Run) {
    if let Err(error) = stop(kubectl, run).await {
        eprintln!("warning: the Job {} stays behind: {error:#}", run.name);
    }
}

/// Its pods are told to end, and have the time that they need for it.
async fn stop(kubectl: &Kubectl, run: &Run) -> Result<()> {
    let arguments = ["delete", "jobs", "--selector", &run.selector(), "--wait=false", "--ignore-not-found"];
    kubectl.run(&arguments, None).await.map(drop)
}

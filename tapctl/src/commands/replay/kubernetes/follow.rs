//! Waits for the shards of a replay, and gathers what they report.
//!
//! What a pod is, is asked of the API server every other second; what it says comes from one `kubectl logs` that follows all
//! of them, so that a report is here before its pod goes, also where the Job is stopped. Whatever breaks in between is
//! asked for again: a log that is read a second time says the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    future,
    time::Duration,
};

use anyhow::{Result, bail};
use indicatif::ProgressBar;
use tap_proto::v1::Replay;
use tap_replay::sealed::{SealError, SealKey, SealedLines};
use tokio::{
    sync::mpsc,
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    job::Run,
    kubectl::{Following, Kubectl},
    pods::{self, Phase, Pod},
    stop,
};
use crate::commands::replay::{interrupt, progress_bar, shard::Progress};

const INTERVAL: Duration = Duration::from_secs(2);
/// An API server may be away for as long: the pods go on without it.
const AWAY: Duration = Duration::from_secs(300);
/// A pod that is not listed any more may have been on its way out with its report not yet read.
const GONE_ROUNDS: u32 = 3;
/// How long a Job that is to end may wait for its pods' logs to be followed: a node clears a log away with its pod.
const UNHEARD: Duration = Duration::from_secs(10);
/// Lines of a log that say why a pod failed.
const LAST_LINES: usize = 3;
const LINE_LENGTH: usize = 500;
/// What comes in the place of a log, and without an error, once the node has cleared the container away.
const NO_LOG: &str = "unable to retrieve container logs";

/// Of all pods from the beginning, with each one's name before its lines.
const LOGS: [&str; 6] =
    ["logs", "--follow", "--prefix", "--ignore-errors", "--tail=-1", "--max-log-requests=64"];

/// One for each Ctrl-C.
pub(super) type Interrupts = mpsc::Receiver<()>;

/// What became of the shards, by number: what each reports, or why it has no report.
pub(super) struct Followed {
    pub shards: Vec<Result<Replay, String>>,
}

/// One shard, as far as it is known.
#[derive(Debug, Default)]
struct Shard {
    pod: Option<String>,
    phase: Option<Phase>,
    progress: Progress,
    lines: SealedLines,
    /// The last other lines.
    said: Vec<String>,
    /// Its whole log was read after it had ended.
    read: bool,
    /// Rounds without its pod after it was seen.
    gone: u32,
}

/// A Job that is to end. It is told so once what its pods say is followed.
struct Stopping {
    since: Instant,
    /// The pods were looked at since.
    seen: bool,
    told: bool,
}

impl Shard {
    fn hear(&mut self, line: &str) {
        if self.lines.push(line) {
            return;
        }
        if let Some(progress) = Progress::parse(line) {
            self.progress = progress;
            return;
        }
        if self.said.len() == LAST_LINES {
            self.said.remove(0);
        }
        self.said.push(line.chars().take(LINE_LENGTH).collect());
    }

    /// Nothing more is to be expected of it.
    fn is_done(&self) -> bool {
        self.lines.is_complete() || self.read || self.gone >= GONE_ROUNDS
    }

    fn is_running(&self) -> bool {
        self.phase == Some(Phase::Running) && self.gone == 0
    }

    /// Or never will.
    fn has_started(&self) -> bool {
        matches!(self.phase, Some(Phase::Running | Phase::Ended(_))) || self.gone >= GONE_ROUNDS
    }

    /// It ended without a report: the Job has failed, and ends the others.
    fn has_failed(&self) -> bool {
        self.read && !self.lines.is_complete()
    }

    fn result(self, key: &SealKey) -> Result<Replay, String> {
        let error = match key.open(&self.lines) {
            Ok(replay) => return Ok(replay),
            Err(SealError::Missing) => String::new(),
            Err(error) => format!("{error}; "),
        };
        let phase = match self.phase {
            None => "it had no pod".to_owned(),
            _ if self.gone > 0 => "its pod is gone".to_owned(),
            Some(Phase::Waiting(why)) => format!("it did not start: {why}"),
            Some(Phase::Running) => "it was still running".to_owned(),
            Some(Phase::Ended(how)) => how,
        };
        Err([vec![format!("{error}{phase}")], self.said].concat().join("\n    "))
    }
}

/// Returns when every shard is done, at the second Ctrl-C, or with an error where the Job can't be waited for.
pub(super) async fn follow(
    kubectl: &Kubectl,
    run: &Run,
    key: &SealKey,
    mut interrupts: Interrupts,
    length: Option<Duration>,
    wait: Duration,
) -> Result<Followed> {
    let mut shards: Vec<Shard> = (0..run.shards).map(|_| Shard::default()).collect();
    let selector = run.selector();
    let bar = progress_bar(length, 1.0)?;
    let mut stopping: Option<Stopping> = None;
    let mut log: Option<Following> = None;
    let mut followed = BTreeSet::new();
    // Of those, the shards of which a line has come.
    let mut heard = BTreeSet::new();
    let started = Instant::now();
    let mut answered = started;
    let mut tick = time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shards.iter().all(Shard::is_done) {
        tokio::select! {
            _ = tick.tick() => {
                match pods_of(kubectl, run).await {
                    Ok(pods) => {
                        answered = Instant::now();
                        note(&mut shards, pods, stopping.is_some());
                    }
                    Err(error) if answered.elapsed() > AWAY => return Err(error),
                    Err(_) => continue,
                }
                // What one kubectl follows are the pods that ran when it started.
                let running = running(&shards);
                if !running.is_empty() && (log.is_none() || !running.is_subset(&followed)) {
                    log = kubectl.follow(&[&LOGS[..], &["--selector", &selector]].concat()).ok();
                    followed = running;
                    heard.clear();
                }
                if let Some(stopping) = &mut stopping {
                    stopping.seen = true;
                }
                read_ended(kubectl, &mut shards).await;
                if stopping.is_none() && started.elapsed() > wait && !shards.iter().all(Shard::has_started) {
                    bar.finish_and_clear();
                    bail!("not all shards have started after {wait:?}\n{}", waiting(&shards));
                }
                show(&bar, &shards);
            }
            line = next(&mut log) => match line {
                Some(line) => heard.extend(hear(&mut shards, &line)),
                None => log = None,
            },
            _ = interrupts.recv() => {
                if stopping.is_some() {
                    break;
                }
                stopping = Some(Stopping { since: Instant::now(), seen: false, told: false });
                bar.suspend(|| eprintln!("stopping the Job; Ctrl-C again does not wait for its reports"));
                tick.reset_immediately();
            }
        }
        if let Some(stopping) = stopping.as_mut().filter(|stopping| !stopping.told) {
            let all_heard = stopping.seen && running(&shards).is_subset(&heard);
            if all_heard || stopping.since.elapsed() > UNHEARD {
                stop(kubectl, run).await?;
                stopping.told = true;
            }
        }
    }
    bar.finish_and_clear();
    Ok(Followed { shards: shards.into_iter().map(|shard| shard.result(key)).collect() })
}

/// One for each Ctrl-C, also while something else is awaited.
pub(super) fn interrupts() -> Interrupts {
    let (interrupt_tx, interrupt_rx) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            interrupt().await;
            if interrupt_tx.send(()).await.is_err() {
                return;
            }
        }
    });
    interrupt_rx
}

async fn pods_of(kubectl: &Kubectl, run: &Run) -> Result<Vec<Pod>> {
    let list = kubectl.json(&["get", "pods", "--selector", &run.selector()]).await?;
    Ok(pods::of_list(&list, run.shards as usize))
}

async fn next(log: &mut Option<Following>) -> Option<String> {
    match log {
        Some(log) => log.next().await,
        None => future::pending().await,
    }
}

fn note(shards: &mut [Shard], pods: Vec<Pod>, stopping: bool) {
    let ending = stopping || shards.iter().any(Shard::has_failed);
    let mut seen: BTreeMap<usize, Pod> = pods.into_iter().map(|pod| (pod.shard, pod)).collect();
    for (index, shard) in shards.iter_mut().enumerate() {
        match seen.remove(&index) {
            Some(pod) => {
                shard.gone = 0;
                shard.pod = Some(pod.name);
                shard.phase = Some(pod.phase);
            }
            None if shard.pod.is_some() || ending => shard.gone += 1,
            None => {}
        }
    }
}

/// `[pod/NAME/CONTAINER] LINE`: the shard whose it is.
fn hear(shards: &mut [Shard], line: &str) -> Option<usize> {
    let (place, line) = line.strip_prefix("[pod/")?.split_once("] ")?;
    let name = place.split('/').next();
    let index = shards.iter().position(|shard| shard.pod.as_deref() == name)?;
    shards[index].hear(line);
    Some(index)
}

/// Reads the logs of pods that have ended and whose reports have not come by the way of all.
async fn read_ended(kubectl: &Kubectl, shards: &mut [Shard]) {
    for shard in shards {
        let (Some(Phase::Ended(_)), Some(pod)) = (&shard.phase, &shard.pod) else { continue };
        if shard.is_done() || shard.gone > 0 {
            continue;
        }
        // Not there yet, or no more: asked again, until the pod is gone.
        if let Ok(log) = kubectl.run(&["logs", pod], None).await
            && !log.starts_with(NO_LOG)
        {
            shard.said.clear();
            log.lines().for_each(|line| shard.hear(line));
            shard.read = true;
        }
    }
}

fn running(shards: &[Shard]) -> BTreeSet<usize> {
    let running = shards.iter().enumerate().filter(|(_, shard)| shard.is_running());
    running.map(|(index, _)| index).collect()
}

fn waiting(shards: &[Shard]) -> String {
    let line = |(index, shard): (usize, &Shard)| match &shard.phase {
        Some(Phase::Running | Phase::Ended(_)) => None,
        Some(Phase::Waiting(why)) => Some(format!("shard {index}: {why}")),
        None => Some(format!("shard {index}: it has no pod")),
    };
    shards.iter().enumerate().filter_map(line).collect::<Vec<_>>().join("\n")
}

fn show(bar: &ProgressBar, shards: &[Shard]) {
    let running = running(shards).len();
    let mut sum = Progress::default();
    for Progress { sent, answered, failed, differed } in shards.iter().map(|shard| shard.progress) {
        sum.sent += sent;
        sum.answered += answered;
        sum.failed += failed;
        sum.differed += differed;
    }
    bar.set_position(u64::try_from(bar.elapsed().as_millis()).unwrap_or(u64::MAX));
    bar.set_message(format!(
        "{running} of {} shards run: {} sent, {} answered, {} failed, {} differ",
        shards.len(),
        sum.sent,
        sum.answered,
        sum.failed,
        sum.differed
    ));
}

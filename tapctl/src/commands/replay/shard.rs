//! A replay in a pod: its log tells how it goes, in numbers alone, and has the report, sealed.

use std::{io::Write, time::Duration};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tap_proto::v1::{Replay, ReplayReport};
use tap_replay::sealed::SealKey;
use tokio::{sync::watch, time};

/// At the beginning of each line about the progress.
const PREFIX: &str = "podtap-progress ";
const INTERVAL: Duration = Duration::from_secs(2);

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    pub sent: u64,
    pub answered: u64,
    pub failed: u64,
    pub differed: u64,
}

impl Progress {
    /// Of a line of a log, where that is about it.
    pub(super) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(PREFIX)?).ok()
    }
}

impl From<&ReplayReport> for Progress {
    fn from(report: &ReplayReport) -> Self {
        let ReplayReport { sent, answered, differed, failed, .. } = report;
        Self { sent: *sent, answered: *answered, failed: failed.values().sum(), differed: *differed }
    }
}

/// Logs the progress now and then, until there is no more. On standard error: standard output is the report's.
pub(super) async fn log(mut progress: watch::Receiver<ReplayReport>) {
    let mut last = None;
    while progress.changed().await.is_ok() {
        let now = Progress::from(&*progress.borrow_and_update());
        if last.replace(now) != Some(now)
            && let Ok(numbers) = serde_json::to_string(&now)
        {
            eprintln!("{PREFIX}{numbers}");
        }
        time::sleep(INTERVAL).await;
    }
}

/// Prints the report for who has the key.
pub(super) fn print(key: &SealKey, replay: Replay, out: &mut impl Write) -> Result<()> {
    for line in key.seal(replay).context("seal the report")? {
        writeln!(out, "{line}")?;
    }
    out.flush().context("print the report")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_lines_about_it() {
        let progress = Progress { sent: 7, answered: 6, failed: 1, differed: 2 };
        let line = format!("{PREFIX}{}", serde_json::to_string(&progress).unwrap());
        assert_eq!(Progress::parse(&line), Some(progress));
        assert_eq!(Progress::parse("podtap-progress {}"), Some(Progress::default()));
        for other in ["", "warning: x", "podtap-progress", "podtap-progress {"] {
            assert_eq!(Progress::parse(other), None, "{other}");
        }
    }
}

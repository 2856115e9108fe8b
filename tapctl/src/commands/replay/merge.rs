//! `tapctl replay merge`: the reports of several shards as one.

use std::{fs, io::Write, path::Path};

use anyhow::{Context as _, Result, bail};
use tap_proto::v1::{Replay, ReplayReport, replay::State};
use tap_replay::sealed::{SealKey, SealedLines};

use super::{Ending, Printing, kubernetes};
use crate::{
    cli::{self, Output},
    commands::{Verdict, WrongUsage, judgement::Judgement},
    render::{Style, json},
};

/// A report is kilobytes, with its histograms a megabyte; a log has other lines, too.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

pub(super) fn run(
    arguments: &cli::Merge,
    output: Output,
    style: Style,
    out: &mut impl Write,
) -> Result<Verdict> {
    let cli::Merge { files, seal_key, fail_on_mismatch, conclusion } = arguments;
    let judgement = Judgement::of_reports(conclusion)?;
    let key = seal_key.as_deref().map(seal_key_of).transpose()?;
    let mut reports = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        let replay = replay(file, key.as_ref())?;
        let how = kubernetes::ended(&replay);
        problems.extend((!how.is_empty()).then(|| format!("{}: {how}", file.display())));
        reports.push(replay.report.with_context(|| format!("{}: nothing was sent", file.display()))?);
    }
    let merged = tap_replay::merge(reports)?;
    let how = problems.join("\n");
    let ending = Ending {
        title: &format!("{} shards of a replay", files.len()),
        fail_on_mismatch: *fail_on_mismatch,
        how: &how,
    };
    Printing { output, style, out, judgement }.conclude(&merged, &ending)
}

/// The key in a file.
pub(super) fn seal_key_of(file: &Path) -> Result<SealKey> {
    let text = fs::read_to_string(file)
        .map_err(|error| WrongUsage(format!("the key of sealed reports: {}: {error}", file.display())))?;
    SealKey::parse(&text)
        .map_err(|error| WrongUsage(format!("{}: {error}", file.display())))
        .map_err(Into::into)
}

/// One shard, and how it ended as far as the file tells.
fn replay(file: &Path, key: Option<&SealKey>) -> Result<Replay> {
    let read = || format!("read {}", file.display());
    if fs::metadata(file).with_context(read)?.len() > MAX_BYTES {
        bail!("{}: too long for a report", file.display());
    }
    let text = fs::read(file).with_context(read)?;
    if let Some(report) = json::parse::<ReplayReport>(&text) {
        let state = if report.aborted.is_empty() { State::Finished } else { State::Aborted };
        let error = report.aborted.clone();
        return Ok(Replay { state: state.into(), error, report: Some(report), ..Replay::default() });
    }
    let mut lines = SealedLines::default();
    let mut sealed = false;
    for line in String::from_utf8_lossy(&text).lines() {
        sealed |= lines.push(line);
    }
    match (sealed, key) {
        (false, _) => bail!("{}: no report of a replay, as `-o json` prints it", file.display()),
        (true, None) => {
            Err(WrongUsage(format!("{}: the report is sealed; --seal-key opens it", file.display())).into())
        }
        (true, Some(key)) => key.open(&lines).with_context(|| file.display().to_string()),
    }
}

//! `tapctl replay merge`: the reports of several shards as one.

use std::{fs, io::Write, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use tap_proto::v1::ReplayReport;

use super::print;
use crate::{
    cli::Output,
    commands::Verdict,
    render::{Style, json},
};

/// A report is kilobytes, with its histograms a megabyte.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

pub(super) fn run(files: &[PathBuf], output: Output, style: &Style, out: &mut impl Write) -> Result<Verdict> {
    let mut reports = Vec::new();
    for file in files {
        let read = || format!("read {}", file.display());
        if fs::metadata(file).with_context(read)?.len() > MAX_BYTES {
            bail!("{}: too long for a report", file.display());
        }
        let text = fs::read(file).with_context(read)?;
        let report: ReplayReport = json::parse(&text)
            .with_context(|| format!("{}: no report of a replay, as `-o json` prints it", file.display()))?;
        reports.push(report);
    }
    let merged = tap_replay::merge(reports)?;
    print(&merged, output, style, out)?;
    Ok(if merged.failed.is_empty() { Verdict::Good } else { Verdict::Bad })
}

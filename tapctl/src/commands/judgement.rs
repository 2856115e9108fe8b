//! What a replay came to is judged and written: conditions checked before anything is sent, reports written
//! however it ended.

use std::{fs, io::Write, path::Path};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tap_proto::v1::ReplayReport;
use tap_replay::report::FailIf;

use super::WrongUsage;
use crate::{
    cli::{Conclusion, Judging, ReportFile, ReportFormat},
    render::{
        json,
        report::{Run, html, junit},
    },
};

/// A report of a replay is a few MiB at most.
const MAX_REPORT_BYTES: u64 = 64 * 1024 * 1024;
const MAX_SETTINGS_BYTES: u64 = 1024 * 1024;

/// What was asked for, read and checked.
#[derive(Debug)]
pub(super) struct Judgement {
    conditions: Vec<FailIf>,
    reports: Vec<ReportFile>,
    started: Timestamp,
    /// Settings of the comparison, as YAML.
    pub(super) comparison: String,
}

/// What the conditions said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// There were none.
    Unasked,
    Passed,
    Failed,
}

impl Judgement {
    /// Reads files and checks conditions.
    pub(super) fn read(arguments: &Judging) -> Result<Self> {
        let Judging { comparison, conclusion } = arguments;
        let mut judgement = Self::of_reports(conclusion)?;
        if let Some(path) = comparison {
            let text = String::from_utf8(read(path, MAX_SETTINGS_BYTES)?);
            judgement.comparison = text.ok().with_context(|| format!("{}: not UTF-8", path.display()))?;
        }
        Ok(judgement)
    }

    /// Of answers that are compared already. What is wrong with the conditions is told together.
    pub(super) fn of_reports(arguments: &Conclusion) -> Result<Self> {
        let Conclusion { fail_if, reports } = arguments;
        let mut mistakes = Vec::new();
        let mut conditions = Vec::new();
        for source in fail_if {
            match FailIf::parse(source) {
                Ok(condition) => conditions.push(condition),
                Err(error) => mistakes.push(format!("--fail-if {source}: {error}")),
            }
        }
        if reports.iter().filter(|report| report.is_stdout()).count() > 1 {
            mistakes.push("--report: only one can be written to standard output".to_owned());
        }
        for report in reports.iter().filter(|report| !report.is_stdout()) {
            let directory = report.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if directory.is_some_and(|directory| !directory.is_dir()) {
                mistakes.push(format!("--report {}: no such directory", report.path.display()));
            }
        }
        if !mistakes.is_empty() {
            return Err(WrongUsage(mistakes.join("\n  ")).into());
        }
        Ok(Self {
            conditions,
            reports: reports.clone(),
            started: Timestamp::now(),
            comparison: String::new(),
        })
    }

    /// Whether a report takes standard output, so that nothing else may be written there.
    pub(super) fn takes_stdout(&self) -> bool {
        self.reports.iter().any(ReportFile::is_stdout)
    }

    /// Judges a final report, says what did not hold, and writes what was asked for.
    pub(super) fn conclude(
        &self,
        report: &ReplayReport,
        title: &str,
        ended: &str,
        out: &mut impl Write,
    ) -> Result<Judged> {
        let held: Vec<_> =
            self.conditions.iter().map(|condition| (condition.source(), condition.holds(report))).collect();
        for (source, _) in held.iter().filter(|(_, holds)| *holds) {
            eprintln!("failed: {source}");
        }
        let run = Run { title, started: self.started, ended, conditions: &held, report };
        for ReportFile { format, path } in &self.reports {
            let text = match format {
                ReportFormat::Json => json::pretty(report)?,
                ReportFormat::Junit => junit::render(&run),
                ReportFormat::Html => html::render(&run),
            };
            if path.as_os_str() == "-" {
                out.write_all(text.as_bytes())?;
            } else {
                fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
            }
        }
        Ok(match held.iter().any(|(_, holds)| *holds) {
            _ if held.is_empty() => Judged::Unasked,
            true => Judged::Failed,
            false => Judged::Passed,
        })
    }
}

/// The report of an earlier replay, as `--report json=FILE` and `-o json` write it.
pub(super) fn baseline(path: &Path) -> Result<ReplayReport> {
    let report: Option<ReplayReport> = json::parse(&read(path, MAX_REPORT_BYTES)?);
    let report = report.with_context(|| format!("{}: not a replay's report in JSON", path.display()))?;
    if report.endpoints.is_empty() {
        return Err(WrongUsage(format!(
            "{}: the report compared nothing: noise can't be learned from it",
            path.display()
        ))
        .into());
    }
    Ok(report)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let length = fs::metadata(path).with_context(|| format!("read {}", path.display()))?.len();
    if length > limit {
        return Err(WrongUsage(format!("{}: longer than {limit} bytes", path.display())).into());
    }
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

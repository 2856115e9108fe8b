//! Arguments about what answers are compared by, what counts as a failure, and where it is written.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::Args;

use super::{Range, Selection};

/// How answers are judged.
#[derive(Args, Clone, Debug, Default)]
pub struct Judging {
    /// How answers are compared: YAML, see docs/comparison.md.
    #[arg(long, value_name = "FILE")]
    pub comparison: Option<PathBuf>,
    #[command(flatten)]
    pub conclusion: Conclusion,
}

/// What counts as a failure, and where reports are written.
#[derive(Args, Clone, Debug, Default)]
pub struct Conclusion {
    /// Exit with status 1 where this condition over the report holds, and not otherwise: CEL, e.g.
    /// 'error_rate > 0.01 || latency.p99 > duration("300ms") || mismatches > 0'; may be repeated.
    #[arg(long, value_name = "CONDITION")]
    pub fail_if: Vec<String>,
    /// Write a report: json=FILE, junit=FILE or html=FILE, - for standard output; may be repeated.
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    pub reports: Vec<ReportFile>,
}

/// A report to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    pub format: ReportFormat,
    /// `-` for standard output.
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    Json,
    Junit,
    Html,
}

/// Two versions against each other.
#[derive(Args, Clone, Debug)]
pub struct Diff {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub range: Range,
    /// The exchanges of this file, as `tapctl search -o jsonl` prints them, instead of a collector's; - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["filter", "namespace", "since", "until"])]
    pub file: Option<PathBuf>,
    /// A server of the version that is known: http://host[:port][/prefix].
    #[arg(long, value_name = "URL")]
    pub primary: String,
    /// Another server of the same version: what the two differ in is noise.
    #[arg(long, value_name = "URL")]
    pub secondary: Option<String>,
    /// A server of the version that is compared with it.
    #[arg(long, value_name = "URL")]
    pub candidate: String,
    /// So many exchanges are under way at a time, each once at every server.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub max_in_flight: u32,
    /// Send this method, too, to every server; may be repeated.
    #[arg(long = "allow-method", value_name = "METHOD", value_delimiter = ',')]
    pub allow_methods: Vec<String>,
    /// At most this many; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_requests: u64,
    /// How long a request may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub request_timeout: Duration,
    /// Send the recorded Host instead of the servers'.
    #[arg(long)]
    pub keep_host: bool,
    #[command(flatten)]
    pub judging: Judging,
}

impl ReportFile {
    pub fn is_stdout(&self) -> bool {
        self.path.as_os_str() == "-"
    }
}

impl FromStr for ReportFile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (format, path) = text.split_once('=').ok_or("must be FORMAT=FILE, as in junit=report.xml")?;
        let format = match format {
            "json" => ReportFormat::Json,
            "junit" => ReportFormat::Junit,
            "html" => ReportFormat::Html,
            _ => return Err("the format must be json, junit or html"),
        };
        if path.is_empty() {
            return Err("must be FORMAT=FILE, as in junit=report.xml");
        }
        Ok(Self { format, path: path.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_named_by_format_and_file() {
        let html = ReportFile { format: ReportFormat::Html, path: "a=b.html".into() };
        assert_eq!("html=a=b.html".parse(), Ok(html));
        assert!("json=-".parse::<ReportFile>().unwrap().is_stdout());
        for wrong in ["html", "html=", "pdf=x", "=x", ""] {
            assert!(wrong.parse::<ReportFile>().is_err(), "{wrong}");
        }
    }
}

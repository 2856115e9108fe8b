//! The arguments of what looks at redaction.

use std::path::PathBuf;

use clap::Args;

use super::{Range, Selection};

#[derive(Args, Clone, Debug)]
pub struct Redact {
    /// A HAR, raw HTTP or JSON; `-` for standard input.
    pub file: PathBuf,
    /// `standard`, `strict`, or one of the rules' own.
    #[arg(long)]
    pub profile: Option<String>,
    /// Settings of redaction: a file of them alone, or the agent's.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// The key of the tokens; without one they are of a key that is used once.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Show values, too, as they are in the file and as they would be.
    #[arg(long)]
    pub show_values: bool,
    /// Write the document as it would be, JSON alone; `-` for standard output, without the report. With the agents' key, data
    /// for a test instance that knows what is in redacted captures.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct Audit {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub range: Range,
    /// Only what this detector finds, or those of this family (api_key, national_id); may be repeated.
    #[arg(long = "rule", value_name = "NAME", value_parser = parse_detector)]
    pub rules: Vec<String>,
    /// Look at this many at most, the newest; 0 for all.
    #[arg(long, default_value_t = 0)]
    pub limit: u64,
}

fn parse_detector(name: &str) -> Result<String, String> {
    if tap_redact::DetectorSet::named(name).is_empty() {
        return Err("no detector has this name; docs/detectors.md lists them".to_owned());
    }
    Ok(name.to_owned())
}

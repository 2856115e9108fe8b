//! The arguments of what goes out in other tools' formats, and comes in.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Range, Selection};

#[derive(Args, Clone, Debug)]
pub struct Export {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub range: Range,
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Where to; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub write: PathBuf,
    /// At most this many, the oldest first; 0 for all.
    #[arg(long, default_value_t = 0)]
    pub limit: u64,
    /// Exit with status 1 where the format can't hold all of every exchange.
    #[arg(long)]
    pub strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// HTTP Archive 1.2, for browsers' developer tools.
    Har,
    /// Protobuf's JSON, one exchange a line: everything that is stored.
    Jsonl,
    /// GoReplay's files.
    Gor,
    /// A command for each request.
    Curl,
    /// Packets, for Wireshark.
    Pcapng,
    /// The table's columns.
    Parquet,
}

#[derive(Args, Clone, Debug)]
pub struct Import {
    /// Files, each of which may be compressed by gzip.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where the name does not tell: .har, .gor, .jsonl, .json, .pcap, .pcapng or .cap, with or without .gz.
    #[arg(long, value_enum)]
    pub format: Option<ImportFormat>,
    /// Read and redact, tell what would be stored, and store nothing. Needs no collector.
    #[arg(long)]
    pub dry_run: bool,
    /// What exchanges and the ledger call it; the file's name where none is given.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// The Kubernetes namespace that it was captured in.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// The owner of the pods, as Kind/name.
    #[arg(long, value_name = "KIND/NAME")]
    pub workload: Option<String>,
    /// A label, as name=value; may be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Whether servers' or clients' traffic was captured; servers' unless the file says otherwise.
    #[arg(long, value_enum)]
    pub role: Option<ImportRole>,
    /// Of a packet capture: only connections with one of these ports at either end; may be repeated.
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
    pub ports: Vec<u16>,
    /// Kept of each body.
    #[arg(long, value_name = "BYTES", default_value_t = 8 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(..=16 * 1024 * 1024))]
    pub body_bytes: u64,
    /// Of redaction: `standard`, `strict`, or one of the rules' own.
    #[arg(long)]
    pub profile: Option<String>,
    /// Settings of redaction: a file of them alone, or the agent's.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// The key of the tokens; without one they are of a key that is used once.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Take JSON lines as they are: for what Podtap exported, and nothing else.
    #[arg(long, conflicts_with_all = ["profile", "rules", "key_file"])]
    pub already_redacted: bool,
    /// Exit with status 1 where not everything of a file became an exchange.
    #[arg(long)]
    pub strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// HTTP Archive 1.2, as browsers save it.
    Har,
    /// GoReplay's files.
    Gor,
    /// Protobuf's JSON, as export and search write it.
    Jsonl,
    /// A packet capture, pcap or pcapng.
    #[value(alias = "pcapng")]
    Pcap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportRole {
    /// Of servers.
    Inbound,
    /// Of clients.
    Outbound,
}

impl ExportFormat {
    /// Whether it is for no terminal.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Gor | Self::Pcapng | Self::Parquet)
    }
}

impl ImportFormat {
    /// By the name of a file.
    pub fn of(file: &Path) -> Option<Self> {
        let extension = |file: &Path| file.extension().map(|it| it.to_ascii_lowercase());
        let named = match extension(file) {
            Some(gz) if gz == "gz" => extension(Path::new(file.file_stem()?)),
            other => other,
        };
        match named?.to_str()? {
            "har" => Some(Self::Har),
            "gor" => Some(Self::Gor),
            "jsonl" | "json" | "ndjson" => Some(Self::Jsonl),
            "pcap" | "pcapng" | "cap" => Some(Self::Pcap),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Har => "HAR",
            Self::Gor => "GoReplay",
            Self::Jsonl => "JSON lines",
            Self::Pcap => "packets",
        }
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not as NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_names() {
        for (name, format) in [
            ("a.har", Some(ImportFormat::Har)),
            ("/x/a.b.GOR", Some(ImportFormat::Gor)),
            ("a.jsonl.gz", Some(ImportFormat::Jsonl)),
            ("a.pcapng", Some(ImportFormat::Pcap)),
            ("a.pcap.gz", Some(ImportFormat::Pcap)),
            ("a.gz", None),
            ("a", None),
        ] {
            assert_eq!(ImportFormat::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn labels_have_a_name_and_a_value() {
        assert_eq!(parse_label("app=a=b"), Ok(("app".to_owned(), "a=b".to_owned())));
        assert!(parse_label("app").is_err() && parse_label("=a").is_err());
    }
}

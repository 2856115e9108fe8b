//! The arguments of `tapctl mock`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tap_replay::mock::{FieldPath, Latency, Listener, PathTemplate, Session, Upstream};

use super::{Range, Selection};

#[derive(Args, Clone, Debug)]
pub struct Mock {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub range: Range,
    /// Recorded exchanges, as `tapctl search -o jsonl` prints them, instead of the collector's; `-` for standard
    /// input; may be repeated.
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where to answer, [ADDRESS]:PORT or [ADDRESS]:PORT=HOST; may be repeated. Without an address, on this machine
    /// alone. With a host, as that one; else as the one that the request names.
    #[arg(long = "listen", value_name = "LISTENER", default_value = ":9090")]
    pub listeners: Vec<Listener>,
    /// Where to serve /stats, /misses, /metrics, /ready, /live and /reset.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<SocketAddr>,

    /// How the query must be as recorded.
    #[arg(long, value_enum, default_value_t = Query::Unordered, help_heading = "Matching")]
    pub query: Query,
    /// A parameter that is not compared; may be repeated.
    #[arg(long = "ignore-query", value_name = "NAME", value_delimiter = ',', help_heading = "Matching")]
    pub ignore_query: Vec<String>,
    /// A header that must be as recorded; may be repeated.
    #[arg(long = "match-header", value_name = "NAME", value_delimiter = ',', help_heading = "Matching")]
    pub match_headers: Vec<String>,
    /// What the body must at least have in common with the recorded one.
    #[arg(long, value_enum, default_value_t = Body::Subset, help_heading = "Matching")]
    pub body: Body,
    /// A field of JSON bodies and forms that is not compared, as $.order.id, $.items[*].time, $..requestId; may be
    /// repeated.
    #[arg(long = "ignore-field", value_name = "PATH", value_delimiter = ',', help_heading = "Matching")]
    pub ignore_fields: Vec<FieldPath>,
    /// Paths that are as good as each other, as /users/{id}; may be repeated. Without, ids are known by their looks.
    #[arg(long = "path", value_name = "TEMPLATE", help_heading = "Matching")]
    pub paths: Vec<PathTemplate>,
    /// Take no path for another.
    #[arg(long, help_heading = "Matching")]
    pub exact_paths: bool,

    /// Which requests go through the answers of a sequence together: all, connection, cookie:NAME or header:NAME.
    #[arg(long, default_value = "all", help_heading = "Answers")]
    pub session: Session,
    /// What follows the last answer of a sequence.
    #[arg(long, value_enum, default_value_t = Sequence::Last, help_heading = "Answers")]
    pub sequence: Sequence,
    /// How long an answer takes: none, recorded, recorded*FACTOR, or a duration.
    #[arg(long, default_value = "none", help_heading = "Answers")]
    pub latency: Latency,
    /// The status of an answer to what was not recorded.
    #[arg(long, value_name = "STATUS", default_value_t = 404, value_parser = clap::value_parser!(u16).range(200..=599), help_heading = "Answers")]
    pub miss_status: u16,
    /// Answer, too, with responses that were not captured whole.
    #[arg(long, help_heading = "Answers")]
    pub serve_incomplete: bool,
    /// Move the dates of Expires, Last-Modified, Retry-After and cookies by the time since the recording.
    #[arg(long, help_heading = "Answers")]
    pub shift_dates: bool,

    /// Pass on what was not recorded to [HOST=]URL; may be repeated, for several hosts.
    #[arg(long, value_name = "[HOST=]URL", help_heading = "Passing through")]
    pub passthrough: Vec<Upstream>,
    /// Append what was passed through to this file: the next `--file`.
    #[arg(long, value_name = "FILE", requires = "passthrough", help_heading = "Passing through")]
    pub record: Option<PathBuf>,
    /// Settings of redaction for what is recorded: a file of them alone, or the agent's.
    #[arg(long, value_name = "FILE", requires = "record", help_heading = "Passing through")]
    pub redaction_rules: Option<PathBuf>,
    /// The key of the tokens in what is recorded; without one they are of a key that is used once.
    #[arg(long, value_name = "FILE", requires = "record", help_heading = "Passing through")]
    pub redaction_key_file: Option<PathBuf>,
    /// Record as it came, secrets and all.
    #[arg(long, requires = "record", conflicts_with_all = ["redaction_rules", "redaction_key_file"], help_heading = "Passing through")]
    pub record_unredacted: bool,

    /// Faults on purpose: docs/chaos.md.
    #[arg(long, value_name = "FILE", help_heading = "Chaos")]
    pub chaos: Option<PathBuf>,
    /// The same seed gives the same faults.
    #[arg(long, requires = "chaos", help_heading = "Chaos")]
    pub seed: Option<u64>,

    /// Load at most this many exchanges.
    #[arg(long, value_name = "N", default_value_t = 200_000, help_heading = "Running")]
    pub max_exchanges: usize,
    /// Load at most this many MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256, help_heading = "Running")]
    pub max_mib: usize,
    /// Exit with status 1 where a request was not recorded.
    #[arg(long, help_heading = "Running")]
    pub fail_on_miss: bool,
    /// End after this time.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Running")]
    pub lifetime: Option<Duration>,
    /// Run this and end with it, with its exit status where it fails. Its environment has PODTAP_MOCK_URL.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Query {
    /// The same parameters with the same values.
    Unordered,
    /// In the same order, too.
    Ordered,
    /// Not compared.
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Body {
    /// The same values, or bytes.
    Equal,
    /// All recorded fields with their values; there may be more.
    Subset,
    /// The same names and types.
    Signature,
    /// Not compared.
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sequence {
    /// The last one, again and again.
    Last,
    /// The first one.
    Cycle,
}

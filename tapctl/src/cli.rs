//! The arguments, and what they mean.

mod judging;
mod kubernetes;
pub mod mock;
mod moment;
mod redaction;
mod sending;
mod stats;
mod transfer;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use url::Url;

pub use self::{
    judging::{Conclusion, Diff, Judging, ReportFile, ReportFormat},
    kubernetes::InCluster,
    moment::Moment,
    redaction::{Audit, Redact},
    sending::{Loops, Sending},
    stats::{Sort, Stats},
    transfer::{Export, ExportFormat, Import, ImportFormat, ImportRole},
};
use crate::render::Style;

/// Search, follow and replay the HTTP exchanges that Podtap captured.
#[derive(Clone, Debug, Parser)]
#[command(name = "tapctl", version, subcommand_required = true)]
#[command(after_help = "A FILTER is a CEL condition over an exchange, for example:
  request.method == \"POST\" && request.path.startsWith(\"/cart\") && response.status >= 500
docs/expressions.md lists its variables.")]
pub struct Cli {
    /// The collector's gRPC address.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "PODTAP_COLLECTOR",
        default_value = "http://127.0.0.1:7070"
    )]
    pub collector: String,
    /// Read the table itself, at the collector's `store`, in place of a collector: a directory or a bucket, with no right
    /// but to list and get.
    #[arg(long, global = true, value_name = "URL", env = "PODTAP_STORE", value_parser = tap_collector::parse_store)]
    pub store: Option<Url>,
    /// How to print: a table for people, protobuf's JSON, or that with one object a line.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// How long to wait for an answer of the collector.
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    #[command(subcommand)]
    pub command: Command,
}

/// The arguments with the surroundings they were given in.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub cli: Cli,
    pub program: Program,
    pub style: Style,
}

/// Under which name it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Tapctl,
    /// As `kubectl tap`: a plugin is a program of this name on PATH.
    KubectlTap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Jsonl,
}

#[derive(Clone, Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for as long as the program runs")]
pub enum Command {
    /// List the exchanges that match, newest first.
    #[command(after_help = "Examples:
  tapctl search --since 5m
  tapctl search 'response.status >= 500' --since 1h -n shop
  tapctl search 'request.path == \"/cart\"' --since 2026-11-21T09:00 --until 2026-11-21T10:00 -o jsonl")]
    Search(Search),
    /// Show one exchange whole.
    #[command(after_help = "Examples:
  tapctl get 019aa6b2-5b3e-7c41-9d0e-6f1a2b3c4d5e
  tapctl get 019aa6b2-5b3e-7c41        # a prefix will do where only one exchange has it")]
    Get(Get),
    /// Follow the exchanges that match, as they are stored, until Ctrl-C.
    #[command(after_help = "Examples:
  tapctl tail
  tapctl tail 'response.status >= 500' -n shop -o jsonl | jq .request.path")]
    Tail(Tail),
    /// Count the exchanges that match: rates, errors and latencies, by group and over time.
    #[command(
        after_help = "Errors are statuses of 500 and above, and requests without a response. docs/queries.md says more.

Examples:
  tapctl stats --by workload,path_template,status --since 1h
  tapctl stats 'role == \"inbound\"' --by path_template --sort latency --percentile 50,99.9
  tapctl stats --by method --since 1d --step 1h --csv > methods.csv
  tapctl stats -n shop --by workload --since 30m --plot"
    )]
    Stats(Stats),
    /// Show what became of everything seen: stored, pending, lost and why; and whether it adds up.
    #[command(after_help = "Examples:
  tapctl ledger
  tapctl ledger -n shop
  tapctl ledger --agent node-1 --check && echo nothing is missing")]
    Ledger(Ledger),
    /// Show how much of each target's traffic is HTTP/1, HTTP/2, TLS or something else.
    #[command(after_help = "Examples:
  tapctl coverage
  tapctl coverage -n shop -o json")]
    Coverage(Coverage),
    /// Send captured requests at a target again, with their recorded timing.
    #[command(
        after_help = "Only GET, HEAD and OPTIONS are sent unless other methods are allowed by name, and only what
servers received, unless the filter names `role`. Responses are compared with the recorded ones by status, content
type and body, as docs/comparison.md says. Requests carry `Podtap-Replay: <id>`. Exit status 1: a request got no
answer; with --fail-if, where a condition holds; 3: the collector that replayed (--remote) went away before the end.
docs/replay.md says more.

Examples:
  tapctl replay --target http://127.0.0.1:8080 --since 5m
  tapctl replay 'request.path.startsWith(\"/cart\")' --target http://checkout.staging:8080 --since 1h --speed 2
  tapctl replay --target http://127.0.0.1:8080 --allow-method POST --max-requests 100 --fail-on-mismatch
  tapctl replay --target http://127.0.0.1:8080 --since 1h --rate-profile ramp(10,500,2m) --loop forever --duration 5m
  tapctl replay --target https://checkout.staging --since 1h --transform rules.yaml --dry-run
  tapctl replay --target http://checkout.staging --since 1h --rate 2000/s --kubernetes --shards 4
  tapctl replay merge shard-0.json shard-1.json --fail-if 'mismatches > 0' --report junit=report.xml"
    )]
    Replay(Replay),
    /// Show what mirrors send, and what becomes of it.
    #[command(
        after_help = "Mirrors are made by TapPolicies (docs/policies.md) and by the collector's settings.

Examples:
  tapctl mirror
  tapctl mirror shop/checkout
  tapctl mirror shop/checkout --watch -o jsonl"
    )]
    Mirror(Mirror),
    /// Answer like a recorded server: a dependency, from its recorded responses.
    #[command(
        after_help = "Answers what was recorded for the same method, host, path, query and body; docs/mocks.md says what is the same.
An answer's Podtap-Mock header says where it comes from. Where nothing was recorded, the answer names the nearest recorded
request and what differs. Ends at Ctrl-C, after --for, or with COMMAND. Exit status 1: COMMAND failed, or a miss with
--fail-on-miss.

Examples:
  tapctl mock 'role == \"outbound\" && destination.host == \"payments.example\"' --since 24h --listen :9090
  tapctl mock --file payments.jsonl --fail-on-miss -- pytest
  tapctl mock --file all.jsonl --listen :9091=payments.example --listen :9092=stock.example --chaos chaos.yaml
  tapctl mock --file payments.jsonl --passthrough http://payments.staging:8080 --record new.jsonl"
    )]
    Mock(Box<mock::Mock>),
    /// Send captured requests to two versions of a server, and tell where their answers differ.
    #[command(
        after_help = "Each request goes to all servers at the same moment. What the primary and the secondary, which are of the
same version, differ in is noise; docs/comparison.md says what is compared. Only GET, HEAD and OPTIONS are sent
unless other methods are allowed by name. Exit status 1: the candidate differs in something that is not noise, or
a request got no answer; with --fail-if, where a condition holds.

Examples:
  tapctl diff --since 1h --primary http://v1:8080 --secondary http://v1b:8080 --candidate http://v2:8080
  tapctl diff --file captures.jsonl --primary http://v1 --candidate http://v2 --report html=diff.html --report junit=diff.xml"
    )]
    Diff(Diff),
    /// Show what redaction would do to the HTTP in a file, and why: by rule and place.
    #[command(
        after_help = "Reads a HAR, raw HTTP (a request, a response, or one after the other) or JSON. Needs no collector.

Examples:
  tapctl redact --profile standard checkout.har
  tapctl redact --rules rules.yaml --show-values request.json
  tapctl redact --key-file redaction.key --write fixtures.redacted.json fixtures.json
  curl -si https://shop.example/me | tapctl redact -"
    )]
    Redact(Redact),
    /// Look in what is stored for what redaction should have replaced; exit with status 1 where something is found.
    #[command(
        after_help = "Every detector looks at every place; what it finds is reported by rule, place and exchange, and never printed.
docs/detectors.md describes the detectors.

Examples:
  tapctl audit --since 1h
  tapctl audit 'namespace == \"shop\"' --since 1d --rule email --rule api_key -o jsonl"
    )]
    Audit(Audit),
    /// Write captured exchanges in another tool's format.
    #[command(
        after_help = "What a format can't hold is left out, counted, and told; docs/formats.md says what each keeps.

Examples:
  tapctl export --format har --since 1h --write checkout.har 'request.path.startsWith(\"/cart\")'
  tapctl export --format pcapng --since 5m | wireshark -k -i -
  tapctl export --format curl --since 5m --limit 1 | bash
  tapctl export --format parquet --since 1d --write day.parquet"
    )]
    Export(Export),
    /// Put the HTTP of a file into the table: a HAR, a GoReplay file, JSON lines, a packet capture.
    #[command(
        after_help = "Everything goes through redaction first, here. The file is an agent of its own, import/ and the start of its SHA-256:
importing it again stores nothing twice, and goes on where it stopped. docs/formats.md says more.

Examples:
  tcpdump -i any -w checkout.pcap tcp port 8080
  tapctl import checkout.pcap --port 8080 -n shop --workload Deployment/checkout --key-file redaction.key
  tapctl import --dry-run browser.har
  tapctl import requests.gor --rules rules.yaml"
    )]
    Import(Import),
    /// Print the completion script of a shell.
    #[command(after_help = "Example:
  source <(tapctl completion bash)")]
    Completion { shell: Shell },
}

/// Which exchanges, by what they say.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// A CEL condition; all exchanges without one.
    #[arg(default_value = "", hide_default_value = true)]
    pub filter: String,
    /// The condition, by name.
    #[arg(long = "filter", value_name = "FILTER", conflicts_with = "filter")]
    pub named_filter: Option<String>,
    /// Only of this Kubernetes namespace: short for `namespace == "…"`.
    #[arg(long, short)]
    pub namespace: Option<String>,
}

/// Which exchanges, by their time.
#[derive(Args, Clone, Debug, Default)]
pub struct Range {
    /// Not before: a time, or how long ago (5m, 2h, 14:05, 2026-11-21T14:05:00Z).
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Before: a time, or how long ago.
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
}

#[derive(Args, Clone, Debug)]
pub struct Search {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub range: Range,
    /// At most this many; 0 for all.
    #[arg(long, default_value_t = 50)]
    pub limit: u64,
    /// The oldest first.
    #[arg(long)]
    pub oldest_first: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Get {
    /// The exchange's id, or the start of it: 13 characters (its time) at least.
    #[arg(value_parser = parse_id)]
    pub id: String,
}

#[derive(Args, Clone, Debug)]
pub struct Tail {
    #[command(flatten)]
    pub selection: Selection,
    /// End after this many; 0 for never.
    #[arg(long, default_value_t = 0)]
    pub limit: u64,
}

#[derive(Args, Clone, Debug)]
pub struct Ledger {
    /// Only of this agent.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub agent: String,
    /// Only the pods of this Kubernetes namespace.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Exit with status 1 unless everything adds up.
    #[arg(long)]
    pub check: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Coverage {
    /// Only of this agent.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub agent: String,
    /// Only the pods of this Kubernetes namespace.
    #[arg(long, short)]
    pub namespace: Option<String>,
}

#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Replay {
    #[command(subcommand)]
    pub command: Option<ReplayCommand>,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub range: Range,
    /// Where to send: http://host[:port][/prefix], or https://….
    #[arg(long, value_name = "URL", required = true)]
    pub target: Option<String>,
    #[command(flatten)]
    pub sending: Sending,
    /// 2 halves the recorded pauses, 0.5 doubles them.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub speed: f64,
    /// Wait with further sends while this many have no answer; they go late, and are reported so.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_in_flight: u32,
    /// Send this method, too; may be repeated.
    #[arg(long = "allow-method", value_name = "METHOD", value_delimiter = ',')]
    pub allow_methods: Vec<String>,
    /// At most this many; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_requests: u64,
    /// How long a request may take, counted from when it should have been sent.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub request_timeout: Duration,
    /// Send the recorded Host instead of the target's.
    #[arg(long)]
    pub keep_host: bool,
    /// Exit with status 1 where an answer differs from the recorded response.
    #[arg(long)]
    pub fail_on_mismatch: bool,
    /// Take as noise what the answers of this replay's report differed in, of a server that was not changed: a file that
    /// `--report json=FILE` wrote.
    #[arg(long, value_name = "FILE")]
    pub noise_from: Option<PathBuf>,
    #[command(flatten)]
    pub judging: Judging,
    #[command(flatten)]
    pub cluster: InCluster,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ReplayCommand {
    /// Add up the reports of several shards, as `-o json` printed them, or as they stand sealed in logs of pods.
    Merge(Merge),
}

#[derive(Args, Clone, Debug)]
pub struct Merge {
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The key of sealed reports: what the Secret of a replay in Kubernetes has under `key`.
    #[arg(long, value_name = "FILE")]
    pub seal_key: Option<PathBuf>,
    /// Exit with status 1 where an answer differs from the recorded response.
    #[arg(long)]
    pub fail_on_mismatch: bool,
    #[command(flatten)]
    pub conclusion: Conclusion,
}

#[derive(Args, Clone, Debug)]
pub struct Mirror {
    /// Only this one, with all its counts.
    #[arg(required_if_eq("watch", "true"))]
    pub name: Option<String>,
    /// Again every second, until Ctrl-C or the end of the mirror.
    #[arg(long, short)]
    pub watch: bool,
}

impl Cli {
    /// Reads the arguments, the first of which is the program's name. As a plugin of kubectl (`kubectl-tap`)
    /// it calls itself what its user typed.
    pub fn read<I, T>(arguments: I) -> Result<(Self, Program), clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let program = arguments.first().map_or(Program::Tapctl, Program::of_path);
        let mut command = Self::command();
        if program == Program::KubectlTap {
            command = command.name(program.name()).bin_name("kubectl tap");
        }
        let cli = Self::from_arg_matches(&command.try_get_matches_from_mut(arguments)?)?;
        Ok((cli, program))
    }
}

impl Program {
    fn of_path(path: &OsString) -> Self {
        let name = Path::new(path).file_stem();
        if name.is_some_and(|name| name == "kubectl-tap" || name == "kubectl_tap") {
            Self::KubectlTap
        } else {
            Self::Tapctl
        }
    }

    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tapctl => "tapctl",
            Self::KubectlTap => "kubectl-tap",
        }
    }
}

impl Selection {
    /// The condition that is sent: the filter stays first, so that its errors are where the user wrote them.
    pub fn condition(&self) -> String {
        let Self { filter, named_filter, namespace } = self;
        let filter = named_filter.as_ref().unwrap_or(filter);
        match namespace {
            None => filter.clone(),
            Some(namespace) => {
                // JSON's escapes are a subset of CEL's.
                let namespace = format!("namespace == {}", serde_json::Value::from(namespace.as_str()));
                if filter.trim().is_empty() { namespace } else { format!("({filter}\n) && {namespace}") }
            }
        }
    }
}

fn parse_id(id: &str) -> Result<String, String> {
    const TIME_LENGTH: usize = 13;
    const LENGTH: usize = 36;
    let id = id.to_ascii_lowercase();
    let well_formed = id.char_indices().all(|(position, character)| match position {
        8 | 13 | 18 | 23 => character == '-',
        _ => character.is_ascii_hexdigit(),
    });
    if !well_formed {
        Err("not an id: 019aa6b2-5b3e-7c41-9d0e-6f1a2b3c4d5e is one".to_owned())
    } else if !(TIME_LENGTH..=LENGTH).contains(&id.len()) {
        Err(format!("an id has {LENGTH} characters, the start of one {TIME_LENGTH} at least"))
    } else {
        Ok(id)
    }
}

#[cfg(test)]
mod tests;

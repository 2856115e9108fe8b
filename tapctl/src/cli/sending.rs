//! How a replay sends: when, what of the selection, how changed, over which connections, and until when.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::Args;

#[derive(Args, Clone, Debug, Default)]
pub struct Sending {
    /// Replay the exchanges of this file instead of the collector's: JSON lines as `search -o jsonl` prints them, the
    /// oldest first; `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["remote", "since", "until"])]
    pub file: Option<PathBuf>,
    /// Let the collector send: it must list the target in replay.allow_targets.
    #[arg(long, conflicts_with = "local")]
    pub remote: bool,
    /// Send from here, which is the default.
    #[arg(long)]
    pub local: bool,
    /// Send nothing: show how each request would be changed.
    #[arg(long, conflicts_with = "remote")]
    pub dry_run: bool,

    /// Requests per second instead of the recorded times: 500/s, 30/m, or max for as fast as answers come.
    #[arg(long, value_name = "RATE", conflicts_with = "rate_profile", help_heading = "When")]
    pub rate: Option<String>,
    /// constant(500), poisson(500), recorded(500) with the recording's bursts, ramp(10,500,2m), spike(50,500,1m,10s).
    #[arg(long, value_name = "PROFILE", help_heading = "When")]
    pub rate_profile: Option<String>,
    /// Replay the selection so many times, or `forever`, which is until --duration is over.
    #[arg(long = "loop", value_name = "N", help_heading = "When")]
    pub loops: Option<Loops>,
    /// Send nothing later than this after the first request.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "When")]
    pub duration: Option<Duration>,
    /// What is sent so long after the first request is counted apart.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "When")]
    pub warm_up: Option<Duration>,
    /// Of what is drawn at random.
    #[arg(long, default_value_t = 0, help_heading = "When")]
    pub seed: u64,

    /// What makes a session, whose requests keep their order: connection, cookie:NAME, header:NAME, query:NAME, token
    /// (the Authorization header) or none.
    #[arg(long, value_name = "KEY", default_value = "connection", help_heading = "Sessions")]
    pub session: String,
    /// Only this share of the sessions, whole: 10% or 0.1. The same ones each time.
    #[arg(long, value_name = "SHARE", value_parser = parse_share, help_heading = "Sessions")]
    pub sample: Option<f64>,
    /// Divide the sessions among so many replays.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Sessions")]
    pub shards: u32,
    /// Which of them this one is, from 0; an indexed Job of Kubernetes says it.
    #[arg(
        long,
        value_name = "I",
        default_value_t = 0,
        env = "JOB_COMPLETION_INDEX",
        help_heading = "Sessions"
    )]
    pub shard: u32,

    /// How requests are changed: a YAML document; docs/replay.md describes it.
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub transform: Option<PathBuf>,
    /// Faults on purpose: docs/chaos.md. --seed says which.
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub chaos: Option<PathBuf>,
    /// A shell command that changes requests as rules can't: JSON lines over its standard input and output.
    #[arg(long, value_name = "COMMAND", conflicts_with = "remote", help_heading = "Requests")]
    pub hook: Option<String>,
    /// For each reply of it.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration, help_heading = "Requests")]
    pub hook_timeout: Duration,
    /// Compare nothing.
    #[arg(long, help_heading = "Requests")]
    pub no_compare: bool,

    /// At most so many connections.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Connections"
    )]
    pub max_connections: u32,
    /// Trust these certificates, in PEM, and no others.
    #[arg(long, value_name = "FILE", help_heading = "Connections")]
    pub ca_cert: Option<PathBuf>,
    /// Ask for this name, and expect it in the target's certificate.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Connections"
    )]
    pub server_name: String,
    /// Accept any certificate; the report says so.
    #[arg(long, help_heading = "Connections")]
    pub insecure: bool,
    /// Present this certificate, in PEM.
    #[arg(
        long,
        value_name = "FILE",
        requires = "client_key",
        conflicts_with = "remote",
        help_heading = "Connections"
    )]
    pub client_cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "client_cert", help_heading = "Connections")]
    pub client_key: Option<PathBuf>,

    /// End when this holds of the last seconds: error_rate, connect_failure_rate (0 to 1), failed, answered,
    /// latency.p50, latency.p99; `false` for never [default: connect_failure_rate > 0.99].
    #[arg(
        long,
        value_name = "CONDITION",
        default_value = "",
        hide_default_value = true,
        help_heading = "Safety"
    )]
    pub abort_if: String,
    /// How many seconds --abort-if looks at.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration, help_heading = "Safety")]
    pub abort_window: Duration,
    /// Send what was captured in this Kubernetes namespace also at services of the same namespace; may be repeated.
    #[arg(
        long = "allow-namespace",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        help_heading = "Safety"
    )]
    pub allow_namespaces: Vec<String>,
}

/// Passes over the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loops {
    Times(u64),
    Forever,
}

impl FromStr for Loops {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("forever", _) => Ok(Self::Forever),
            (_, Ok(times)) if times > 0 => Ok(Self::Times(times)),
            _ => Err("must be a number from 1, or forever".to_owned()),
        }
    }
}

impl Sending {
    /// The arrival process, as the engine reads it.
    pub fn arrival(&self) -> String {
        match (&self.rate, &self.rate_profile) {
            (Some(rate), _) if rate == "max" => "max".to_owned(),
            (Some(rate), _) => format!("constant({rate})"),
            (None, Some(profile)) => profile.clone(),
            (None, None) => String::new(),
        }
    }

    /// Times, or 0; and whether forever.
    pub fn passes(&self) -> (u64, bool) {
        match self.loops {
            None => (0, false),
            Some(Loops::Times(times)) => (times, false),
            Some(Loops::Forever) => (0, true),
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    share
        .ok()
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| "must be more than 0 and at most 1, or 100%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_or_fractions() {
        assert_eq!(parse_share("10%"), Ok(0.1));
        assert_eq!(parse_share("0.25"), Ok(0.25));
        for wrong in ["0", "0%", "101%", "1.5", "-1", "NaN", "all"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_a_constant_arrival() {
        let rate = |rate: &str| Sending { rate: Some(rate.to_owned()), ..Sending::default() }.arrival();
        assert_eq!(rate("500/s"), "constant(500/s)");
        assert_eq!(rate("max"), "max");
        assert_eq!(Sending::default().arrival(), "");
    }
}

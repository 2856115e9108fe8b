//! What a pod is told, so that it does its part of what was asked for here: arguments, and files beside them.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use humantime::format_duration;
use jiff::Timestamp;
use url::Url;

use super::{SECRETS, job::is_name};
use crate::{
    cli::{self, Loops, Moment},
    commands::{WrongUsage, judgement::Judgement, replay::read},
};

/// Where a pod finds its settings.
pub(super) const SETTINGS: &str = "/podtap/settings";
/// Where it finds what is for this run alone: the key of its report, and what captures went into.
pub(super) const RUN: &str = "/podtap/run";
pub(super) const SEAL_KEY: &str = "key";
const NOISE: &str = "noise.json";
/// Of all settings together: the API server takes no ConfigMap and no Secret that is longer.
const MAX_FILES: usize = 1_000_000;

/// Arguments of tapctl, and the files that they name.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub arguments: Vec<String>,
    /// For a ConfigMap, by name.
    pub settings: BTreeMap<&'static str, String>,
    /// For a Secret, by name.
    pub private: BTreeMap<&'static str, String>,
}

/// The arguments of every pod; times that are relative to now become absolute, so that all select the same.
pub(super) fn told(
    arguments: &cli::Replay,
    store: Option<&Url>,
    judgement: &Judgement,
    now: Timestamp,
) -> Result<Told> {
    let cli::Replay {
        command: _,
        selection,
        range: cli::Range { since, until },
        target,
        sending,
        speed,
        max_in_flight,
        allow_methods,
        max_requests,
        request_timeout,
        keep_host,
        // The answers of all shards together are judged here.
        fail_on_mismatch: _,
        noise_from,
        judging: _,
        cluster: cli::InCluster { kubernetes_collector, kubernetes_secrets, .. },
    } = arguments;
    let mut told = Told::default();
    match store {
        Some(store) => told.say("store", store),
        None => told.say("collector", kubernetes_collector),
    }
    told.arguments.push("replay".to_owned());
    told.say_unless_empty("filter", &selection.condition());
    if let Some(since) = since {
        told.say("since", rfc3339(since, now)?);
    }
    told.say("until", rfc3339(until.as_ref().unwrap_or(&Moment::At(now)), now)?);
    told.say("target", target.as_deref().unwrap_or_default());
    told.say("speed", speed);
    told.say("max-in-flight", max_in_flight);
    allow_methods.iter().for_each(|method| told.say("allow-method", method));
    told.say("max-requests", max_requests);
    told.say("request-timeout", format_duration(*request_timeout));
    told.flag("keep-host", *keep_host);
    if let Some(path) = noise_from {
        told.private.insert(NOISE, text("--noise-from", path)?);
        told.say("noise-from", format_args!("{RUN}/{NOISE}"));
    }
    if !judgement.comparison.is_empty() {
        told.settings("comparison", "comparison.yaml", judgement.comparison.clone());
    }
    told.sending(sending, kubernetes_secrets)?;
    told.say("sealed-report", format_args!("{RUN}/{SEAL_KEY}"));
    for (kind, length) in [
        ("settings", told.settings.values().map(String::len).sum::<usize>()),
        ("--noise-from", told.private.values().map(String::len).sum::<usize>()),
    ] {
        if length > MAX_FILES {
            let problem = format!("{kind}: {length} bytes; Kubernetes keeps {MAX_FILES} for a pod");
            return Err(WrongUsage(problem).into());
        }
    }
    Ok(told)
}

impl Told {
    fn sending(&mut self, sending: &cli::Sending, secrets: &[String]) -> Result<()> {
        let cli::Sending {
            file: _,
            remote: _,
            local: _,
            dry_run: _,
            rate,
            rate_profile,
            loops,
            duration,
            warm_up,
            seed,
            session,
            sample,
            shards,
            // Each has its own.
            shard: _,
            transform,
            chaos,
            hook: _,
            hook_timeout: _,
            no_compare,
            max_connections,
            ca_cert,
            server_name,
            insecure,
            client_cert,
            client_key,
            abort_if,
            abort_window,
            allow_namespaces,
        } = sending;
        self.say_if("rate", rate.as_ref());
        self.say_if("rate-profile", rate_profile.as_ref());
        match loops {
            None => {}
            Some(Loops::Times(times)) => self.say("loop", times),
            Some(Loops::Forever) => self.say("loop", "forever"),
        }
        self.say_if("duration", duration.map(format_duration));
        self.say_if("warm-up", warm_up.map(format_duration));
        self.say("seed", seed);
        self.say("session", session);
        self.say_if("sample", sample.as_ref());
        self.say("shards", shards);
        for (option, name, path) in [
            ("transform", "transform.yaml", transform),
            ("chaos", "chaos.yaml", chaos),
            ("ca-cert", "ca.pem", ca_cert),
        ] {
            if let Some(path) = path {
                self.settings(option, name, text(&format!("--{option}"), path)?);
            }
        }
        self.flag("no-compare", *no_compare);
        self.say("max-connections", max_connections);
        self.say_unless_empty("server-name", server_name);
        self.flag("insecure", *insecure);
        for (option, path) in [("client-cert", client_cert), ("client-key", client_key)] {
            if let Some(path) = path {
                self.say(option, of_secret(option, path, secrets)?);
            }
        }
        self.say_unless_empty("abort-if", abort_if);
        self.say("abort-window", format_duration(*abort_window));
        allow_namespaces.iter().for_each(|namespace| self.say("allow-namespace", namespace));
        Ok(())
    }

    fn say(&mut self, option: &str, value: impl std::fmt::Display) {
        self.arguments.push(format!("--{option}={value}"));
    }

    fn say_if(&mut self, option: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.say(option, value);
        }
    }

    fn say_unless_empty(&mut self, option: &str, value: &str) {
        if !value.is_empty() {
            self.say(option, value);
        }
    }

    fn flag(&mut self, option: &str, given: bool) {
        if given {
            self.arguments.push(format!("--{option}"));
        }
    }

    fn settings(&mut self, option: &str, name: &'static str, text: String) {
        self.settings.insert(name, text);
        self.say(option, format_args!("{SETTINGS}/{name}"));
    }
}

/// A path in a pod, of a file that one of its Secrets has.
fn of_secret<'a>(option: &str, path: &'a Path, secrets: &[String]) -> Result<std::path::Display<'a>> {
    let rest = path.strip_prefix(SECRETS).ok().and_then(Path::to_str);
    let named = rest.and_then(|rest| rest.split_once('/'));
    match named {
        Some((secret, name)) if secrets.iter().any(|known| known == secret) && is_name(name) => {
            Ok(path.display())
        }
        _ => Err(WrongUsage(format!(
            "--{option} {}: keys come from Secrets of the cluster: --kubernetes-secret NAME --{option} {SECRETS}/NAME/FILE",
            path.display()
        ))
        .into()),
    }
}

fn text(option: &str, path: &Path) -> Result<String> {
    let bytes = read(Some(path))?.unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| WrongUsage(format!("{option}: not text")).into())
}

fn rfc3339(moment: &Moment, now: Timestamp) -> Result<Timestamp> {
    let prost_types::Timestamp { seconds, nanos } = moment.resolve(now);
    Timestamp::new(seconds, nanos).map_err(|_| WrongUsage("a time is out of range".to_owned()).into())
}

//! From the object that a user wrote to what an agent can carry out; everything that is wrong at once.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;
use serde::Deserialize as _;
use tap_expr::{Condition, share::Share};

use crate::{
    body::BodyPolicy,
    mirror::MirrorSpec,
    resource::{BodyCapture, BodySpec, Direction, Replayed, SampleSpec, TapPolicy, TapPolicySpec},
    sample,
    selector::{self, Selector},
};

/// Ports of one policy: as many as the kernel's filter of one tap holds.
pub const MAX_PORTS: usize = 16;
/// Containers of one policy.
pub(crate) const MAX_CONTAINERS: usize = 64;
/// Labels of one policy.
pub(crate) const MAX_LABELS: usize = 32;
/// Mirrors in the list of one policy; each has a queue of its own in the collector.
pub const MAX_MIRRORS: usize = 8;
/// The largest `body.maxBytes`: what an agent can be told to keep.
pub const MAX_BODY_BYTES: u64 = 1 << 20;
/// Longest message of a problem, in characters: it ends in a status.
const MAX_MESSAGE: usize = 512;

/// A valid policy.
#[derive(Debug)]
pub struct Policy {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub(crate) created: Option<Time>,
    pub(crate) selector: Selector,
    /// Empty for all.
    pub(crate) containers: BTreeSet<String>,
    /// Empty for all.
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) direction: Direction,
    pub(crate) replayed: Replayed,
    pub(crate) filter: Option<Condition>,
    pub(crate) sample: Option<Share>,
    pub(crate) body: BodyPolicy,
    pub(crate) redaction: Option<tap_redact::Settings>,
    pub(crate) collector: Option<String>,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) mirrors: Vec<MirrorSpec>,
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Problem {
    /// Such as `spec.filter`.
    pub field: String,
    /// A word in CamelCase for conditions, such as `InvalidFilter`.
    pub reason: &'static str,
    /// What is wrong, with line and column where the field is a text of several parts.
    pub message: String,
}

impl TapPolicy {
    /// Reads a policy from its parts as the API server gives them. One that does not fit is a problem of its own, so that
    /// it does not spoil a list with others.
    pub fn read(metadata: ObjectMeta, spec: &serde_json::Value) -> Result<Self, Problem> {
        match TapPolicySpec::deserialize(spec) {
            Ok(spec) => Ok(Self { metadata, spec, status: None }),
            Err(error) => Err(Problem::new("spec", "InvalidSpec", error.to_string())),
        }
    }
}

impl Policy {
    /// Checks a policy; all of its problems come together.
    pub fn compile(policy: &TapPolicy) -> Result<Self, Vec<Problem>> {
        let TapPolicy { metadata, spec, status: _ } = policy;
        let TapPolicySpec {
            selector,
            containers,
            ports,
            direction,
            replayed,
            filter,
            sample,
            body,
            redaction,
            collector,
            labels,
            mirror,
            mirrors,
        } = spec;
        let mut problems = Problems::default();
        let selector = problems.check(Selector::compile(selector).map_err(|(place, problem)| {
            let field = if place.is_empty() { String::new() } else { format!(".{place}") };
            Problem::new(&format!("spec.selector{field}"), "InvalidSelector", problem)
        }));
        let containers = problems.check(containers_of(containers));
        let ports = problems.check(ports_of(ports));
        let filter = problems.check(filter_of(filter.as_deref()));
        let sample = problems.check(sample.as_ref().map(sample_of).transpose());
        let body = problems.check(body_of(body.as_ref()));
        if let Some(settings) = redaction
            && let Err(tap_redact::SettingsErrors(errors)) = tap_redact::check(settings)
        {
            problems.0.extend(errors.into_iter().map(|error| {
                let tap_redact::SettingsError { setting, problem } = error;
                Problem::new(&format!("spec.redaction.{setting}"), "InvalidRedaction", problem.to_string())
            }));
        }
        let collector = problems.check(collector.as_deref().map(collector_of).transpose());
        let labels = problems.check(labels_of(labels));
        if let Err(problem) = at_most("spec.mirrors", "InvalidMirrors", mirrors.len(), MAX_MIRRORS) {
            problems.0.push(problem);
        }
        match (selector, containers, ports, filter, sample, body, collector, labels) {
            (
                Some(selector),
                Some(containers),
                Some(ports),
                Some(filter),
                Some(sample),
                Some(body),
                Some(collector),
                Some(labels),
            ) if problems.0.is_empty() => Ok(Self {
                namespace: metadata.namespace.clone().unwrap_or_default(),
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone().unwrap_or_default(),
                generation: metadata.generation.unwrap_or_default(),
                created: metadata.creation_timestamp.clone(),
                selector,
                containers,
                ports,
                direction: *direction,
                replayed: *replayed,
                filter,
                sample,
                body,
                redaction: redaction.clone(),
                collector,
                labels,
                mirrors: mirror.iter().chain(mirrors).cloned().collect(),
            }),
            _ => Err(problems.0),
        }
    }

    /// Whether the policy selects a pod: of its own namespace, by the pod's labels.
    pub fn selects(&self, namespace: &str, labels: &std::collections::BTreeMap<String, String>) -> bool {
        self.namespace == namespace && self.selector.matches(labels)
    }

    /// Where what it keeps is mirrored to.
    pub fn mirrors(&self) -> &[MirrorSpec] {
        &self.mirrors
    }

    /// The collector that it names.
    pub fn collector(&self) -> Option<&str> {
        self.collector.as_deref()
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The older first.
    pub fn cmp_age(&self, other: &Self) -> std::cmp::Ordering {
        self.age().cmp(&other.age())
    }

    /// Of several policies the oldest counts first: one that was made later changes no one else's capture.
    pub(crate) fn age(&self) -> (bool, Option<&Time>, &str) {
        (self.created.is_none(), self.created.as_ref(), &self.name)
    }
}

impl Problem {
    pub(crate) fn new(field: &str, reason: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        Self { field: field.to_owned(), reason, message }
    }
}

#[derive(Debug, Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn check<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.0.push(problem)).ok()
    }
}

fn at_most(field: &str, reason: &'static str, count: usize, max: usize) -> Result<(), Problem> {
    if count > max {
        return Err(Problem::new(field, reason, format!("{count} entries; {max} are allowed")));
    }
    Ok(())
}

fn containers_of(names: &[String]) -> Result<BTreeSet<String>, Problem> {
    const FIELD: &str = "spec.containers";
    const REASON: &str = "InvalidContainers";
    at_most(FIELD, REASON, names.len(), MAX_CONTAINERS)?;
    match names.iter().position(|name| name.is_empty() || name.len() > 63) {
        Some(index) => Err(Problem::new(
            &format!("{FIELD}[{index}]"),
            REASON,
            format!("{:?} is no container's name", names[index]),
        )),
        None => Ok(names.iter().cloned().collect()),
    }
}

fn ports_of(ports: &[i64]) -> Result<BTreeSet<u16>, Problem> {
    const FIELD: &str = "spec.ports";
    const REASON: &str = "InvalidPorts";
    at_most(FIELD, REASON, ports.len(), MAX_PORTS)?;
    let port = |(index, port): (usize, &i64)| {
        u16::try_from(*port).ok().filter(|port| *port != 0).ok_or_else(|| {
            Problem::new(&format!("{FIELD}[{index}]"), REASON, format!("must be 1 to 65535, is {port}"))
        })
    };
    ports.iter().enumerate().map(port).collect()
}

fn filter_of(filter: Option<&str>) -> Result<Option<Condition>, Problem> {
    let Some(source) = filter.filter(|source| !source.trim().is_empty()) else { return Ok(None) };
    Condition::parse(source)
        .map(Some)
        .map_err(|error| Problem::new("spec.filter", "InvalidFilter", error.to_string()))
}

fn sample_of(spec: &SampleSpec) -> Result<Share, Problem> {
    sample::compile(spec)
        .map_err(|(field, problem)| Problem::new(&format!("spec.sample.{field}"), "InvalidSample", problem))
}

fn body_of(body: Option<&BodySpec>) -> Result<BodyPolicy, Problem> {
    let problem = |problem: String| Problem::new("spec.body.maxBytes", "InvalidBody", problem);
    let Some(BodySpec { capture, max_bytes }) = body else { return Ok(BodyPolicy::ALL) };
    match (capture, max_bytes) {
        (BodyCapture::None, None) => Ok(BodyPolicy::None),
        (BodyCapture::Metadata, None) => Ok(BodyPolicy::Metadata),
        (BodyCapture::None | BodyCapture::Metadata, Some(_)) => {
            Err(problem("belongs to capture: upTo".to_owned()))
        }
        (BodyCapture::UpTo, None) => Ok(BodyPolicy::ALL),
        (BodyCapture::UpTo, Some(quantity)) => match quantity.bytes() {
            None => Err(problem(format!("{quantity} is no number of bytes, such as 16KiB"))),
            Some(bytes) if bytes > MAX_BODY_BYTES => {
                Err(problem(format!("must be 1MiB at most, is {quantity}")))
            }
            Some(bytes) => Ok(BodyPolicy::UpTo(bytes)),
        },
    }
}

/// In one spelling, so that an agent's allow list can be compared with it.
fn collector_of(url: &str) -> Result<String, Problem> {
    normal_url(url).map_err(|problem| Problem::new("spec.collector", "InvalidCollector", problem))
}

/// `http://host:port` without credentials, path and query, in one spelling.
pub fn normal_url(url: &str) -> Result<String, String> {
    let parsed = url::Url::parse(url).map_err(|error| format!("no URL such as http://host:7070: {error}"))?;
    if parsed.scheme() != "http" {
        return Err(format!("must begin with http://, is {:?}", parsed.scheme()));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    if parsed.path() != "/" || parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("must be scheme, host and port alone".to_owned());
    }
    let host = parsed.host_str().filter(|host| !host.is_empty()).ok_or("has no host")?;
    Ok(format!("http://{host}:{}", parsed.port_or_known_default().unwrap_or(80)))
}

fn labels_of(labels: &[String]) -> Result<BTreeSet<String>, Problem> {
    const FIELD: &str = "spec.labels";
    const REASON: &str = "InvalidLabels";
    at_most(FIELD, REASON, labels.len(), MAX_LABELS)?;
    for (index, label) in labels.iter().enumerate() {
        selector::check_key(label)
            .map_err(|problem| Problem::new(&format!("{FIELD}[{index}]"), REASON, problem))?;
    }
    Ok(labels.iter().cloned().collect())
}

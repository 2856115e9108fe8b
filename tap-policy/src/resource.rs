//! The custom resource as users write it. Its field docs are what `kubectl explain` shows.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{mirror::MirrorSpec, schema, status::TapPolicyStatus};

/// What to capture of the pods that a selector names, in the policy's own namespace.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "podtap.dev",
    version = "v1alpha1",
    kind = "TapPolicy",
    plural = "tappolicies",
    shortname = "tap",
    namespaced,
    status = "TapPolicyStatus",
    derive = "PartialEq",
    label("app.kubernetes.io/part-of", "podtap"),
    doc = "A TapPolicy says which pods of its namespace are tapped, and what is captured of their HTTP traffic.",
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Capturing",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Capturing")].status"#
    ),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.matchedPods"),
    printcolumn(name = "Taps", type_ = "integer", json_path = ".status.activeTaps"),
    printcolumn(name = "Stored", type_ = "integer", json_path = ".status.ledger.storedExchanges"),
    printcolumn(name = "Lost", type_ = "integer", json_path = ".status.ledger.lostExchanges"),
    printcolumn(name = "Filter", type_ = "string", json_path = ".spec.filter", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Capturing")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TapPolicySpec {
    /// Which pods of this namespace, by their labels. {} selects every pod of the namespace.
    pub selector: LabelSelector,
    /// Capture only sockets of these containers. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::containers")]
    pub containers: Vec<String>,
    /// Capture only connections whose server listens on one of these ports. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ports")]
    pub ports: Vec<i64>,
    /// inbound: exchanges of which the pod is the server; outbound: of which it is the client; both.
    #[serde(default)]
    pub direction: Direction,
    /// What becomes of requests that Podtap itself sent, which carry the header Podtap-Replay: drop or keep.
    #[serde(default)]
    pub replayed: Replayed,
    /// Keep only exchanges that meet this CEL condition, such as request.path.startsWith("/cart"). It sees exchanges as they
    /// would be stored, that is after redaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::filter")]
    pub filter: Option<String>,
    /// Keep only a share of the exchanges, the same on every node. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleSpec>,
    /// What is kept of bodies. Default: as much as the agent's own limit allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<BodySpec>,
    /// What is redacted beside what the agent redacts always. It can be made stricter here, not weaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redaction: Option<tap_redact::Settings>,
    /// Send to this collector, http://host:port, which the agents' configuration must allow. Default: the agents' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::collector")]
    pub collector: Option<String>,
    /// Labels of the pod to record with each exchange.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: Vec<String>,
    /// Send what this policy keeps at a target, too, as it is captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorSpec>,
    /// Several of them, beside mirror.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::mirrors")]
    pub mirrors: Vec<MirrorSpec>,
}

/// Which side of an exchange the pod is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    Inbound,
    Outbound,
    #[default]
    Both,
}

/// What becomes of requests that Podtap itself sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Replayed {
    #[default]
    Drop,
    Keep,
}

/// A share of the exchanges, chosen by the hash of a key, so that what shares a key is kept or left out together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SampleSpec {
    /// How much is kept, 0 to 100; up to four decimal places count.
    #[schemars(schema_with = "schema::percent")]
    pub percent: f64,
    /// What decides: connection, traceId (of traceparent or B3 headers) or header. An exchange without the key is
    /// decided by its connection.
    #[serde(default)]
    pub key: SampleKey,
    /// The name of the header whose value decides, where key is header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::header")]
    pub header: Option<String>,
}

/// What decides whether an exchange is in the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SampleKey {
    #[default]
    Connection,
    TraceId,
    Header,
}

/// What is kept of the bodies of requests and responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BodySpec {
    /// none: not even their size; metadata: size and coding; upTo: the first maxBytes.
    #[serde(default)]
    pub capture: BodyCapture,
    /// Kept of each body at most, such as 16KiB; 1MiB at most, and never more than the agent's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<ByteQuantity>,
}

/// How much of a body is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BodyCapture {
    None,
    Metadata,
    #[default]
    UpTo,
}

/// A number of bytes: 65536 or 64KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ByteQuantity {
    Number(u64),
    Text(String),
}

impl ByteQuantity {
    /// The number; `None` where the text is none.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Number(bytes) => Some(*bytes),
            Self::Text(text) => text.parse().ok().map(|bytesize::ByteSize(bytes)| bytes),
        }
    }
}

impl fmt::Display for ByteQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(bytes) => bytes.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

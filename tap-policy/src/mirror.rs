//! Where a policy's exchanges are mirrored to, as users write it. The collector carries it out, and checks what a schema can't;
//! what is wrong with a mirror stands in the policy's condition `Mirroring` and changes nothing of what is captured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{resource::SampleKey, schema};

/// Sends what the policy keeps at a target, as it is captured and after redaction. Answers are never given to anybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorSpec {
    /// Where to, http://host[:port][/prefix] or https://…, which the collector's configuration must allow.
    #[schemars(schema_with = "schema::mirror_target")]
    pub target: String,
    /// How much is sent, 0 to 100; up to four decimal places count.
    #[serde(default = "all")]
    #[schemars(schema_with = "schema::percent")]
    pub percent: f64,
    /// What decides: connection, traceId or header, as in sample.
    #[serde(default)]
    pub by: SampleKey,
    /// The name of the header whose value decides, where by is header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::header")]
    pub header: Option<String>,
    /// Only requests to one of these hosts; a name without a port stands for every port. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::hosts")]
    pub hosts: Vec<String>,
    /// Only requests whose path begins with one of these. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::prefixes")]
    pub prefixes: Vec<String>,
    /// Put in the place of the prefix that fits. Default: the path stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::prefix")]
    pub rewrite: Option<String>,
    /// Only exchanges that meet this CEL condition. Unless it names role, only what the pod received as a server is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::filter")]
    pub filter: Option<String>,
    /// Methods that are sent. Default: GET, HEAD and OPTIONS; what may change something is sent only where it is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::methods")]
    pub methods: Vec<String>,
    /// Send the Host of the request instead of the target's.
    #[serde(default)]
    pub keep_host: bool,
    /// Send the Host of the request with -shadow after its name, as Istio does.
    #[serde(default)]
    pub shadow_host: bool,
    /// At most so many requests a second, for each collector; the others are not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::rate")]
    pub max_rate: Option<f64>,
    /// At most so many requests without an answer, for each collector. Default: 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::in_flight")]
    pub max_in_flight: Option<u32>,
    /// How long an answer may take, such as 500ms. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Option<String>,
    /// What is older than this is not sent any more. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub max_lag: Option<String>,
    /// Compare each answer with the recorded response.
    #[serde(default)]
    pub compare: bool,
    /// What is verified of an https target. Default: its own name, by the authorities that the collector's system trusts.
    #[serde(default, skip_serializing_if = "MirrorTls::is_default")]
    pub tls: MirrorTls,
}

/// Whom a mirror trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorTls {
    /// Certificates in PEM; these are trusted, and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::certificates")]
    pub ca: Option<String>,
    /// The name to ask for, and to expect in the target's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::server_name")]
    pub server_name: Option<String>,
}

impl MirrorTls {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn all() -> f64 {
    100.0
}

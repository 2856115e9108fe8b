//! What a policy's status says. Written by the collector, from what agents report.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How the policy is carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TapPolicyStatus {
    /// The generation to which the rest refers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that the policy selects.
    #[serde(default)]
    #[schemars(schema_with = "schema::count")]
    pub matched_pods: i64,
    /// Of those, pods that are tapped.
    #[serde(default)]
    #[schemars(schema_with = "schema::count")]
    pub active_taps: i64,
    /// Agents that report on the policy.
    #[serde(default)]
    #[schemars(schema_with = "schema::count")]
    pub agents: i64,
    /// What became of the traffic of the selected pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerTotals>,
    /// Accepted: the policy is valid. Capturing: pods are tapped. Degraded: something is lost or could not be tapped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Totals over all agents, since they started. Brought up to date now and then: tapctl ledger shows the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerTotals {
    /// TCP payload at the kernel hooks of the selected pods.
    #[schemars(schema_with = "schema::count")]
    pub seen_bytes: i64,
    /// Exchanges out of reassembly.
    #[schemars(schema_with = "schema::count")]
    pub exchanges: i64,
    /// Exchanges that are durable in the table.
    #[schemars(schema_with = "schema::count")]
    pub stored_exchanges: i64,
    /// Exchanges that the policies keep and that are not stored.
    #[schemars(schema_with = "schema::count")]
    pub lost_exchanges: i64,
    /// TCP payload that is in no stored exchange, but for what the policies leave out.
    #[schemars(schema_with = "schema::count")]
    pub lost_bytes: i64,
}

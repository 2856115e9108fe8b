//! Podtap on a real cluster, installed and used as its users do: `cargo xtask e2e` makes the cluster and runs this.
//!
//! One binary, one installation; each scenario has namespaces of its own. Those that end the agent, the collector
//! or the API server run alone.

#![expect(clippy::unwrap_used, reason = "a test panics")]

#[path = "../end_to_end/client.rs"]
#[expect(dead_code, reason = "shared with the scenarios on one machine")]
mod client;
mod cluster;
mod installation;
mod namespace;
mod programs;

mod away;
mod lifecycle;
mod mirror;
mod mock;
mod policies;
mod quick_start;
mod replay;
mod selection;

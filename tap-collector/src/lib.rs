//! The collector: ingest, query and replay services over the table of exchanges.
//!
//! It keeps nothing on its own disk: what was acknowledged is in the table, what was not is still in the
//! agents' spools, so that `kill -9` at any moment loses no acknowledged exchange, and replicas need only the
//! same store URL. Replays are the exception: they run in one process and end with it.
//!
//! - [`config`]: raw settings, validated once.
//! - `ingest`: streams of batches, one queue bounded in bytes, one committer, acknowledgements when durable.
//! - `captures`, `ledgers`, `replays`: the query side.
//! - `mirrors`: what became durable is sent at other targets, too.
//! - `kubernetes`: in a cluster, the names of peers and the statuses of TapPolicies.
//! - `maintenance`: retention, compaction and vacuum of the table.
//! - `store_gate`: a store that can't be reached is a state, not a crash.
//! - [`read_table`]: the query side in another program, for a table without a collector.
//! - `metrics`: the list of the collector's metrics. The admin routes are those of `tap_admin`.
//!
//! Captured bytes are never logged: messages carry ids and sizes.

#![forbid(unsafe_code)]

mod backoff;
mod captures;
pub mod config;
mod ingest;
mod kubernetes;
mod ledgers;
mod maintenance;
mod metrics;
mod mirrors;
mod reader;
mod replays;
mod server;
mod status;
mod store_gate;

pub use config::{Config, ConfigError, Settings, parse_store};
pub use reader::read_table;
pub use replays::AllowedTarget;
pub use server::{Listeners, run};

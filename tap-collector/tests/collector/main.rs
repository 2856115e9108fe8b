//! The collector in process, with a table in a temporary directory, seen through its clients.
//!
//! Nothing here sleeps to let something happen: every wait is for a condition, with [`support::PATIENCE`].

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod admin;
mod crash;
mod hostile_queries;
mod ingest;
mod kubernetes;
mod ledger;
mod maintenance;
mod mirror;
mod other_readers;
mod process;
mod queries;
mod read_only;
mod replay;
mod shutdown;
mod store_away;
mod support;

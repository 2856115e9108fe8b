//! The node agent: taps cgroups, assembles and redacts exchanges, streams them to a collector.
//!
//! The path of the bytes, and the modules that own it:
//!
//! ```text
//! capture ─ segments ─ pipeline ─ exchanges ─ export ─ batch ─ spool ─ uplink ─ collector
//!    ▲                 (tap_flow,             (the only way                 (keeps what is
//!   taps                tap_redact)            to the wire)                  not acknowledged)
//! ```
//!
//! [`kubernetes`] tells which pods are wanted, [`taps`] finds targets ([`cgroup`]) and attaches the programs; [`ledger`] accounts for every byte of
//! the path, and [`budget`] bounds what the path may take. Each ring is read by a thread of its own; everything else is a few tasks. Only `capture` may use `unsafe`.

#![deny(unsafe_code)]

pub mod agent;
pub mod amount;
pub mod app;
pub mod batch;
pub mod budget;
pub mod capture;
pub mod cgroup;
mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod coverage;
pub mod export;
pub mod kernel;
pub mod kubernetes;
pub mod ledger;
pub mod metrics;
pub mod pipeline;
pub mod registry;
pub mod reload;
pub mod self_test;
pub mod spool;
pub mod taps;
pub mod uplink;

pub use agent::run;
pub use cli::{Cli, Options, Run, Subcommands};
pub use config::Config;

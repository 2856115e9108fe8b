//! The whole path on real traffic: server in a cgroup, agent, collector, and what a user asks of it.
//!
//! One binary, for there is much to link; one module for each scenario.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod client;
mod rig;
mod traffic;

mod answers;
mod clients;
mod collector_away;
mod imported;
mod malformed;
mod mirror;
mod nginx;
mod overload;
mod redaction;
mod roles;
mod table_alone;
mod tokenised_shop;
mod tools;

//! The store from outside, on a local directory.

mod bucket;
mod earlier_versions;
mod exactly_once;
mod ledger;
mod maintenance;
mod push_down;
mod sample;
mod search;
mod stats;
mod tail;

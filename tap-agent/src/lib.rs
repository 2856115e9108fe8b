//! The node agent: taps cgroups, assembles and redacts exchanges, streams them to a collector.

pub mod capture;

//! In a cluster: a real API server, on which objects are what the test says they are.

mod cluster;
mod mirrors;
mod peers;
mod statuses;

//! In a cluster: a real API server, on which objects are what the test says they are.

mod cluster;
mod peers;
mod statuses;

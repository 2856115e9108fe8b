//! Tables in buckets and on bad days: several collectors on one table, collectors that are killed, stores that are away or full, and
//! environments that share nothing but a bucket.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod collectors;
mod follower;
mod spooled;

mod environments;
mod kills;
mod outages;
mod replicas;

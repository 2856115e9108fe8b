//! Real servers: web servers, each started inside a cgroup, and a bucket.

mod nginx;
mod s3;
mod s3_front;
mod scripts;

pub use nginx::Nginx;
pub use s3::S3Server;
pub use s3_front::{Conduct, S3Front};
pub use scripts::{NodeServer, PythonServer, Shop, program};

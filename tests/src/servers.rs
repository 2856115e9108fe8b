//! Real servers, each started inside a cgroup.

mod nginx;
mod scripts;

pub use nginx::Nginx;
pub use scripts::{NodeServer, PythonServer, Shop, program};

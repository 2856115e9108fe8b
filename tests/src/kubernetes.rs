//! Kubernetes for tests: the tool in `tests/cluster`, an API server of one's own, and kubectl.

mod api_server;
mod kubectl;
mod tool;

pub use api_server::ApiServer;
pub use kubectl::Kubectl;
pub use tool::{ClusterTool, build_hint};

//! The way to the API server: the service account's in a cluster, or what `KUBECONFIG` names.

use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// The files of a service account are mounted before a container starts: only a KUBECONFIG that is being written is
/// waited for, or somebody's mistake is mended.
const PAUSE: Duration = Duration::from_secs(5);

/// A client, as soon as there is a usable configuration. It doesn't mean that the API server answers.
pub(super) async fn connect() -> (Client, Config) {
    let mut told = false;
    loop {
        match configure().await {
            Ok((client, config)) => {
                info!(server = %config.cluster_url, "using the Kubernetes API");
                return (client, config);
            }
            Err(error) if !told => {
                warn!("no access to Kubernetes: {error:#}; going on without, and trying on");
                told = true;
            }
            Err(error) => debug!("still no access to Kubernetes: {error:#}"),
        }
        sleep(PAUSE).await;
    }
}

/// More than one provider is linked in, and rustls refuses to choose.
pub(super) fn choose_cryptography() {
    // Fails where one was chosen, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn configure() -> anyhow::Result<(Client, Config)> {
    choose_cryptography();
    let config = Config::infer().await.context("find the configuration")?;
    let client = Client::try_from(config.clone()).context("make a client")?;
    Ok((client, config))
}

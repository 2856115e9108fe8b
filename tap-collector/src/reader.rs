//! The queries of a collector over a table, without a collector: for whoever has the bucket and no route to production.
//!
//! They are served in this process, over a pipe in memory, so that clients are the same as those of a collector. The table
//! is opened read-only: no right is needed but to list and to get.

use std::{io, sync::Arc};

use anyhow::Context as _;
use futures::stream;
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tap_admin::Readiness;
use tap_proto::v1::{
    capture_service_server::CaptureServiceServer, ledger_service_server::LedgerServiceServer,
};
use tap_store::Store;
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tower::service_fn;
use url::Url;

use crate::{
    captures::Captures,
    ledgers::{LedgerQueries, Ledgers},
    metrics::Metrics,
    store_gate::StoreGate,
};

/// Of the pipe: what a socket's buffers would hold.
const PIPE_BYTES: usize = 1024 * 1024;
/// Nothing is sent there: the pipe is the way.
const NOWHERE: &str = "http://table.invalid";

/// A channel to `CaptureService` and `LedgerService` over the table at `store`, which must exist. They last as long as
/// the channel.
pub async fn read_table(store: &Url) -> anyhow::Result<Channel> {
    let opened = Store::open_read_only(store).await?;
    let metrics = Metrics::register(&mut Registry::default());
    let gate = StoreGate::new(store.clone(), true, Readiness::default(), metrics.clone());
    gate.hold(opened);
    let gate = Arc::new(gate);
    let ledgers = Arc::new(Ledgers::new(Arc::clone(&gate), metrics.clone()));
    let captures = Captures::new(gate, metrics, CancellationToken::new());

    let (pipe_tx, pipe_rx) = mpsc::unbounded_channel::<DuplexStream>();
    let pipes = stream::unfold(pipe_rx, |mut pipes| async {
        let pipe = pipes.recv().await?;
        Some((Ok::<_, io::Error>(pipe), pipes))
    });
    let serving = Server::builder()
        .add_service(CaptureServiceServer::new(captures))
        .add_service(LedgerServiceServer::new(LedgerQueries(ledgers)))
        .serve_with_incoming(pipes);
    // Ends when the channel, which holds the sender of pipes, is dropped.
    tokio::spawn(serving);
    let connector = service_fn(move |_| {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let sent = pipe_tx.send(far).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
        async move { sent.map(|()| TokioIo::new(near)) }
    });
    Endpoint::from_static(NOWHERE).connect_with_connector(connector).await.context("serve the table")
}

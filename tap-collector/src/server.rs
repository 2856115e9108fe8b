//! Everything wired up, from sockets to shutdown.
//!
//! Shutdown, in order: no more connections; streams of agents are read no further, what is queued is committed
//! and acknowledged, then they end with UNAVAILABLE, as tails do; replays stop; the last ledgers are written.
//! All of it has [`DRAIN`]; what then is still queued was never acknowledged, and its agents have it. Queries
//! under way have [`LAST_ANSWERS`] more.

use std::{io, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt as _};
use prometheus_client::registry::Registry;
use tap_admin::{Admin, LogLevel, Readiness, register_process_metrics};
use tap_proto::v1::{
    capture_service_server::CaptureServiceServer, ingest_service_server::IngestServiceServer,
    ledger_service_server::LedgerServiceServer, mirror_service_server::MirrorServiceServer,
    replay_service_server::ReplayServiceServer,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    codec::CompressionEncoding::{Gzip, Zstd},
    server::NamedService,
    transport::server::TcpIncoming,
};
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, health_reporter},
};
use tracing::{info, warn};

use crate::{
    Config,
    captures::Captures,
    ingest::{Committer, Ingest, Pace, queue},
    kubernetes::{self, Kubernetes, peers::Peers},
    ledgers::{LedgerQueries, Ledgers},
    maintenance::maintain_until,
    metrics::Metrics,
    mirrors::{MirrorQueries, Mirrors},
    replays::Replays,
    store_gate::StoreGate,
};

/// Below Kubernetes' default grace period of 30 s, with room for the last ledgers.
const DRAIN: Duration = Duration::from_secs(20);
/// For queries under way, and for clients to notice that their connection is to be closed.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
const LAST_LEDGERS: Duration = Duration::from_secs(5);
/// A batch of exchanges with large bodies; agents send far less in one.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Queries are small.
const MAX_QUERY: usize = 1024 * 1024;
/// A window's worth is buffered for each stream before anything is decoded: enough to fill a fast link, and
/// small beside the queue.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const MAX_STREAMS_PER_CONNECTION: u32 = 256;
/// Finds clients that vanished without a word, whose streams would stay for ever.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The sockets, bound: tests bind port 0.
#[derive(Debug)]
pub struct Listeners {
    pub grpc: TcpListener,
    pub admin: TcpListener,
}

impl Listeners {
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |setting: &str, address| {
            TcpListener::bind(address).await.with_context(|| format!("{setting}: bind {address}"))
        };
        Ok(Self {
            grpc: bind("listen", config.listen).await?,
            admin: bind("admin.listen", config.admin_listen).await?,
        })
    }
}

/// Serves until `shutdown` is cancelled, then drains.
pub async fn run(
    config: Config,
    listeners: Listeners,
    log_level: LogLevel,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Listeners { grpc, admin } = listeners;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        grpc = %grpc.local_addr().context("address of the gRPC socket")?,
        admin = %admin.local_addr().context("address of the admin socket")?,
        settings = %config,
        "collector starts"
    );
    let mut registry = Registry::default();
    register_process_metrics(&mut registry);
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::default();
    let background = TaskTracker::new();
    let mirrors =
        Mirrors::start(config.mirrors, config.allow_mirror_targets, background.clone(), shutdown.clone());
    registry.sub_registry_with_prefix("podtap_collector").register_collector(Box::new(mirrors.clone()));

    // Before the admin port answers: from here on it is known that the store is not reached yet.
    let gate =
        Arc::new(StoreGate::new(config.store.clone(), config.read_only, readiness.clone(), metrics.clone()));

    // The admin port outlives the drain, so that it can be watched.
    let admin_shutdown = CancellationToken::new();
    let _admin_ends_with_this = admin_shutdown.clone().drop_guard();
    let routes = Admin { registry: Arc::new(registry), readiness: readiness.clone(), log_level };
    let admin = tokio::spawn(tap_admin::run(admin, routes, admin_shutdown.clone()));

    let ledgers = Arc::new(Ledgers::new(Arc::clone(&gate), metrics.clone()));
    let (queue_tx, queue_rx) = queue(config.queue_bytes, metrics.clone());
    let committer = Committer {
        gate: Arc::clone(&gate),
        queue: queue_rx,
        pace: Pace::new(config.commit_interval, config.commit_bytes, config.queue_bytes),
        mirrors: mirrors.clone(),
        metrics: metrics.clone(),
    };
    let streams_ended = CancellationToken::new();
    let committer = tokio::spawn(committer.run(shutdown.clone(), streams_ended.clone()));
    let opener = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.open().await }
    });
    if config.read_only {
        background.spawn(mirrors.clone().follow_table(Arc::clone(&gate), shutdown.clone()));
    } else {
        let (ledgers, shutdown) = (Arc::clone(&ledgers), shutdown.clone());
        let maintenance =
            maintain_until(Arc::clone(&gate), config.retention, metrics.clone(), shutdown.clone());
        background.spawn(maintenance);
        background.spawn(async move { ledgers.write_until(shutdown).await });
    }

    let peers = config.kubernetes.map(|config| {
        let peers = Arc::new(Peers::new(metrics.clone()));
        let kubernetes = Kubernetes {
            config,
            peers: Arc::clone(&peers),
            ledgers: Arc::clone(&ledgers),
            gate: Arc::clone(&gate),
            mirrors: mirrors.clone(),
            metrics: metrics.clone(),
        };
        background.spawn(kubernetes.run(readiness.pending(kubernetes::CONDITION), shutdown.clone()));
        peers
    });
    let ingest = Ingest::new(
        Arc::clone(&gate),
        Arc::clone(&ledgers),
        queue_tx,
        peers,
        metrics.clone(),
        background.clone(),
        shutdown.clone(),
    );
    let captures = Captures::new(Arc::clone(&gate), metrics.clone(), shutdown.clone());
    let replays = Replays::new(
        Arc::clone(&gate),
        config.allow_replay_targets,
        metrics,
        background.clone(),
        shutdown.clone(),
    );
    let (reporter, health) = health_reporter();
    background.spawn(report_health(reporter, gate.watch_reachable(), shutdown.clone()));

    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tap_proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let serving = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(
            IngestServiceServer::new(ingest)
                .accept_compressed(Zstd)
                .accept_compressed(Gzip)
                .max_decoding_message_size(MAX_MESSAGE),
        )
        .add_service(
            CaptureServiceServer::new(captures)
                .accept_compressed(Gzip)
                .send_compressed(Zstd)
                .send_compressed(Gzip)
                .max_decoding_message_size(MAX_QUERY),
        )
        .add_service(
            LedgerServiceServer::new(LedgerQueries(Arc::clone(&ledgers)))
                .accept_compressed(Gzip)
                .max_decoding_message_size(MAX_QUERY),
        )
        .add_service(
            ReplayServiceServer::new(replays).accept_compressed(Gzip).max_decoding_message_size(MAX_QUERY),
        )
        .add_service(
            MirrorServiceServer::new(MirrorQueries { mirrors, shutdown: shutdown.clone() })
                .accept_compressed(Gzip)
                .max_decoding_message_size(MAX_QUERY),
        )
        .add_service(health)
        .add_service(reflection().build_v1().context("reflection v1")?)
        .add_service(reflection().build_v1alpha().context("reflection v1alpha")?)
        .serve_with_incoming_shutdown(accept(grpc), shutdown.clone().cancelled_owned());
    let mut serving = tokio::spawn(serving);

    tokio::select! {
        // First: told to shut down, an idle server may have ended before this task runs again.
        biased;
        () = shutdown.cancelled() => {}
        ended = &mut serving => {
            ended.context("gRPC server")?.context("gRPC server")?;
            bail!("the gRPC server ended by itself");
        }
    }
    let _not_ready = readiness.pending("shutdown");
    opener.abort();
    background.close();
    let abort_committer = committer.abort_handle();
    let drained = timeout(DRAIN, async {
        background.wait().await;
        streams_ended.cancel();
        committer.await.context("committer")
    })
    .await;
    match drained {
        Ok(result) => result?,
        Err(_) => {
            warn!("not drained within {DRAIN:?}; what was not acknowledged stays with the agents");
            abort_committer.abort();
        }
    }
    // Streams that are no task of ours, as those of reflection, end when their clients like.
    match timeout(LAST_ANSWERS, &mut serving).await {
        Ok(ended) => ended.context("gRPC server")?.context("gRPC server")?,
        Err(_) => serving.abort(),
    }
    if timeout(LAST_LEDGERS, ledgers.write_last()).await.is_err() {
        warn!("the last ledgers could not be written within {LAST_LEDGERS:?}");
    }
    admin_shutdown.cancel();
    admin.await.context("admin port")?;
    info!("collector ended");
    Ok(())
}

/// The connections. After an error there is a pause: without file descriptors the next one fails at once, too.
fn accept(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    TcpIncoming::from(listener).with_nodelay(Some(true)).then(|connection| async {
        if let Err(error) = &connection {
            warn!(%error, "accept failed");
            sleep(ACCEPT_PAUSE).await;
        }
        connection
    })
}

/// NOT_SERVING while the store is away. At the shutdown the watchers' streams end, which nothing else would do.
async fn report_health(
    mut reporter: HealthReporter,
    mut reachable: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    // The empty name stands for the server as a whole.
    let services = [
        "",
        IngestServiceServer::<Ingest>::NAME,
        CaptureServiceServer::<Captures>::NAME,
        LedgerServiceServer::<LedgerQueries>::NAME,
        ReplayServiceServer::<Replays>::NAME,
        MirrorServiceServer::<MirrorQueries>::NAME,
    ];
    loop {
        let status =
            if *reachable.borrow_and_update() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in services {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            Ok(()) = reachable.changed() => {}
            () = shutdown.cancelled() => break,
        }
    }
    for service in services {
        reporter.clear_service_status(service).await;
    }
}

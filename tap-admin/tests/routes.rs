//! Every route over a real socket.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::sync::Arc;

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tap_admin::{Admin, LogFormat, Readiness, init_tracing, register_process_metrics};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

async fn exchange(port: u16, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (head, body) = request.split_once('|').unwrap_or((request, ""));
    let request = format!(
        "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn serves_every_route_until_shutdown() {
    let log_level = init_tracing("warn", LogFormat::Json).unwrap();
    let mut registry = Registry::default();
    register_process_metrics(&mut registry);
    let segments: Counter = Counter::default();
    registry.register("podtap_segments", "Segments", segments.clone());
    let readiness = Readiness::default();
    let admin = Admin { registry: Arc::new(registry), readiness: readiness.clone(), log_level };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(tap_admin::run(listener, admin, shutdown.clone()));

    segments.inc_by(7);
    let (status, metrics) = exchange(port, "GET /metrics").await;
    assert_eq!(status, 200);
    for line in ["podtap_segments_total 7\n", "process_resident_memory_bytes ", "process_cpu_seconds_total "]
    {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));

    assert_eq!(exchange(port, "GET /live").await, (200, "live\n".into()));
    assert_eq!(exchange(port, "GET /ready").await, (200, "ready\n".into()));
    let pending = readiness.pending("store");
    assert_eq!(exchange(port, "GET /ready").await, (503, "store\n".into()));
    drop(pending);
    assert_eq!(exchange(port, "HEAD /ready").await, (200, String::new()));

    assert_eq!(exchange(port, "GET /log-level").await, (200, "warn\n".into()));
    assert_eq!(
        exchange(port, "PUT /log-level|tap_admin=debug,info\n").await,
        (200, "tap_admin=debug,info\n".into())
    );
    let (status, filter) = exchange(port, "PUT /log-level|debug").await;
    assert_eq!(status, 200);
    assert!(tracing::enabled!(target: "tap_somewhere", tracing::Level::DEBUG));
    assert!(!tracing::enabled!(target: "library", tracing::Level::INFO));
    assert_eq!(exchange(port, "PUT /log-level|a=b=c").await.0, 400);
    assert_eq!(exchange(port, "PUT /log-level|").await.0, 400);
    assert_eq!(exchange(port, &format!("PUT /log-level|{}", "x".repeat(5_000))).await.0, 400);
    assert_eq!(exchange(port, "GET /log-level").await.1, filter);

    assert_eq!(exchange(port, "POST /metrics").await.0, 405);
    assert_eq!(exchange(port, "GET /nowhere").await.0, 404);

    // An idle connection does not hold the shutdown up.
    let idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    shutdown.cancel();
    server.await.unwrap();
    drop(idle);
}

//! The HTTP/1 server behind the routes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{LogLevel, LoggingError, Readiness};

/// Scrapers, probes and a person or two; more at once is a mistake somewhere, and waits.
const MAX_CONNECTIONS: usize = 64;
/// A client that opens a connection and says nothing holds one of the above at most this long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A log filter is a line.
const MAX_BODY: usize = 4 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers under way at shutdown may take.
const DRAIN: Duration = Duration::from_secs(1);
/// Out of file descriptors, mostly: they come back when connections close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const ROUTES: &str = "GET /metrics\nGET /live\nGET /ready\nGET /log-level\nPUT /log-level\n";

/// What the routes show.
#[derive(Clone, Debug)]
pub struct Admin {
    pub registry: Arc<Registry>,
    pub readiness: Readiness,
    pub log_level: LogLevel,
}

/// Serves until `shutdown` is cancelled, then finishes the answers under way within a second.
pub async fn run(listener: TcpListener, admin: Admin, shutdown: CancellationToken) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    while let Some((stream, permit)) = shutdown
        .run_until_cancelled(async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (accept(&listener).await, permit)
        })
        .await
    {
        while tasks.try_join_next().is_some() {}
        let admin = admin.clone();
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            serve(stream, admin, shutdown).await;
            drop(permit);
        });
    }
    // Dropping the set aborts what is left.
    let _ = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(%error, "admin port: accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, admin: Admin, shutdown: CancellationToken) {
    let service = service_fn(|request| {
        let admin = &admin;
        async move { Ok::<_, Infallible>(admin.respond(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "admin port: connection ended");
    }
}

impl Admin {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/metrics" if read => self.metrics(),
            "/live" if read => text(StatusCode::OK, "live\n"),
            "/ready" if read => self.ready(),
            "/log-level" if read => text(StatusCode::OK, format!("{}\n", self.log_level.get())),
            "/log-level" if request.method() == Method::PUT => self.set_log_level(request).await,
            "/log-level" => method_not_allowed("GET, HEAD, PUT"),
            "/metrics" | "/live" | "/ready" => method_not_allowed("GET, HEAD"),
            _ => text(StatusCode::NOT_FOUND, ROUTES),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut body = String::new();
        match encode(&mut body, &self.registry) {
            Ok(()) => response(StatusCode::OK, OPEN_METRICS, body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("encode metrics: {error}\n")),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let conditions = self.readiness.conditions();
        if conditions.is_empty() {
            text(StatusCode::OK, "ready\n")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, conditions.join("\n") + "\n")
        }
    }

    async fn set_log_level(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let body = timeout(BODY_TIMEOUT, Limited::new(request.into_body(), MAX_BODY).collect()).await;
        let Ok(Ok(body)) = body else {
            return text(
                StatusCode::BAD_REQUEST,
                format!("body: must arrive, and be at most {MAX_BODY} bytes\n"),
            );
        };
        let body = body.to_bytes();
        let Ok(filter) = str::from_utf8(&body) else {
            return text(StatusCode::BAD_REQUEST, "body: must be UTF-8\n");
        };
        match self.log_level.set(filter) {
            Ok(()) => {
                info!(filter = filter.trim(), "log filter changed");
                text(StatusCode::OK, format!("{}\n", self.log_level.get()))
            }
            Err(error @ LoggingError::NotOurs) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, TEXT, body)
}

fn method_not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("allowed: {allowed}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn response(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
    response
}

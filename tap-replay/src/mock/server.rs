//! The sockets of a mock: HTTP/1.0 and 1.1, with keep-alive and pipelining, over plain TCP.
//!
//! Bounded: connections, the size of heads and bodies, the time for a head, and the time to end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Mock,
    service::{Broken, Surroundings},
};
use crate::chaos::Breakable;

/// Half of what a process may open by a common soft limit of 1024, times the pools of many clients.
const MAX_CONNECTIONS: usize = 8_192;
/// Looked at between two reads, of which one may bring as much again.
const MAX_HEAD_BYTES: usize = 128 * 1024;
const MAX_HEADERS: usize = 256;
/// Kept of a request while it is matched.
const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// For a head, and between two requests on a connection: more than pools of clients wait.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// For answers that are on their way when the mock ends.
const DRAIN: Duration = Duration::from_secs(5);
/// After a failed accept, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket, and the host that answers there, if one does whatever `Host` says.
#[derive(Debug)]
pub struct Bound {
    pub socket: TcpListener,
    pub host: Option<String>,
}

/// Answers on all sockets until `stop` is cancelled; then lets the answers that are on their way end.
pub async fn serve(mock: Arc<Mock>, listeners: Vec<Bound>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let accepting = listeners.into_iter().map(|Bound { socket, host }| {
        let host: Option<Arc<str>> = host.map(Into::into);
        accept(Arc::clone(&mock), socket, host, Arc::clone(&places), connections.clone(), stop.clone())
    });
    futures::future::join_all(accepting).await;
    connections.close();
    // What does not end in time is cut off.
    let _ = time::timeout(DRAIN, connections.wait()).await;
}

async fn accept(
    mock: Arc<Mock>,
    socket: TcpListener,
    host: Option<Arc<str>>,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            mock.refused_connection();
            continue;
        };
        let (mock, host, stop) = (Arc::clone(&mock), host.clone(), stop.clone());
        connections.spawn(async move {
            connection(mock, stream, host, stop).await;
            drop(place);
        });
    }
}

async fn connection(mock: Arc<Mock>, stream: TcpStream, host: Option<Arc<str>>, stop: CancellationToken) {
    // Answers are written whole; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let (stream, breaker) = Breakable::new(stream);
    let surroundings = Arc::new(Surroundings { host, connection: mock.next_connection(), breaker });
    let service = service_fn(move |request: Request<Incoming>| {
        let (mock, surroundings) = (Arc::clone(&mock), Arc::clone(&surroundings));
        async move {
            let (head, body) = request.into_parts();
            let content = read(body).await?;
            mock.answer(head, content, &surroundings).await
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // What fails is the client's or was broken on purpose; neither is this program's.
    tokio::select! {
        _ = &mut serving => {}
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// The body of a request; `None` where it is too large to be matched.
async fn read(body: Incoming) -> Result<Option<Bytes>, Broken> {
    match time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_REQUEST_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(Some(collected.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Ok(None),
        // The client went away, or never said the rest.
        Ok(Err(_)) | Err(_) => Err(Broken),
    }
}

//! Connections to the target: opened when a request needs one, kept while the target keeps them.
//!
//! At most one connection per request in flight, so the plan's limit bounds them. The last one used is used
//! next: what a lower rate needs no longer idles until the target closes it.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{self, Instant},
};

use crate::{Target, request::Outgoing};

/// Bounds the head of an answer, and with it the memory of one connection.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// After an answer a connection is ready within microseconds. One that still writes its request (the target
/// answered early) is not worth waiting for.
const REUSE_WAIT: Duration = Duration::from_millis(100);

/// An open connection.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// Why there is no answer. The words are part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody listens.
    ConnectionRefused,
    /// Any other reason for which a connection could not be opened: an unknown name, no route.
    Connect,
    /// The target reset the connection.
    ConnectionReset,
    /// The target closed the connection before its answer was whole.
    IncompleteResponse,
    /// The answer is not HTTP.
    InvalidResponse,
    /// Not whole in the time that the plan allows.
    Timeout,
    /// Any other failure of the connection.
    Connection,
}

/// The connections to one target.
#[derive(Debug)]
pub(crate) struct Connections {
    target: Target,
    idle: Mutex<Vec<Connection>>,
}

impl Failure {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection_refused",
            Self::Connect => "connect",
            Self::ConnectionReset => "connection_reset",
            Self::IncompleteResponse => "incomplete_response",
            Self::InvalidResponse => "invalid_response",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
        }
    }

    pub(crate) fn of(error: &hyper::Error) -> Self {
        if error.is_incomplete_message() {
            return Self::IncompleteResponse;
        }
        if error.is_parse() {
            return Self::InvalidResponse;
        }
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return match error.kind() {
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::ConnectionReset,
                    io::ErrorKind::UnexpectedEof => Self::IncompleteResponse,
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::InvalidResponse,
                    _ => Self::Connection,
                };
            }
            source = error.source();
        }
        Self::Connection
    }
}

impl Connections {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, idle: Mutex::new(Vec::new()) }
    }

    /// Sends `request` and returns the head of the answer, with the connection it came on. Sets `written` when
    /// the request is handed to an open connection, so that it is known even if this future is dropped.
    pub(crate) async fn send(
        &self,
        mut request: Outgoing,
        written: &mut Option<Instant>,
    ) -> Result<(http::Response<hyper::body::Incoming>, Connection), Failure> {
        loop {
            let idle = self.take_idle();
            let reused = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.open().await?,
            };
            *written = Some(Instant::now());
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    // The target closed the idle connection before anything was written on it.
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(Failure::of(&error.into_error())),
                },
            }
        }
    }

    /// Gives back a connection whose answer was read to its end.
    pub(crate) async fn give_back(&self, mut connection: Connection) {
        if let Ok(Ok(())) = time::timeout(REUSE_WAIT, connection.ready()).await {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let address = (self.target.host(), self.target.port());
        let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::ConnectionRefused,
            io::ErrorKind::ConnectionReset => Failure::ConnectionReset,
            _ => Failure::Connect,
        })?;
        // Requests are written whole; waiting to fill a segment would only delay them.
        stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
        let (connection, driver) = http1::Builder::new()
            .title_case_headers(true)
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::of(&error))?;
        // Ends when `connection` is dropped. Its error is the one that the request gets.
        tokio::spawn(driver);
        Ok(connection)
    }
}

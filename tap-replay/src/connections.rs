//! Connections to one target: opened when a request needs one, kept while the target keeps them.
//!
//! HTTP/1.1 of our own, because a send is the inner loop of a replay: one write, one read, no task and no
//! allocation for a request on an open connection; the answer is handed on as it comes, and nothing of it is
//! kept. At most one connection per request in flight, so the plan's limit bounds them. The last one used is
//! used next: what a lower rate needs no longer idles until the target closes it.

mod connection;
mod framing;
mod head;
mod stream;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::{ClientConfig, pki_types::ServerName};

pub(crate) use self::head::Head;
use self::{
    connection::{Broken, Connection},
    stream::Stream,
};
use crate::{Target, chaos::BodyFaults, request::Outgoing};

/// Why there is no answer. The words are part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens.
    ConnectionRefused,
    /// Any other reason for which a connection could not be opened: an unknown name, no route.
    Connect,
    /// TLS could not be agreed on, or the target's certificate is not trusted.
    Tls,
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
    /// The request was cut or reset on purpose.
    Chaos,
}

/// Where connections go, and how they are secured.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    target: Target,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// The connections to one target.
#[derive(Debug)]
pub(crate) struct Connections {
    upstream: Upstream,
    idle: Mutex<Vec<Connection>>,
    opened: AtomicU64,
}

/// Takes an answer as it comes.
pub(crate) trait Receiver {
    /// The request is handed to an open connection.
    fn written(&mut self);
    /// The head of the final answer.
    fn head(&mut self, head: &Head<'_>);
    /// The next bytes of its body.
    fn chunk(&mut self, chunk: &[u8]);
}

impl Failure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection_refused",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::ConnectionReset => "connection_reset",
            Self::IncompleteResponse => "incomplete_response",
            Self::InvalidResponse => "invalid_response",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Chaos => "chaos",
        }
    }

    /// Whether no connection came about.
    pub(crate) fn is_of_connect(self) -> bool {
        matches!(self, Self::ConnectionRefused | Self::Connect | Self::Tls)
    }

    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::ConnectionReset,
            io::ErrorKind::UnexpectedEof => Self::IncompleteResponse,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::InvalidResponse,
            _ => Self::Connection,
        }
    }
}

impl Upstream {
    /// `tls` is there exactly for https targets ([`crate::plan::tls`]).
    pub(crate) fn new(target: Target, tls: Option<(Arc<ClientConfig>, ServerName<'static>)>) -> Self {
        Self { target, tls }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

impl Connections {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self { upstream, idle: Mutex::default(), opened: AtomicU64::new(0) }
    }

    /// Sends `request` and gives the answer to `receiver`. Dropping the future closes the connection.
    ///
    /// A target may close an idle connection at the very moment of a send. A request that may be repeated
    /// without effect (RFC 9110, 9.2.2) is then sent again on a new connection, once.
    pub(crate) async fn send(&self, request: &Outgoing, receiver: &mut impl Receiver) -> Result<(), Failure> {
        if let Some(mut connection) = self.take_idle() {
            receiver.written();
            match connection.exchange(request, receiver).await {
                Ok(reusable) => {
                    self.give_back(connection, reusable);
                    return Ok(());
                }
                Err(Broken { failure, silent }) => {
                    let closed = matches!(failure, Failure::IncompleteResponse | Failure::ConnectionReset);
                    if !(silent && closed && request.is_idempotent) {
                        return Err(failure);
                    }
                }
            }
        }
        let mut connection = self.open().await?;
        receiver.written();
        let reusable =
            connection.exchange(request, receiver).await.map_err(|Broken { failure, .. }| failure)?;
        self.give_back(connection, reusable);
        Ok(())
    }

    /// Sends `request` with what goes wrong in its body, on a connection of its own that is not used again. A cut
    /// ends the connection: by a reset where `resets`. `receiver` gets the answer, if there is one.
    pub(crate) async fn send_faulty(
        &self,
        request: &Outgoing,
        faults: BodyFaults,
        resets: bool,
        receiver: &mut impl Receiver,
    ) -> Result<(), Failure> {
        let mut connection = self.open().await?;
        receiver.written();
        connection.exchange_faulty(request, faults, resets, receiver).await
    }

    /// Connections opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn give_back(&self, connection: Connection, reusable: bool) {
        if reusable {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let Upstream { target, tls } = &self.upstream;
        let stream = Stream::open(target.host(), target.port(), tls.as_ref()).await?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Connection::new(stream))
    }
}

//! What stands between clients and the S3 server of the tests: it puts conditional writes in a row, and it can be told to
//! misbehave as networks, disks and rights do.
//!
//! The server checks a condition and then writes, in two steps: of two that write the same new object at the same time, both may
//! be told that they did. A bucket promises that one is. So those requests pass one at a time.
//!
//! One request for a connection. Signatures stay valid: nothing is changed but a header that is not signed.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// Of a request's head; those of clients of S3 are a few hundred bytes.
const MAX_HEAD: u64 = 64 * 1024;
const MAX_BODY: usize = 256 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(60);

/// How the front treats requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Passes everything on.
    Pass,
    /// Answers 403 to everything but GET and HEAD, as for credentials that may only read.
    ReadOnly,
    /// Answers 403 to everything.
    Deny,
    /// Answers 503, as a bucket that is asked too often.
    Throttle,
    /// Closes every connection at once.
    HangUp,
    /// Passes writes on after this time.
    Slow(Duration),
}

/// A listening socket, and a thread for each connection.
#[derive(Debug)]
pub struct S3Front {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    conduct: Mutex<Conduct>,
    /// Held by the conditional write that is under way.
    one_at_a_time: Mutex<()>,
    /// By method and status.
    answers: Mutex<BTreeMap<(String, u16), u64>>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct Request {
    method: String,
    /// With its empty line.
    head: Vec<u8>,
    body: Vec<u8>,
    is_conditional: bool,
}

impl S3Front {
    /// Listens at `address` in front of `server`.
    pub fn start(address: Ipv4Addr, server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).context("bind the S3 front")?;
        let address = listener.local_addr().context("the S3 front's port")?;
        let shared = Arc::new(Shared {
            server,
            conduct: Mutex::new(Conduct::Pass),
            one_at_a_time: Mutex::default(),
            answers: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for connection in listener.incoming() {
                    if shared.ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let (Ok(connection), shared) = (connection, Arc::clone(&shared)) else { continue };
                    // A client that goes away is no trouble of the front's.
                    thread::spawn(move || shared.serve(connection));
                }
            }
        });
        Ok(Self { shared, address, acceptor: Some(acceptor) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on, for requests that come then.
    pub fn conduct(&self, conduct: Conduct) {
        *lock(&self.shared.conduct) = conduct;
    }

    /// How many requests of `method` were answered with `status`.
    pub fn answered(&self, method: &str, status: u16) -> u64 {
        lock(&self.shared.answers).get(&(method.to_owned(), status)).copied().unwrap_or_default()
    }
}

impl Drop for S3Front {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the acceptor, where its network namespace is this thread's. Else it waits on, for the process to end.
        if TcpStream::connect(self.address).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(TIMEOUT))?;
        client.set_write_timeout(Some(TIMEOUT))?;
        let conduct = *lock(&self.conduct);
        if conduct == Conduct::HangUp {
            return client.shutdown(Shutdown::Both);
        }
        let Some(request) = Request::read(&mut BufReader::new(&client))? else { return Ok(()) };
        let changes = !matches!(request.method.as_str(), "GET" | "HEAD");
        let answer = match conduct {
            Conduct::Deny => refusal(403, "Forbidden", "AccessDenied"),
            Conduct::ReadOnly if changes => refusal(403, "Forbidden", "AccessDenied"),
            Conduct::Throttle => refusal(503, "Service Unavailable", "SlowDown"),
            Conduct::Slow(delay) if changes => {
                thread::sleep(delay);
                self.pass(&request)?
            }
            Conduct::Pass | Conduct::ReadOnly | Conduct::Slow(_) | Conduct::HangUp => self.pass(&request)?,
        };
        let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        *lock(&self.answers).entry((request.method, status.unwrap_or_default())).or_default() += 1;
        client.write_all(&answer)
    }

    /// What the server answers, whole.
    fn pass(&self, request: &Request) -> io::Result<Vec<u8>> {
        let _turn = request.is_conditional.then(|| lock(&self.one_at_a_time));
        let mut server = TcpStream::connect(self.server)?;
        server.set_read_timeout(Some(TIMEOUT))?;
        server.write_all(&request.head)?;
        server.write_all(&request.body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

impl Request {
    /// `None` where the client ended the connection instead.
    fn read(client: &mut impl io::BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        let (mut length, mut is_conditional) = (0, false);
        let mut lines = client.by_ref().take(MAX_HEAD);
        loop {
            let begin = head.len();
            if lines.read_until(b'\n', &mut head)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&head[begin..]).trim_end().to_ascii_lowercase();
            if line.is_empty() {
                head.truncate(begin);
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            is_conditional |= line.starts_with("if-none-match:") || line.starts_with("if-match:");
            if line.starts_with("connection:") {
                head.truncate(begin);
            }
        }
        // The answer then ends with the connection, on both sides of the front.
        head.extend_from_slice(b"connection: close\r\n\r\n");
        if length > MAX_BODY {
            return Err(io::Error::other("the request's body is too large for a test"));
        }
        let mut body = vec![0; length];
        client.read_exact(&mut body)?;
        let method = head.split(|byte| *byte == b' ').next().unwrap_or_default();
        let method = String::from_utf8_lossy(method).into_owned();
        let is_conditional = is_conditional && method == "PUT";
        Ok(Some(Self { method, head, body, is_conditional }))
    }
}

fn refusal(status: u16, reason: &str, code: &str) -> Vec<u8> {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{reason}</Message></Error>");
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

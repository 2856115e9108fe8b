//! The ways to send that are tried: each ends in the same kind of packets, or so the kernel's sources say.

use std::{
    fs::File,
    io::{self, IoSlice, Read as _, Seek as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::not_here;

/// More than one page, less than what sockets buffer.
const SMALL: usize = 10_000;

/// Several of the largest segments.
const LARGE: usize = 512 * 1024;

/// One way to send.
pub(super) struct Path {
    pub(super) name: &'static str,
    pub(super) address: IpAddr,
    bytes: usize,
    send: fn(&mut TcpStream, &[u8]) -> io::Result<()>,
}

/// What was sent and received.
pub(super) struct Sent {
    pub(super) bytes: usize,
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

pub(super) const PATHS: [Path; 8] = [
    Path { name: "send", address: V4, bytes: SMALL, send: |stream, bytes| stream.write_all(bytes) },
    Path { name: "ipv6", address: V6, bytes: SMALL, send: |stream, bytes| stream.write_all(bytes) },
    Path { name: "large_gso", address: V4, bytes: LARGE, send: |stream, bytes| stream.write_all(bytes) },
    Path { name: "writev", address: V4, bytes: SMALL, send: writev },
    Path { name: "sendfile", address: V4, bytes: SMALL, send: sendfile },
    Path { name: "splice", address: V4, bytes: SMALL, send: splice },
    Path {
        name: "zerocopy",
        address: V4,
        bytes: SMALL,
        send: |_, _| Err(not_here("this build has no MSG_ZEROCOPY")),
    },
    Path {
        name: "io_uring",
        address: V4,
        bytes: SMALL,
        send: |_, _| Err(not_here("this build has no io_uring")),
    },
];

/// Both ends of a connection of the agent to itself.
pub(super) struct Connection {
    client: TcpStream,
    server: TcpStream,
    port: u16,
}

pub(super) fn connect(address: IpAddr) -> io::Result<Connection> {
    let listener = TcpListener::bind(SocketAddr::new(address, 0))?;
    let to = listener.local_addr()?;
    let client = TcpStream::connect(to)?;
    let (server, _) = listener.accept()?;
    Ok(Connection { client, server, port: to.port() })
}

impl Connection {
    /// The server's.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Sends in the path's way, and receives it all at the other end.
    pub(super) fn send(self, path: &Path, patience: Duration) -> io::Result<Sent> {
        let Self { mut client, mut server, port: _ } = self;
        client.set_write_timeout(Some(patience))?;
        server.set_read_timeout(Some(patience))?;
        let bytes = text(path.bytes);
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let sent = (path.send)(&mut client, &bytes);
                // Also after a failure, or the receiver would wait for more.
                client.shutdown(std::net::Shutdown::Write).and(sent)
            });
            let mut received = Vec::new();
            let read = server.read_to_end(&mut received);
            sender.join().unwrap_or_else(|_| Err(io::Error::other("the sender panicked")))?;
            read?;
            if received == bytes {
                Ok(Sent { bytes: bytes.len() })
            } else {
                Err(io::Error::other("it arrived changed"))
            }
        })
    }
}

/// The beginning of a request: all of what begins so is copied.
fn text(len: usize) -> Vec<u8> {
    b"GET /podtap-self-test".iter().copied().cycle().take(len).collect()
}

fn writev(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (first, second) = rest.split_at(rest.len() / 2);
        let written = stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// `io::copy` from a file to a socket is sendfile(2), on Linux.
fn sendfile(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    // A file without a name: a container's file system may be read-only.
    let mut file = File::from(memfd_create("podtap-self-test", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    io::copy(&mut file, stream).map(drop)
}

/// `io::copy` from a pipe to a socket is splice(2), on Linux.
fn splice(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let (mut reader, mut writer) = io::pipe()?;
    // A pipe holds 64 KiB.
    writer.write_all(bytes)?;
    drop(writer);
    io::copy(&mut reader, stream).map(drop)
}

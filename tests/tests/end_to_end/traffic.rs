//! Clients: the real ones, and a plain socket for what they would not send.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

/// Runs curl; gives the body that it got.
pub(crate) fn curl(arguments: &[&str]) -> Vec<u8> {
    // No HTTP proxy of the environment: the traffic is for this machine.
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--max-time", "60"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a program; gives what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Sends bytes as they are and gives everything that comes back until the server closes.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Sends bytes and closes this side; what comes back, or that it was reset, does not matter.
pub(crate) fn throw(address: SocketAddr, request: &[u8]) {
    let mut stream = connect(address);
    // The server may refuse in the middle.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Text of a size, which redaction leaves as it is.
pub(crate) fn text(size: usize) -> String {
    "all work and no play\n".chars().cycle().take(size).collect()
}

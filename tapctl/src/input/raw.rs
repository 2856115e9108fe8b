//! Raw HTTP/1: a request, a response, or a request and its response one after the other.
//!
//! Parsed by what parses captured traffic, after making it a connection that opens and closes around it. A body
//! without a length goes to the end of the file.

use std::net::SocketAddr;

use tap_flow::{Assembler, CgroupId, Direction, Exchange, FlowKey, Limits, Segment, TapId, TcpFlags};

use super::{InputError, path_of};

/// Larger than any file that fits into memory is read for.
const MAX_BODY: usize = 1 << 30;

pub(super) fn exchanges(content: &[u8]) -> Result<Vec<(String, Exchange)>, InputError> {
    let response_at = response_start(content);
    let (request, response) = content.split_at(response_at.unwrap_or(content.len()));
    if response_at.is_none() && !is_request(content) {
        return Err(InputError::Unknown);
    }
    let request = with_length(request);
    let mut assembler = Assembler::new(Limits { body_bytes: MAX_BODY, ..Limits::default() });
    let key = FlowKey {
        tap: TapId(1),
        local: SocketAddr::from(([127, 0, 0, 1], 80)),
        remote: SocketAddr::from(([127, 0, 0, 1], 1024)),
    };
    let mut exchanges = Vec::new();
    let mut push = |direction, flags, sequence, payload: &[u8]| {
        let segment =
            Segment { key, cgroup: CgroupId(1), direction, time: 1, sequence, flags, payload, cut: 0 };
        assembler.push(segment, &mut |exchange| exchanges.push(exchange));
    };
    push(Direction::Ingress, TcpFlags::SYN, 0, b"");
    push(Direction::Egress, TcpFlags::SYN | TcpFlags::ACK, 0, b"");
    let end = |sent: &[u8]| 1 + u32::try_from(sent.len()).unwrap_or(u32::MAX - 1);
    push(Direction::Ingress, TcpFlags::ACK, 1, &request);
    push(Direction::Ingress, TcpFlags::FIN | TcpFlags::ACK, end(&request), b"");
    push(Direction::Egress, TcpFlags::ACK, 1, response);
    push(Direction::Egress, TcpFlags::FIN | TcpFlags::ACK, end(response), b"");
    assembler.finish(&mut |exchange| exchanges.push(exchange));
    if exchanges.is_empty() {
        return Err(InputError::Http);
    }
    Ok(exchanges.into_iter().map(|exchange| (name(&exchange), exchange)).collect())
}

fn name(exchange: &Exchange) -> String {
    match (&exchange.request, &exchange.response) {
        (Some(request), _) => {
            let target = String::from_utf8_lossy(&request.target);
            format!("{} {}", String::from_utf8_lossy(&request.method), path_of(&target))
        }
        (None, Some(response)) => format!("response {}", response.status),
        (None, None) => String::new(),
    }
}

/// Where the response begins: at a status line at the start of a line.
fn response_start(content: &[u8]) -> Option<usize> {
    if is_status_line(content) {
        return Some(0);
    }
    let lines = content.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    lines.into_iter().find(|start| is_status_line(&content[*start..]))
}

fn is_status_line(line: &[u8]) -> bool {
    line.starts_with(b"HTTP/1.")
        && line.get(8) == Some(&b' ')
        && line.get(9..12).is_some_and(|status| status.iter().all(u8::is_ascii_digit))
}

/// Whether the first line ends as a request's does.
fn is_request(content: &[u8]) -> bool {
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

/// The request, with the length of what is behind its head where it says none, as of one that was typed.
fn with_length(request: &[u8]) -> Vec<u8> {
    let head = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().filter_map(|end| {
        request.windows(end.len()).position(|window| window == end).map(|at| (at, end.len()))
    });
    let Some((end, gap)) = head.min() else { return request.to_vec() };
    let body = &request[end + gap..];
    let lower = request[..end].to_ascii_lowercase();
    let has = |name: &[u8]| lower.windows(name.len()).any(|window| window == name);
    if body.trim_ascii().is_empty() || has(b"\ncontent-length:") || has(b"\ntransfer-encoding:") {
        return request.to_vec();
    }
    [&request[..end], format!("\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

//! Ports for servers that can't tell which port the kernel chose for them.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Result, bail};

/// Below the range from which the kernel takes the ports of outgoing connections, so that no client
/// comes to sit on one between its choice and its use.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// A port on which nothing listens, never given twice by this process.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let size = RANGE.end - RANGE.start;
    // Processes that run side by side begin at different places.
    let first = (process::id().wrapping_mul(97) % u32::from(size)) as u16;
    for _ in 0..size {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % size;
        let port = RANGE.start + offset;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", RANGE.start, RANGE.end)
}

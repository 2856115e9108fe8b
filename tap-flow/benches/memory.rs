//! What memory does a connection cost, and does the assembler's own estimate tell the truth?
//!
//! For 1,000 and for 50,000 connections: after an exchange on each, with half a head on each, with an upload of 2,000 bytes begun on
//! each, and after all were closed. What the process has gained of its own memory (`RssAnon`) is printed beside
//! [`Assembler::memory`]. One process for each number, as memory that was freed is not given back at once.
//!
//! `cargo xtask bench memory`, or `cargo bench -p tap-flow --bench memory`

#![expect(clippy::print_stdout, reason = "prints its result")]

use std::{env, fs, net::SocketAddr, process::Command};

use tap_flow::{Assembler, CgroupId, Direction, FlowKey, Limits, Segment, TapId, TcpFlags};

const NUMBERS: [u32; 2] = [1_000, 50_000];

const REQUEST: &str = "GET /api/v1/carts/42 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const HALF: &str = "GET /api/v1/carts/42 HTTP/1.1\r\nHost: shop.example\r\n";
const REST: &str = "Content-Length: 100000\r\n\r\n";

struct Connections {
    assembler: Assembler,
    /// Of each direction, the same on all connections.
    sequences: [u32; 2],
    count: u32,
    before: u64,
}

impl Connections {
    fn open(count: u32) -> Self {
        let limits = Limits { flows: 1 << 17, total_bytes: 1 << 30, ..Limits::default() };
        let before = resident_bytes();
        let mut connections = Self { assembler: Assembler::new(limits), sequences: [0, 0], count, before };
        connections.each(Direction::Ingress, TcpFlags::SYN, b"");
        connections.each(Direction::Egress, TcpFlags::SYN | TcpFlags::ACK, b"");
        connections
    }

    fn each(&mut self, direction: Direction, flags: TcpFlags, payload: &[u8]) {
        let sequence = self.sequences[direction as usize];
        for number in 0..self.count {
            let [_, a, b, c] = number.to_be_bytes();
            let key = FlowKey {
                tap: TapId(1),
                local: SocketAddr::from(([10, 0, 0, 1], 80)),
                remote: SocketAddr::from(([10, a, b, c], 40_000)),
            };
            let segment =
                Segment { key, cgroup: CgroupId(1), direction, time: 1, sequence, flags, payload, cut: 0 };
            self.assembler.push(segment, &mut drop);
        }
        let consumed = payload.len() as u32 + u32::from(flags.contains(TcpFlags::SYN));
        self.sequences[direction as usize] = sequence.wrapping_add(consumed);
    }

    fn say(&mut self, direction: Direction, text: &str) {
        self.each(direction, TcpFlags::ACK, text.as_bytes());
    }

    fn report(&self, moment: &str) {
        let gained = resident_bytes().saturating_sub(self.before);
        let estimate = self.assembler.memory() as u64;
        let each = u64::from(self.count);
        println!(
            "{:>6} {moment:24} {:9} KiB  {:6} B each   estimate {:9} KiB  {:6} B each",
            self.count,
            gained >> 10,
            gained / each,
            estimate >> 10,
            estimate / each,
        );
    }
}

fn measure(count: u32) {
    let mut connections = Connections::open(count);
    connections.report("opened");
    connections.say(Direction::Ingress, REQUEST);
    connections.say(Direction::Egress, RESPONSE);
    connections.report("an exchange on each");
    connections.say(Direction::Ingress, HALF);
    connections.report("half a head on each");
    connections.say(Direction::Ingress, REST);
    connections.say(Direction::Ingress, &"x".repeat(2000));
    connections.report("an upload begun on each");
    connections.each(Direction::Ingress, TcpFlags::RST, b"");
    connections.report("closed, remembered");
    connections.assembler.expire(u64::MAX, &mut drop);
    connections.report("forgotten");
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() << 10
}

fn main() {
    if let Some(count) = env::args().skip(1).find_map(|argument| argument.parse().ok()) {
        measure(count);
        return;
    }
    for count in NUMBERS {
        let child = env::current_exe().and_then(|own| Command::new(own).arg(count.to_string()).status());
        assert!(child.is_ok_and(|status| status.success()), "the measurement of {count} connections failed");
    }
}

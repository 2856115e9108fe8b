//! What share of bare `httparse`'s throughput does the pipeline keep on the same bytes?
//!
//! Bare `httparse` parses the same heads and steps over the bodies, and keeps nothing. The pipeline looks the
//! flow up, reassembles, frames, keeps headers and bodies, pairs, and accounts for every byte. Rounds of
//! both alternate, the baseline on both sides; medians and the baseline's own spread are printed.
//!
//! `cargo bench -p tap-flow [-- PART OF A NAME]`

#![expect(clippy::print_stdout, reason = "prints its result")]

use std::{hint::black_box, net::SocketAddr, time::Duration};

use nix::time::{ClockId, clock_gettime};
use tap_flow::{Assembler, CgroupId, Direction, FlowKey, Limits, Segment, TapId, TcpFlags};

const FLOWS: u16 = 64;
/// Enough that what a round begins and ends with does not count.
const EXCHANGES: usize = 100_000;
const ROUNDS: usize = 9;

struct Scenario {
    name: &'static str,
    request: Vec<u8>,
    response: Vec<u8>,
}

fn scenarios() -> Vec<Scenario> {
    let small_request = "GET /api/v1/carts/42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8.5.0\r\n\
        Accept: */*\r\n\r\n";
    let browser = "GET /api/v1/carts/42?expand=items HTTP/1.1\r\nHost: shop.example\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
        Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
        Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nConnection: keep-alive\r\n\
        Upgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n\r\n";
    let response = |length: usize| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 14:05:00 GMT\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
        );
        [head.into_bytes(), vec![b'x'; length]].concat()
    };
    vec![
        Scenario { name: "curl, 200 B", request: small_request.into(), response: response(200) },
        Scenario { name: "browser, 1 KiB", request: browser.into(), response: response(1024) },
        Scenario { name: "curl, 32 KiB", request: small_request.into(), response: response(32 << 10) },
    ]
}

/// Seconds for one round of bare parsing.
fn baseline(scenario: &Scenario) -> f64 {
    let started = seconds();
    for _ in 0..EXCHANGES {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        assert!(request.parse(black_box(&scenario.request)).is_ok_and(|status| status.is_complete()));
        black_box(&request);
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        assert!(response.parse(black_box(&scenario.response)).is_ok_and(|status| status.is_complete()));
        black_box(&response);
    }
    seconds() - started
}

/// Seconds for one round of the pipeline.
fn pipeline(scenario: &Scenario) -> f64 {
    let mut assembler = Assembler::new(Limits::default());
    let mut exchanges = 0;
    let keys: Vec<FlowKey> = (0..FLOWS)
        .map(|flow| FlowKey {
            tap: TapId(1),
            local: SocketAddr::from(([10, 0, 0, 1], 80)),
            remote: SocketAddr::from(([10, 0, 0, 2], 1024 + flow)),
        })
        .collect();
    let mut push = |key: FlowKey, direction, flags, sequence, payload: &[u8]| {
        let segment =
            Segment { key, cgroup: CgroupId(1), direction, time: 1, sequence, flags, payload, cut: 0 };
        assembler.push(segment, &mut |exchange| {
            exchanges += usize::from(exchange.request.is_some() && exchange.response.is_some());
            black_box(exchange);
        });
    };
    for key in &keys {
        push(*key, Direction::Ingress, TcpFlags::SYN, 0, b"");
        push(*key, Direction::Egress, TcpFlags::SYN | TcpFlags::ACK, 0, b"");
    }
    let (mut asked, mut answered) = (1, 1);
    let started = seconds();
    for at in 0..EXCHANGES {
        let key = keys[at % keys.len()];
        push(key, Direction::Ingress, TcpFlags::ACK, asked, black_box(&scenario.request));
        push(key, Direction::Egress, TcpFlags::ACK, answered, black_box(&scenario.response));
        if at % keys.len() == keys.len() - 1 {
            asked = asked.wrapping_add(scenario.request.len() as u32);
            answered = answered.wrapping_add(scenario.response.len() as u32);
        }
    }
    let elapsed = seconds() - started;
    assert_eq!(exchanges, EXCHANGES);
    elapsed
}

/// Time on a processor of this thread, in seconds: a busy machine stretches the wall clock.
fn seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every kernel has this clock");
    Duration::from(time).as_secs_f64()
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    println!(
        "scenario          httparse   httparse   pipeline   ratio  (ns per exchange; ratio of throughputs)"
    );
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for scenario in scenarios().into_iter().filter(|scenario| scenario.name.contains(&only)) {
        let (mut before, mut after, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            before.push(baseline(&scenario));
            ours.push(pipeline(&scenario));
            after.push(baseline(&scenario));
        }
        let (before, after, ours) = (median(before), median(after), median(ours));
        let nanoseconds = |seconds: f64| seconds * 1e9 / EXCHANGES as f64;
        println!(
            "{:16} {:9.0}  {:9.0}  {:9.0}   {:5.2}",
            scenario.name,
            nanoseconds(before),
            nanoseconds(after),
            nanoseconds(ours),
            (before + after) / 2.0 / ours
        );
    }
}

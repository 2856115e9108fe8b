//! What does each stage of a ring's thread cost: segments → exchanges → redacted → batch → compressed?
//!
//! Each row runs the path up to a stage on the same segments, 64 connections with requests and responses in turns; the difference of
//! two rows is what the stage costs. Bare `httparse` parses the same heads and keeps nothing. All rows take turns within one
//! run, `httparse` at both ends of it; medians of the time that the thread had on a processor are printed.
//!
//! `cargo xtask bench pipeline`, or `cargo bench -p tap-agent --bench pipeline [-- PART OF A SCENARIO'S NAME]`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "prints its result; a benchmark panics")]

use std::{hint::black_box, net::SocketAddr, time::Duration};

use nix::time::{ClockId, clock_gettime};
use tap_agent::{
    batch::{OpenBatch, SealedBatch},
    clock::WallClock,
    export::{Attribution, Exporter},
    registry::{Details, TargetKey},
};
use tap_flow::{Assembler, CgroupId, Direction, Exchange, FlowKey, Limits, Segment, TapId, TcpFlags};
use tap_redact::{Key, Redactor, Settings};

const FLOWS: u16 = 64;
/// Enough that what a round begins and ends with does not count.
const EXCHANGES: usize = 20_000;
const ROUNDS: usize = 9;

/// How far the path is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Httparse,
    Exchanges,
    Redacted,
    Batch,
    Compressed(i32),
}

const STAGES: [Stage; 7] = [
    Stage::Httparse,
    Stage::Exchanges,
    Stage::Redacted,
    Stage::Batch,
    Stage::Compressed(1),
    Stage::Compressed(3),
    Stage::Httparse,
];

struct Scenario {
    name: &'static str,
    request: Vec<u8>,
    response: Vec<u8>,
}

fn scenarios() -> Vec<Scenario> {
    let small = "GET /api/v1/carts/42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8.5.0\r\n\
        Accept: */*\r\n\r\n";
    let browser = "GET /api/v1/carts/42?expand=items HTTP/1.1\r\nHost: shop.example\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
        Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
        Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nConnection: keep-alive\r\n\r\n";
    let response = |items: usize| {
        let item = r#"{"sku":"b-1138","title":"Folding bicycle","count":1,"price":{"amount":"749.00","currency":"EUR"}}"#;
        let body = format!("[{}]", vec![item; items].join(","));
        format!(
            "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 14:05:00 GMT\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    vec![
        Scenario { name: "curl, 200 B", request: small.into(), response: response(2) },
        Scenario { name: "browser, 1 KiB", request: browser.into(), response: response(10) },
        Scenario { name: "curl, 32 KiB", request: small.into(), response: response(320) },
    ]
}

/// What is behind the assembler.
struct Path {
    stage: Stage,
    redactor: Redactor,
    exporter: Exporter,
    clock: WallClock,
    details: Details,
    batch: OpenBatch,
    exchanges: usize,
    bytes: usize,
}

impl Path {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            redactor: Redactor::new(&Settings::default(), Key::new(b"a key for benchmarks alone").unwrap())
                .unwrap(),
            exporter: Exporter::new("node", 1, 0),
            clock: WallClock::sample(),
            details: Details::default(),
            batch: OpenBatch::default(),
            exchanges: 0,
            bytes: 0,
        }
    }

    fn take(&mut self, exchange: Exchange) {
        self.exchanges += 1;
        if self.stage <= Stage::Exchanges {
            black_box(exchange);
            return;
        }
        let redacted = self.redactor.redact(exchange);
        if self.stage == Stage::Redacted {
            black_box(redacted);
            return;
        }
        let target = Attribution { name: "web", details: &self.details, container: None };
        let message = self.exporter.export(redacted, &target, &self.clock);
        let closed = self.batch.push(TargetKey(0), message, 0).unwrap();
        self.close(closed);
    }

    fn close(&mut self, batch: Option<SealedBatch>) {
        let Some(SealedBatch { encoded, amounts: _ }) = batch else { return };
        self.bytes += match self.stage {
            Stage::Compressed(level) => zstd::bulk::compress(&encoded, level).unwrap().len(),
            _ => encoded.len(),
        };
    }
}

/// Seconds and bytes of one round.
fn round(scenario: &Scenario, stage: Stage) -> (f64, usize) {
    if stage == Stage::Httparse {
        return (httparse_alone(scenario), 0);
    }
    let mut path = Path::new(stage);
    let mut assembler = Assembler::new(Limits::default());
    let keys: Vec<FlowKey> = (0..FLOWS)
        .map(|flow| FlowKey {
            tap: TapId(1),
            local: SocketAddr::from(([10, 0, 0, 1], 80)),
            remote: SocketAddr::from(([10, 0, 0, 2], 1024 + flow)),
        })
        .collect();
    let mut push = |path: &mut Path, key: FlowKey, direction, flags, sequence, payload: &[u8]| {
        let segment =
            Segment { key, cgroup: CgroupId(1), direction, time: 1, sequence, flags, payload, cut: 0 };
        assembler.push(segment, &mut |exchange| path.take(exchange));
    };
    for key in &keys {
        push(&mut path, *key, Direction::Ingress, TcpFlags::SYN, 0, b"");
        push(&mut path, *key, Direction::Egress, TcpFlags::SYN | TcpFlags::ACK, 0, b"");
    }
    let (mut asked, mut answered) = (1, 1);
    let started = seconds();
    for at in 0..EXCHANGES {
        let key = keys[at % keys.len()];
        push(&mut path, key, Direction::Ingress, TcpFlags::ACK, asked, black_box(&scenario.request));
        push(&mut path, key, Direction::Egress, TcpFlags::ACK, answered, black_box(&scenario.response));
        if at % keys.len() == keys.len() - 1 {
            asked = asked.wrapping_add(scenario.request.len() as u32);
            answered = answered.wrapping_add(scenario.response.len() as u32);
        }
    }
    let last = path.batch.seal();
    path.close(last);
    let elapsed = seconds() - started;
    assert_eq!(path.exchanges, EXCHANGES);
    (elapsed, path.bytes)
}

fn httparse_alone(scenario: &Scenario) -> f64 {
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
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for scenario in scenarios().into_iter().filter(|scenario| scenario.name.contains(&only)) {
        let mut times = STAGES.map(|_| Vec::new());
        let mut sizes = STAGES.map(|_| 0);
        for _ in 0..ROUNDS {
            for (at, stage) in STAGES.into_iter().enumerate() {
                let (elapsed, bytes) = round(&scenario, stage);
                times[at].push(elapsed);
                sizes[at] = bytes;
            }
        }
        let nanoseconds = times.map(|times| median(times) * 1e9 / EXCHANGES as f64);
        let baseline = (nanoseconds[0] + nanoseconds[STAGES.len() - 1]) / 2.0;
        println!(
            "{}: ns per exchange up to the stage, its own, throughput beside httparse, bytes out",
            scenario.name
        );
        for (at, stage) in STAGES.into_iter().enumerate() {
            let before = match stage {
                Stage::Httparse | Stage::Exchanges => 0.0,
                // All compress what the stage before them gives.
                Stage::Compressed(_) => nanoseconds[3],
                Stage::Redacted | Stage::Batch => nanoseconds[at - 1],
            };
            println!(
                "  {:16} {:9.0} {:9.0} {:7.2} {:9}",
                format!("{stage:?}").to_lowercase(),
                nanoseconds[at],
                nanoseconds[at] - before,
                baseline / nanoseconds[at],
                sizes[at] / EXCHANGES,
            );
        }
    }
}

//! How many exchanges a second can a collector make durable with one core, and what does each cost on disk?
//!
//! A collector in a process of its own, with its table in a directory and a commit every second; agents stream batches to it by
//! gRPC on the loopback device, compressed as the real ones do, for a bounded time. Each exchange has a response body of 1 KiB, JSON of a few
//! changing values. What counts is the collector's CPU time, as the agents share the machine with it:
//!
//! | told | is |
//! |---|---|
//! | exchanges/s | durable in the table, by the clock |
//! | exchanges/s a core | by the collector's CPU time, user and system |
//! | bytes on disk | of data files and log, for an exchange |
//! | wire bytes | before compression, for an exchange |
//! | memory | the collector's largest resident set |
//!
//! `PODTAP_BENCH_SECONDS` (15) is how long the agents send, `PODTAP_BENCH_AGENTS` (4) how many they are.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark that prints and panics")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message as _;
use prost_types::Timestamp;
use tap_proto::v1::{
    Batch, Body, Endpoint, Exchange, Header, Hello, IngestRequest, Request, Response, Role, body::Content,
    ingest_request, ingest_response, ingest_service_client::IngestServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{codec::CompressionEncoding::Zstd, transport::Channel};
use uuid::Uuid;

const EXCHANGES_PER_BATCH: usize = 256;
/// Different batches of an agent, which it sends again and again under new ids.
const TEMPLATES: usize = 16;
const BODY_BYTES: usize = 1024;
/// On their way to one collector: enough to keep it busy between two acknowledgements.
const BATCHES_ON_THE_WAY: u64 = 64;

#[tokio::main]
async fn main() {
    let seconds = number("PODTAP_BENCH_SECONDS", 15);
    let agents = number("PODTAP_BENCH_AGENTS", 4);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let mut collector = Collector::start(&table);
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Instant::now();
    let cpu_before = collector.cpu();
    let agents: Vec<_> = (1..=agents)
        .map(|number| tokio::spawn(send(collector.url.clone(), number, Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut exchanges, mut wire_bytes) = (0, 0);
    for agent in agents {
        let (stored, bytes) = agent.await.unwrap();
        exchanges += stored;
        wire_bytes += bytes;
    }
    let (elapsed, cpu) = (begin.elapsed().as_secs_f64(), collector.cpu() - cpu_before);
    let memory = collector.most_memory();
    let commits = fs::read_dir(table.join("exchanges/_delta_log")).unwrap().count();
    let count = exchanges as f64;
    println!("exchanges            {exchanges} in {elapsed:.1} s, {commits} files in the log");
    println!("exchanges/s          {:.0}", count / elapsed);
    println!("exchanges/s a core   {:.0}   ({cpu:.1} s of CPU)", count / cpu);
    println!("CPU an exchange      {:.1} µs", cpu / count * 1e6);
    println!("bytes on disk        {:.0} an exchange", size(&table) as f64 / count);
    println!("wire bytes           {:.0} an exchange", wire_bytes as f64 / count);
    println!("memory               {:.0} MiB at most", memory as f64 / (1 << 20) as f64);
    collector.child.kill().unwrap();
    collector.child.wait().unwrap();
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

struct Collector {
    child: Child,
    url: String,
}

impl Collector {
    fn start(table: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tap-collector"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"])
            .arg("--store")
            .arg(table)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        log.read_line(&mut first).unwrap();
        let (_, rest) = first.split_once("\"grpc\":\"").expect(&first);
        let url = format!("http://{}", rest.split('"').next().unwrap());
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Self { child, url }
    }

    /// In seconds, user and system.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        // USER_HZ is 100 on every architecture that Podtap runs on.
        ticks as f64 / 100.0
    }

    /// In bytes.
    fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

/// Sends until told to stop and all is acknowledged; how many exchanges, and their encoded bytes.
async fn send(url: String, agent: u64, stop: Arc<AtomicBool>) -> (u64, u64) {
    let templates: Vec<_> = (0..TEMPLATES).map(|number| template(agent, number)).collect();
    let channel = loop {
        if let Ok(channel) = Channel::from_shared(url.clone()).unwrap().connect().await {
            break channel;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut client = IngestServiceClient::new(channel).send_compressed(Zstd);
    let (requests, request_rx) = mpsc::channel(4);
    let hello = Hello { agent: format!("node-{agent}"), epoch: 1, version: "bench".to_owned() };
    requests.send(message(ingest_request::Message::Hello(hello))).await.unwrap();
    // Not served before the store is open.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut answers = client.ingest(ReceiverStream::new(request_rx)).await.unwrap().into_inner();
    let (mut sequence, mut acknowledged, mut bytes) = (0, 0, 0);
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        if stopped && acknowledged == sequence {
            return (sequence * EXCHANGES_PER_BATCH as u64, bytes);
        }
        let may_send = !stopped && sequence < acknowledged + BATCHES_ON_THE_WAY;
        tokio::select! {
            answer = answers.message() => {
                match answer.unwrap().unwrap().message {
                    Some(ingest_response::Message::Acknowledgement(it)) => acknowledged = it.durable_sequence,
                    Some(ingest_response::Message::Welcome(_)) | None => {}
                }
            }
            permit = requests.reserve(), if may_send => {
                sequence += 1;
                let batch = renewed(&templates[sequence as usize % TEMPLATES], sequence);
                bytes += batch.encoded_len() as u64;
                permit.unwrap().send(message(ingest_request::Message::Batch(batch)));
            }
        }
    }
}

fn message(message: ingest_request::Message) -> IngestRequest {
    IngestRequest { message: Some(message) }
}

/// The same under new ids, now.
fn renewed(template: &[Exchange], sequence: u64) -> Batch {
    let mut exchanges = template.to_vec();
    for exchange in &mut exchanges {
        let id = Uuid::now_v7();
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        exchange.id = id.to_string();
        exchange.time = Some(Timestamp { seconds: seconds.cast_signed(), nanos: nanos.cast_signed() });
    }
    Batch { sequence, exchanges, ledger: None }
}

/// What a shop's carts answer, on a node with a few pods.
fn template(agent: u64, number: usize) -> Vec<Exchange> {
    let header = |name: &str, value: String| Header { name: name.to_owned(), value, raw_value: Vec::new() };
    (0..EXCHANGES_PER_BATCH)
        .map(|index| {
            let salt = (agent << 32 | (number * EXCHANGES_PER_BATCH + index) as u64)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let pod = salt >> 61;
            Exchange {
                role: Role::Inbound.into(),
                duration: Some(prost_types::Duration { seconds: 0, nanos: (salt >> 40) as i32 }),
                target: format!("shop/cart-{pod}"),
                node: format!("node-{agent}"),
                namespace: "shop".to_owned(),
                workload: "Deployment/cart".to_owned(),
                pod: format!("cart-{pod}"),
                source: Some(Endpoint {
                    ip: format!("10.0.{}.{}", salt >> 56, salt >> 48 & 0xff),
                    port: 40_000,
                    ..Endpoint::default()
                }),
                destination: Some(Endpoint { ip: "10.0.0.2".to_owned(), port: 80, ..Endpoint::default() }),
                flow: salt >> 20,
                request: Some(Request {
                    method: "GET".to_owned(),
                    scheme: "http".to_owned(),
                    host: "shop.example".to_owned(),
                    path: format!("/cart/{}", salt >> 44),
                    version: "HTTP/1.1".to_owned(),
                    headers: vec![
                        header("Accept", "application/json".to_owned()),
                        header("User-Agent", "bench/1.0".to_owned()),
                        header("X-Request-Id", format!("{salt:016x}")),
                    ],
                    ..Request::default()
                }),
                response: Some(Response {
                    status: if salt >> 58 == 0 { 500 } else { 200 },
                    version: "HTTP/1.1".to_owned(),
                    headers: vec![
                        header("Content-Type", "application/json".to_owned()),
                        header("Content-Length", BODY_BYTES.to_string()),
                    ],
                    body: Some(Body {
                        size: BODY_BYTES as u64,
                        content: Some(Content::Text(body(salt))),
                        ..Body::default()
                    }),
                    ..Response::default()
                }),
                wire_bytes: 1500,
                ..Exchange::default()
            }
        })
        .collect()
}

fn body(mut salt: u64) -> String {
    let mut body = String::with_capacity(BODY_BYTES + 64);
    body.push_str("{\"items\":[");
    while body.len() < BODY_BYTES - 2 {
        salt = salt.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (sku, price) = (salt >> 40, salt >> 50 & 0xfff);
        body.push_str(&format!("{{\"sku\":\"{sku:08x}\",\"quantity\":{},\"price\":{price}}},", salt >> 61));
    }
    body.truncate(BODY_BYTES - 2);
    body.push_str("]}");
    body
}

fn size(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { size(&entry.path()) } else { metadata.len() }
        })
        .sum()
}

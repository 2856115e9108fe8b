//! What does one packet cost in the kernel programs, by what becomes of it?
//!
//! Real connections over loopback, one tapped end, in lockstep. The kernel's own statistics (`BPF_ENABLE_STATS`) tell how long
//! the programs ran and how often, per direction; bare acknowledgements are runs, too. Each scenario runs several
//! times in turn with the others, and the first one once more at the end: what differs between these two is noise. Prints a
//! table, and a line of JSON for each row. Times are the machine's; nothing is asserted about them.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark panics, and prints its figures")]

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use podtap_tests::Cgroup;
use tap_agent::capture::{Attachment, Capture, CaptureOptions, Ports, SegmentRing};
use tap_flow::{Assembler, Limits};

const ROUNDS: usize = 7;
const REQUEST: &[u8] = b"GET /item HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n";

struct Scenario {
    name: &'static str,
    ports: Ports,
    first: &'static [u8],
    /// Of an answer, head and all.
    answer: fn() -> Vec<u8>,
    turns: usize,
    copies: bool,
}

/// What the programs of one direction did in one round.
#[derive(Clone, Copy, Default)]
struct Run {
    time: Duration,
    count: u64,
}

fn scenarios() -> Vec<Scenario> {
    let small =
        || b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n".iter().copied().chain([b'x'; 200]).collect();
    let large = || {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n";
        head.iter().copied().chain(std::iter::repeat_n(b'x', 4_000_000)).collect()
    };
    let medium = || {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
        head.iter().copied().chain(std::iter::repeat_n(b'x', 60_000)).collect()
    };
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let scenario = |name, ports, first: &'static [u8], answer: fn() -> Vec<u8>, turns, copies| Scenario {
        name,
        ports,
        first,
        answer,
        turns,
        copies,
    };
    vec![
        scenario("copied: 200 bytes", Ports::All, REQUEST, small, 2000, true),
        scenario("copied: 60 kB", Ports::All, REQUEST, medium, 300, true),
        scenario("rest of 4 MB bodies", Ports::All, REQUEST, large, 10, true),
        scenario("skipped: TLS, 200 bytes", Ports::All, hello, small, 2000, false),
        scenario("port filter: 200 bytes", Ports::Only(vec![1]), REQUEST, small, 2000, false),
    ]
}

/// A tap with a reader, as the agent has it.
struct Tapped {
    _attachment: Attachment,
    _capture: Capture,
    ring: SegmentRing,
    assembler: Assembler,
    cgroup: Cgroup,
}

impl Tapped {
    fn new(ports: &Ports) -> Self {
        let cgroup = Cgroup::create("bench").unwrap();
        let options = CaptureOptions { rings: 1, ring_bytes: 64 << 20, ..CaptureOptions::default() };
        let mut capture = Capture::load(&options).unwrap();
        let ring = capture.take_rings().pop().unwrap();
        let attachment = capture.attach(cgroup.path(), ports).unwrap();
        let assembler = Assembler::new(Limits::default());
        Self { _attachment: attachment, _capture: capture, ring, assembler, cgroup }
    }

    fn drain(&mut self) -> usize {
        let Self { ring, assembler, .. } = self;
        ring.serve(usize::MAX, |segment| assembler.push(segment, &mut |_| ())).records
    }
}

/// One round of a scenario: ingress, egress, and the records that came of it.
fn round(scenario: &Scenario) -> (Run, Run, usize) {
    let others = programs();
    let mut tapped = Tapped::new(&scenario.ports);
    let listener = {
        let _inside = tapped.cgroup.join().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    };
    let outside = Cgroup::create("outside").unwrap();
    let mut client = {
        let _inside = outside.join().unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap()
    };
    let (mut server, _) = listener.accept().unwrap();
    let answer = (scenario.answer)();
    let mut received = vec![0; answer.len()];
    let mut request = vec![0; scenario.first.len()];
    let mut records = 0;
    let before = stats(&others);
    for _ in 0..scenario.turns {
        client.write_all(scenario.first).unwrap();
        server.read_exact(&mut request).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| server.write_all(&answer).unwrap());
            let mut filled = 0;
            while filled < received.len() {
                filled += client.read(&mut received[filled..]).unwrap();
                records += tapped.drain();
            }
        });
    }
    records += tapped.drain();
    let after = stats(&others);
    let gained = |direction: usize| Run {
        time: after[direction].time - before[direction].time,
        count: after[direction].count - before[direction].count,
    };
    assert_eq!(scenario.copies, records > scenario.turns / 2, "{}: {records} records", scenario.name);
    (gained(0), gained(1), records)
}

/// The ids of the programs that are loaded: those of other captures on this machine are none of ours.
fn programs() -> HashSet<u32> {
    loaded_programs().flatten().map(|program| program.id()).collect()
}

/// What this process's programs did so far: only one capture is loaded at a time.
fn stats(others: &HashSet<u32>) -> [Run; 2] {
    let mut runs = [Run::default(); 2];
    for program in loaded_programs().flatten().filter(|program| !others.contains(&program.id())) {
        let index = match program.name_as_str() {
            Some("tap_ingress") => 0,
            Some("tap_egress") => 1,
            _ => continue,
        };
        runs[index].time += program.run_time();
        runs[index].count += program.run_count();
    }
    runs
}

fn main() {
    // `cargo bench` hands its arguments to every benchmark.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if filter.is_some_and(|filter| !"kernel".contains(filter.as_str())) {
        return;
    }
    // Kept open: the statistics end with it.
    let _stats = enable_stats(Stats::RunTime).unwrap();
    let mut scenarios = scenarios();
    scenarios.extend(self::scenarios().into_iter().take(1));
    let mut figures: Vec<Vec<[f64; 2]>> = vec![Vec::new(); scenarios.len()];
    for _ in 0..ROUNDS {
        for (index, scenario) in scenarios.iter().enumerate() {
            let (ingress, egress, _) = round(scenario);
            let per_run = |run: Run| run.time.as_nanos() as f64 / run.count.max(1) as f64;
            figures[index].push([per_run(ingress), per_run(egress)]);
        }
    }
    println!("{:28} {:>22} {:>22}", "ns per run, median (range)", "ingress", "egress");
    for (scenario, figures) in scenarios.iter().zip(&figures) {
        let [ingress, egress] = [0, 1].map(|direction| {
            let mut sorted: Vec<f64> = figures.iter().map(|figure| figure[direction]).collect();
            sorted.sort_by(f64::total_cmp);
            [sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1]]
        });
        let text = |[median, least, most]: [f64; 3]| format!("{median:.0} ({least:.0}-{most:.0})");
        println!("{:28} {:>22} {:>22}", scenario.name, text(ingress), text(egress));
        println!(
            r#"{{"benchmark":"kernel","path":"{}","ingress_ns":{:.1},"egress_ns":{:.1}}}"#,
            scenario.name, ingress[0], egress[0]
        );
    }
    let others = programs();
    let _tapped = Tapped::new(&Ports::All);
    for program in loaded_programs().flatten().filter(|program| !others.contains(&program.id())) {
        if let Some(name @ ("tap_ingress" | "tap_egress")) = program.name_as_str() {
            let verified = program.verified_instruction_count().unwrap_or_default();
            println!(
                "{name}: {} bytes of machine code, {verified} instructions verified",
                program.size_jitted()
            );
        }
    }
}

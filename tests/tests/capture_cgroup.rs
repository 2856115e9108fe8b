//! Capture from real sockets in real cgroups, over loopback: what was sent is what comes out of the rings, every
//! byte is accounted for, and nothing stays behind.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    collections::HashMap,
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};
use podtap_tests::{Cgroup, PATIENCE, skip, until};
use tap_agent::capture::{
    Attachment, Capture, CaptureError, CaptureOptions, KernelCounters, MIN_RING_BYTES, Ports, SegmentRing,
};
use tap_flow::{Direction, FlowKey, TapId, TcpFlags};

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Set for the process that is to hold a tap until it is killed: the cgroup's path.
const HOLD: &str = "PODTAP_TEST_HOLD";

/// A tapped cgroup.
struct Tapped {
    // Detached before the cgroup goes.
    attachment: Attachment,
    capture: Capture,
    rings: Vec<SegmentRing>,
    cgroup: Cgroup,
}

/// A segment that came out of a ring.
struct Copy {
    ring: usize,
    key: FlowKey,
    direction: Direction,
    sequence: u32,
    flags: TcpFlags,
    payload: Vec<u8>,
    cut: u32,
}

impl Tapped {
    fn new(options: &CaptureOptions, ports: impl FnOnce() -> Ports) -> Self {
        let cgroup = Cgroup::create("capture").unwrap();
        let mut capture = Capture::load(options).unwrap();
        let rings = capture.take_rings();
        assert_eq!(rings.len(), options.rings);
        let attachment = capture.attach(cgroup.path(), &ports()).unwrap();
        Self { attachment, capture, rings, cgroup }
    }

    fn tap(&self) -> TapId {
        self.attachment.tap()
    }

    fn counters(&self) -> KernelCounters {
        self.capture.counters(self.tap()).unwrap()
    }

    fn listen(&self, ip: IpAddr) -> TcpListener {
        let _inside = self.cgroup.join().unwrap();
        TcpListener::bind((ip, 0)).unwrap()
    }

    fn connect(&self, to: SocketAddr) -> TcpStream {
        let _inside = self.cgroup.join().unwrap();
        TcpStream::connect(to).unwrap()
    }

    fn drain(&mut self) -> Vec<Copy> {
        let mut copies = Vec::new();
        for (ring, reader) in self.rings.iter_mut().enumerate() {
            let drained = reader.drain(usize::MAX, |segment| {
                assert_eq!(segment.key.tap, self.attachment.tap());
                copies.push(Copy {
                    ring,
                    key: segment.key,
                    direction: segment.direction,
                    sequence: segment.sequence,
                    flags: segment.flags,
                    payload: segment.payload.to_owned(),
                    cut: segment.cut,
                });
            });
            assert_eq!(drained.unknown, 0);
        }
        copies
    }

    /// The counters once they balance, as they do not while a segment is being handled.
    fn balanced(&self) -> KernelCounters {
        until("the counters balance", || {
            let counters = self.counters();
            if counters.balances() { Ok(counters) } else { Err(format!("{counters:?}")) }
        })
        .unwrap()
    }
}

/// A socket that no tap sees: while one test's sockets are made in its cgroup, so would be another's.
fn untapped<T>(make: impl FnOnce() -> T) -> T {
    let cgroup = Cgroup::create("untapped").unwrap();
    let _inside = cgroup.join().unwrap();
    make()
}

fn listen_untapped(ip: IpAddr) -> TcpListener {
    untapped(|| TcpListener::bind((ip, 0)).unwrap())
}

fn connect_untapped(to: SocketAddr) -> TcpStream {
    untapped(|| TcpStream::connect(to).unwrap())
}

/// The bytes of one direction of a flow, put in order.
fn stream(copies: &[Copy], key: FlowKey, direction: Direction) -> Vec<u8> {
    let mut pieces: Vec<(u32, &Copy)> = Vec::new();
    let mut origin = None;
    for copy in copies.iter().filter(|copy| copy.key == key && copy.direction == direction) {
        let begins = u32::from(copy.flags.contains(TcpFlags::SYN));
        let sequence = copy.sequence.wrapping_add(begins);
        // Nothing overtakes the first segment on loopback.
        let offset = sequence.wrapping_sub(*origin.get_or_insert(sequence));
        pieces.push((offset, copy));
    }
    let mut bytes = Vec::new();
    for (offset, copy) in pieces {
        let end = offset as usize + copy.payload.len();
        bytes.resize(end.max(bytes.len()), 0);
        bytes[offset as usize..end].copy_from_slice(&copy.payload);
    }
    bytes
}

fn payload_bytes(copies: &[Copy]) -> u64 {
    copies.iter().map(|copy| copy.payload.len() as u64).sum()
}

/// Bytes that differ from place to place.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// Sends `request` through `client` and `response` back, each whole before the next, and closes.
/// The addresses: the client's, the server's.
///
/// When it returns, all payload has passed the hooks: they run before a receiver gets it. The last FIN may not
/// have, and a socket that closed first never gets to see it (it is in TIME_WAIT, where no hook runs).
fn converse(
    client: TcpStream,
    listener: &TcpListener,
    request: &[u8],
    response: &[u8],
) -> (SocketAddr, SocketAddr) {
    let ends = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut received = vec![0; request.len()];
            server.read_exact(&mut received).unwrap();
            assert!(received == request, "the request arrived changed");
            server.write_all(response).unwrap();
        });
        let mut client = client;
        client.write_all(request).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == response, "the response arrived changed");
    });
    ends
}

/// Whatever it is, and the tests send what is no HTTP.
fn everything() -> CaptureOptions {
    CaptureOptions { judge: false, ..CaptureOptions::default() }
}

fn small_rings() -> CaptureOptions {
    CaptureOptions { rings: 1, ring_bytes: MIN_RING_BYTES, ..everything() }
}

#[test]
fn a_tapped_server_yields_what_was_sent() {
    let mut tapped = Tapped::new(&everything(), || Ports::All);
    for ip in LOOPBACK {
        for (request_len, response_len) in [(0, 0), (1, 1), (100, 70_000), (70_000, 100), (3 << 20, 5 << 20)]
        {
            let before = tapped.counters();
            let listener = tapped.listen(ip);
            let client = connect_untapped(listener.local_addr().unwrap());
            let (request, response) = (noise(request_len, 1), noise(response_len, 2));
            let (remote, local) = converse(client, &listener, &request, &response);

            let copies = tapped.drain();
            let key = FlowKey { tap: tapped.tap(), local, remote };
            assert!(stream(&copies, key, Direction::Ingress) == request, "{ip} {request_len} {response_len}");
            assert!(stream(&copies, key, Direction::Egress) == response, "{ip} {request_len} {response_len}");

            let after = tapped.balanced();
            assert_eq!(after.lost.bytes + after.truncated.bytes + after.filtered().bytes, 0, "{after:?}");
            assert_eq!(after.copied.bytes - before.copied.bytes, payload_bytes(&copies));
        }
    }
}

#[test]
fn a_tapped_client_is_the_local_end() {
    let mut tapped = Tapped::new(&everything(), || Ports::All);
    for ip in LOOPBACK {
        let listener = listen_untapped(ip);
        let client = tapped.connect(listener.local_addr().unwrap());
        let (local, remote) = converse(client, &listener, b"request", b"response");

        let copies = tapped.drain();
        let key = FlowKey { tap: tapped.tap(), local, remote };
        assert_eq!(stream(&copies, key, Direction::Egress), b"request");
        assert_eq!(stream(&copies, key, Direction::Ingress), b"response");
        let begins = |direction| {
            copies.iter().any(|copy| copy.direction == direction && copy.flags.contains(TcpFlags::SYN))
        };
        assert!(begins(Direction::Egress) && begins(Direction::Ingress));
    }
}

#[test]
fn an_ipv6_socket_that_serves_ipv4_has_ipv4_addresses() {
    let mut tapped = Tapped::new(&everything(), || Ports::All);
    let listener = tapped.listen(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let port = listener.local_addr().unwrap().port();
    let client = connect_untapped((Ipv4Addr::LOCALHOST, port).into());
    let (remote, local) = converse(client, &listener, b"request", b"response");

    let copies = tapped.drain();
    let key = FlowKey { tap: tapped.tap(), local, remote };
    assert_eq!(stream(&copies, key, Direction::Ingress), b"request");
    assert_eq!(stream(&copies, key, Direction::Egress), b"response");
}

#[test]
fn a_connection_within_the_tap_is_two_flows() {
    let mut tapped = Tapped::new(&everything(), || Ports::All);
    let listener = tapped.listen(LOOPBACK[0]);
    let client = tapped.connect(listener.local_addr().unwrap());
    let (client, server) = converse(client, &listener, b"request", b"response");

    let copies = tapped.drain();
    let tap = tapped.tap();
    let at_client = FlowKey { tap, local: client, remote: server };
    let at_server = FlowKey { tap, local: server, remote: client };
    assert_eq!(stream(&copies, at_client, Direction::Egress), b"request");
    assert_eq!(stream(&copies, at_server, Direction::Ingress), b"request");
    assert_eq!(stream(&copies, at_server, Direction::Egress), b"response");
    assert_eq!(stream(&copies, at_client, Direction::Ingress), b"response");
    assert_eq!(tapped.counters().copied.bytes, 2 * (7 + 8));
}

#[test]
fn sockets_further_below_are_tapped() {
    let mut tapped = Tapped::new(&everything(), || Ports::All);
    let pod = tapped.cgroup.child("pod").unwrap();
    let container = pod.child("container").unwrap();
    let listener = {
        let _inside = container.join().unwrap();
        TcpListener::bind((LOOPBACK[0], 0)).unwrap()
    };
    let client = connect_untapped(listener.local_addr().unwrap());
    let (remote, local) = converse(client, &listener, b"request", b"response");

    let copies = tapped.drain();
    let key = FlowKey { tap: tapped.tap(), local, remote };
    assert_eq!(stream(&copies, key, Direction::Ingress), b"request");
}

#[test]
fn other_ports_are_counted_and_not_copied() {
    let listed = listen_untapped(LOOPBACK[0]);
    let port = listed.local_addr().unwrap().port();
    let mut tapped = Tapped::new(&everything(), || Ports::Only(vec![port]));
    let other = listen_untapped(LOOPBACK[0]);
    converse(tapped.connect(other.local_addr().unwrap()), &other, b"not this", b"nor this one");
    converse(tapped.connect(listed.local_addr().unwrap()), &listed, b"this", b"and this");

    let copies = tapped.drain();
    assert!(copies.iter().all(|copy| copy.key.remote.port() == port));
    let counters = tapped.balanced();
    assert_eq!((counters.port.bytes, counters.copied.bytes), (8 + 12, 4 + 8), "{counters:?}");
}

#[test]
fn what_a_full_ring_loses_is_counted_to_the_byte() {
    let mut tapped = Tapped::new(&small_rings(), || Ports::All);
    let (request, response) = (noise(4 << 20, 3), noise(4 << 20, 4));
    let listener = tapped.listen(LOOPBACK[0]);
    let client = connect_untapped(listener.local_addr().unwrap());
    // Nobody reads the ring meanwhile. The application doesn't notice: `converse` checks what it receives.
    let (remote, local) = converse(client, &listener, &request, &response);

    let copies = tapped.drain();
    let counters = tapped.balanced();
    assert!(counters.lost.bytes > 0 && counters.copied.bytes > 0, "{counters:?}");
    assert_eq!(counters.copied.bytes, payload_bytes(&copies));
    assert!(counters.seen.bytes >= 8 << 20, "{counters:?}");
    // What there is, is right and in its place.
    let key = FlowKey { tap: tapped.tap(), local, remote };
    let begun = stream(&copies, key, Direction::Ingress);
    assert!(!begun.is_empty() && request.starts_with(&begun[..1000.min(begun.len())]));

    // Once there is place again, the ring works on.
    let client = connect_untapped(listener.local_addr().unwrap());
    let (remote, local) = converse(client, &listener, b"request", b"response");
    let copies = tapped.drain();
    let key = FlowKey { tap: tapped.tap(), local, remote };
    assert_eq!(stream(&copies, key, Direction::Egress), b"response");
}

#[test]
fn segments_beyond_the_cap_are_cut_to_the_byte() {
    let options = CaptureOptions { segment_cap: 1000, ..everything() };
    let mut tapped = Tapped::new(&options, || Ports::All);
    let listener = tapped.listen(LOOPBACK[0]);
    let client = connect_untapped(listener.local_addr().unwrap());
    converse(client, &listener, &noise(1 << 20, 5), &noise(1 << 20, 6));

    let copies = tapped.drain();
    let counters = tapped.balanced();
    assert_eq!(counters.lost.segments, 0, "{counters:?}");
    assert_eq!(counters.copied.bytes, payload_bytes(&copies));
    assert_eq!(counters.truncated.bytes, copies.iter().map(|copy| u64::from(copy.cut)).sum::<u64>());
    assert_eq!(counters.truncated.segments, copies.iter().filter(|copy| copy.cut > 0).count() as u64);
    assert!(copies.iter().all(|copy| copy.payload.len() <= 1000));
    assert!(counters.truncated.bytes > 1 << 20, "{counters:?}");
}

#[test]
fn a_flow_stays_in_its_ring_and_flows_spread_over_rings() {
    let options = CaptureOptions { rings: 4, ring_bytes: 4 << 20, ..everything() };
    let mut tapped = Tapped::new(&options, || Ports::All);
    let listener = tapped.listen(LOOPBACK[0]);
    for index in 0..200 {
        let client = connect_untapped(listener.local_addr().unwrap());
        let (remote, local) = converse(client, &listener, &noise(300, index), b"ok");
        assert_ne!(remote, local);
    }
    let copies = tapped.drain();
    let mut rings: HashMap<FlowKey, usize> = HashMap::new();
    for copy in &copies {
        assert_eq!(*rings.entry(copy.key).or_insert(copy.ring), copy.ring);
    }
    assert_eq!(rings.len(), 200);
    for ring in 0..4 {
        let flows = rings.values().filter(|&&other| other == ring).count();
        assert!(flows >= 20, "{flows} of 200 flows in ring {ring}");
    }
}

#[test]
fn a_filling_ring_wakes_its_reader() {
    let mut tapped = Tapped::new(&small_rings(), || Ports::All);
    let listener = tapped.listen(LOOPBACK[0]);
    let mut ring = tapped.rings.pop().unwrap();
    let reader = thread::spawn(move || {
        let begun = Instant::now();
        ring.wait(PATIENCE).unwrap();
        (begun.elapsed(), ring.drain(usize::MAX, |_| ()))
    });
    let client = connect_untapped(listener.local_addr().unwrap());
    converse(client, &listener, &noise(1 << 20, 7), b"");
    let (waited, drained) = reader.join().unwrap();
    assert!(waited < PATIENCE && drained.bytes > 0, "{waited:?} {drained:?}");
}

#[test]
fn waiting_ends_with_its_time() {
    let mut tapped = Tapped::new(&small_rings(), || Ports::All);
    for timeout in [Duration::ZERO, Duration::from_micros(1), Duration::from_millis(2)] {
        tapped.rings[0].wait(timeout).unwrap();
    }
}

#[test]
fn nested_and_repeated_taps_are_refused() {
    let Tapped { attachment, mut capture, cgroup, .. } = Tapped::new(&small_rings(), || Ports::All);
    let below = cgroup.child("below").unwrap();
    let refused = |result: Result<Attachment, CaptureError>| result.map(|_| ()).unwrap_err();

    let error = refused(capture.attach(below.path(), &Ports::All));
    assert!(matches!(&error, CaptureError::Nested { tapped, .. } if tapped == cgroup.path()), "{error}");
    let error = refused(capture.attach(cgroup.path(), &Ports::All));
    assert!(matches!(error, CaptureError::Tapped { .. }), "{error}");

    let tap = attachment.tap();
    drop(attachment);
    let attachment = capture.attach(below.path(), &Ports::All).unwrap();
    let error = refused(capture.attach(cgroup.path(), &Ports::All));
    assert!(matches!(&error, CaptureError::Nested { tapped, .. } if tapped == below.path()), "{error}");

    // Another beside it isn't nested.
    let beside = cgroup.child("beside").unwrap();
    let other = capture.attach(beside.path(), &Ports::All).unwrap();
    drop((attachment, other));
    assert_eq!(capture.attach(cgroup.path(), &Ports::All).unwrap().tap(), tap);
}

#[test]
fn what_is_no_cgroup_is_refused() {
    let mut capture = Capture::load(&small_rings()).unwrap();
    let error = capture.attach(Path::new("/tmp"), &Ports::All).unwrap_err();
    assert!(matches!(error, CaptureError::NotCgroup2 { .. }), "{error}");
    let error = capture.attach(Path::new("/no/such/cgroup"), &Ports::All).unwrap_err();
    assert!(matches!(error, CaptureError::Cgroup { .. }), "{error}");

    let cgroup = Cgroup::create("ports").unwrap();
    let error = capture.attach(cgroup.path(), &Ports::Only(vec![])).unwrap_err();
    assert!(matches!(error, CaptureError::Ports { count: 0, .. }), "{error}");
    let error = capture.attach(cgroup.path(), &Ports::Only(vec![80; 17])).unwrap_err();
    assert!(matches!(error, CaptureError::Ports { count: 17, .. }), "{error}");
    capture.attach(cgroup.path(), &Ports::Only(vec![80; 16])).unwrap();
}

#[test]
fn counters_outlive_the_tap_until_they_are_forgotten() {
    let mut tapped = Tapped::new(&small_rings(), || Ports::All);
    let listener = tapped.listen(LOOPBACK[0]);
    let client = connect_untapped(listener.local_addr().unwrap());
    converse(client, &listener, b"request", b"response");
    let tap = tapped.tap();
    let bytes = (b"request".len() + b"response".len()) as u64;
    assert_eq!(tapped.balanced().copied.bytes, bytes);

    tapped.capture.forget(tap).unwrap();
    assert_eq!(tapped.counters().copied.bytes, bytes, "an attached tap isn't forgotten");

    let Tapped { attachment, mut capture, cgroup, .. } = tapped;
    drop(attachment);
    let client = connect_untapped(listener.local_addr().unwrap());
    converse(client, &listener, b"request", b"response");
    assert_eq!(capture.counters(tap).unwrap().copied.bytes, bytes, "a detached tap counts nothing");

    // Attached again, it goes on counting.
    let attachment = capture.attach(cgroup.path(), &Ports::All).unwrap();
    let client = connect_untapped(listener.local_addr().unwrap());
    converse(client, &listener, b"request", b"response");
    drop(attachment);
    assert_eq!(capture.counters(tap).unwrap().copied.bytes, 2 * bytes);

    capture.forget(tap).unwrap();
    let error = capture.counters(tap).unwrap_err();
    assert!(matches!(error, CaptureError::UnknownTap { tap: other } if other == tap), "{error}");
    capture.forget(tap).unwrap();
}

#[test]
fn nothing_stays_behind() {
    let tapped = Tapped::new(&small_rings(), || Ports::All);
    let (programs, links) = held_by(std::process::id(), tapped.tap());
    assert_eq!((programs.len(), links.len()), (2, 2));
    assert!(exist(&programs, &links), "the programs are loaded and linked");

    let Tapped { attachment, capture, rings, .. } = tapped;
    drop(attachment);
    until_gone(&[], &links);
    drop((capture, rings));
    until_gone(&programs, &links);
}

#[test]
fn a_killed_process_leaves_nothing_attached() {
    let cgroup = Cgroup::create("killed").unwrap();
    let listener = {
        let _inside = cgroup.join().unwrap();
        TcpListener::bind((LOOPBACK[0], 0)).unwrap()
    };
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(HOLD, cgroup.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.contains("tapped")));
    let (programs, links) = held_by(child.id(), TapId(cgroup.id().unwrap()));
    assert_eq!((programs.len(), links.len()), (2, 2));

    let client = connect_untapped(listener.local_addr().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    converse(client, &listener, b"request", b"response");
    until_gone(&programs, &links);
}

/// Not a test of its own, but the process that [`a_killed_process_leaves_nothing_attached`] kills.
#[test]
#[expect(clippy::print_stdout, reason = "the other process waits for this line")]
fn the_process_that_is_killed() {
    let Some(path) = env::var_os(HOLD) else { return };
    let mut capture = Capture::load(&small_rings()).unwrap();
    let _attachment = capture.attach(&PathBuf::from(path), &Ports::All).unwrap();
    println!("\ntapped");
    thread::sleep(PATIENCE);
}

/// The ids of the programs on a cgroup and their links, as the descriptors of a process show them.
fn held_by(process: u32, tap: TapId) -> (Vec<u32>, Vec<u32>) {
    let (mut programs, mut links) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo")).unwrap() {
        // Some descriptors are closed meanwhile.
        let Ok(text) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim_start_matches(':').trim().parse::<u64>().ok())
        };
        if field("cgroup_id") == Some(tap.0) {
            links.push(field("link_id").unwrap() as u32);
            programs.push(field("prog_id").unwrap() as u32);
        }
    }
    (programs, links)
}

fn exist(programs: &[u32], links: &[u32]) -> bool {
    let loaded: Vec<u32> = aya::programs::loaded_programs().flatten().map(|program| program.id()).collect();
    let linked: Vec<u32> = aya::programs::loaded_links().flatten().map(|link| link.id()).collect();
    programs.iter().all(|id| loaded.contains(id)) && links.iter().all(|id| linked.contains(id))
}

/// The kernel frees programs and links a moment after the last descriptor is closed.
fn until_gone(programs: &[u32], links: &[u32]) {
    until("programs and links are gone", || {
        let left: Vec<_> = programs.iter().filter(|&&id| exist(&[id], &[])).collect();
        let linked: Vec<_> = links.iter().filter(|&&id| exist(&[], &[id])).collect();
        if left.is_empty() && linked.is_empty() {
            Ok(())
        } else {
            Err(format!("programs {left:?}, links {linked:?}"))
        }
    })
    .unwrap();
}

#[test]
fn segments_of_more_than_64_kib_are_copied_in_full() {
    // In a network namespace of this thread's own, as the size is a setting of the device.
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let ip = |arguments: &[&str]| Command::new("ip").args(arguments).status().unwrap().success();
    assert!(ip(&["link", "set", "lo", "up"]));
    if !ip(&["link", "set", "lo", "gso_max_size", "400000", "gro_max_size", "400000"]) {
        return skip("BIG TCP needs kernel 5.19 and iproute2 5.19");
    }
    let mut tapped = Tapped::new(&everything(), || Ports::All);
    let listener = tapped.listen(LOOPBACK[1]);
    let client = connect_untapped(listener.local_addr().unwrap());
    let (request, response) = (noise(9 << 20, 8), noise(9 << 20, 9));
    let (remote, local) = converse(client, &listener, &request, &response);

    let copies = tapped.drain();
    let key = FlowKey { tap: tapped.tap(), local, remote };
    assert!(stream(&copies, key, Direction::Ingress) == request);
    assert!(stream(&copies, key, Direction::Egress) == response);
    let counters = tapped.balanced();
    assert_eq!(counters.copied.bytes, payload_bytes(&copies));
    assert_eq!(counters.lost.bytes + counters.truncated.bytes, 0, "{counters:?}");
    let parts = copies.len() as u64 - counters.copied.segments;
    assert!(parts > 0, "no segment was longer than a record holds");
}

//! A host in a directory, and a kernel that captures what it is told.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tap_flow::{CgroupId, Direction, FlowKey, Segment, TapId, TcpFlags, Unneeded};

use crate::{
    amount::Amount,
    cgroup::{Cgroup, Hierarchy},
    clock::boottime,
    config::PortFilter,
    ledger::{KernelAmounts, KernelLedger, Losses, Reason, Stage},
    pipeline::SegmentSource,
    taps::Hooks,
};

pub(super) struct Host {
    root: tempfile::TempDir,
}

impl Host {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Self { root };
        fs::create_dir_all(host.root.path().join("proc/self")).unwrap();
        let mount = host.root.path().join("cgroup");
        fs::write(
            host.root.path().join("proc/self/mounts"),
            format!("cgroup2 {} cgroup2 rw 0 0\n", mount.display()),
        )
        .unwrap();
        host
    }

    pub(super) fn hierarchy(&self) -> Hierarchy {
        Hierarchy::with_roots(&self.root.path().join("proc"), &self.root.path().join("systemd")).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("cgroup").join(name)
    }

    pub(super) fn cgroup(&self, name: &str) -> TapId {
        fs::create_dir_all(self.path(name)).unwrap();
        fs::write(self.path(name).join("cgroup.procs"), "").unwrap();
        self.hierarchy().by_path(name.as_ref()).unwrap().tap
    }

    /// Removes a cgroup and makes another of the same name.
    pub(super) fn replace_cgroup(&self, name: &str) -> TapId {
        // Renamed and not removed, as the file system may give its inode number away again.
        fs::rename(self.path(name), self.root.path().join("removed")).unwrap();
        self.cgroup(name)
    }
}

struct Copied {
    key: FlowKey,
    direction: Direction,
    time: u64,
    sequence: u32,
    flags: TcpFlags,
    payload: Vec<u8>,
}

/// Copies and counts what [`Connection`]s send.
#[derive(Clone, Default)]
pub(super) struct FakeKernel {
    ring: Arc<Mutex<VecDeque<Copied>>>,
    counters: Arc<Mutex<HashMap<TapId, Amount>>>,
    /// Of these the ring had no place.
    lost: Arc<Mutex<HashMap<TapId, Amount>>>,
    /// While the reader is held up, the ring has place for so many segments.
    held_up: Arc<Mutex<Option<usize>>>,
    attached: Arc<Mutex<HashSet<TapId>>>,
    /// How often something was attached.
    attachments: Arc<AtomicUsize>,
}

pub(super) struct FakeRing(FakeKernel);

pub(super) struct FakeAttachment {
    kernel: FakeKernel,
    tap: TapId,
}

impl FakeKernel {
    pub(super) fn source(&self) -> FakeRing {
        FakeRing(self.clone())
    }

    pub(super) fn is_attached(&self, tap: TapId) -> bool {
        self.attached.lock().unwrap().contains(&tap)
    }

    pub(super) fn attachments(&self) -> usize {
        self.attachments.load(Ordering::Relaxed)
    }

    /// Holds the reader up, with place for so many segments; or lets it go on.
    pub(super) fn hold_up(&self, place: Option<usize>) {
        *self.held_up.lock().unwrap() = place;
    }

    fn copy(&self, copied: Copied) {
        let amount = Amount { exchanges: 0, bytes: copied.payload.len() as u64, segments: 1 };
        let place = *self.held_up.lock().unwrap();
        if place.is_some_and(|place| self.ring.lock().unwrap().len() >= place) {
            *self.lost.lock().unwrap().entry(copied.key.tap).or_default() += amount;
            return;
        }
        *self.counters.lock().unwrap().entry(copied.key.tap).or_default() += amount;
        self.ring.lock().unwrap().push_back(copied);
    }
}

impl Hooks for FakeKernel {
    type Attachment = FakeAttachment;
    type Error = Infallible;

    fn attach(&mut self, cgroup: &Cgroup, _ports: &PortFilter) -> Result<FakeAttachment, Infallible> {
        self.attached.lock().unwrap().insert(cgroup.tap);
        self.attachments.fetch_add(1, Ordering::Relaxed);
        Ok(FakeAttachment { kernel: self.clone(), tap: cgroup.tap })
    }

    fn set_ports(&mut self, _attachment: &FakeAttachment, _ports: &PortFilter) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Drop for FakeAttachment {
    fn drop(&mut self) {
        self.kernel.attached.lock().unwrap().remove(&self.tap);
    }
}

impl KernelLedger for FakeKernel {
    fn amounts(&self, tap: TapId) -> Option<KernelAmounts> {
        let counted = *self.counters.lock().unwrap().get(&tap)?;
        Some(amounts(counted, self.lost.lock().unwrap().get(&tap).copied()))
    }

    fn take(&self, tap: TapId) -> Option<KernelAmounts> {
        let counted = self.counters.lock().unwrap().remove(&tap)?;
        Some(amounts(counted, self.lost.lock().unwrap().remove(&tap)))
    }
}

fn amounts(copied: Amount, lost: Option<Amount>) -> KernelAmounts {
    let full = Reason { stage: Stage::Ring, word: "full" };
    let losses: Losses = lost.map(|lost| (full, lost)).into_iter().collect();
    KernelAmounts { seen: copied + lost.unwrap_or_default(), copied, losses, ..KernelAmounts::default() }
}

impl SegmentSource for FakeRing {
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        thread::sleep(timeout.min(Duration::from_millis(2)));
        Ok(())
    }

    fn drain(&mut self, max: usize, each: &mut dyn FnMut(Segment<'_>) -> Unneeded) -> usize {
        if self.0.held_up.lock().unwrap().is_some() {
            return 0;
        }
        for records in 0..max {
            let Some(copied) = self.0.ring.lock().unwrap().pop_front() else { return records };
            let Copied { key, direction, time, sequence, flags, payload } = &copied;
            each(Segment {
                key: *key,
                cgroup: CgroupId(key.tap.0),
                direction: *direction,
                time: *time,
                sequence: *sequence,
                flags: *flags,
                payload,
                cut: 0,
            });
        }
        max
    }
}

/// One TCP connection to a tapped server.
pub(super) struct Connection {
    key: FlowKey,
    sequence: [u32; 2],
    last: (Direction, u32, Vec<u8>),
}

impl Connection {
    pub(super) fn new(tap: TapId, port: u16) -> Self {
        let local = SocketAddr::from(([10, 0, 0, 1], 80));
        let remote = SocketAddr::from(([10, 0, 0, 2], port));
        Self {
            key: FlowKey { tap, local, remote },
            sequence: [u32::MAX - 100, 5],
            last: (Direction::Ingress, 0, Vec::new()),
        }
    }

    pub(super) fn exchange(&mut self, kernel: &FakeKernel, path: &str, body: &str) {
        self.send(kernel, Direction::Ingress, format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n").as_bytes());
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.send(kernel, Direction::Egress, response.as_bytes());
    }

    pub(super) fn send(&mut self, kernel: &FakeKernel, direction: Direction, payload: &[u8]) {
        let sequence = &mut self.sequence[usize::from(direction == Direction::Egress)];
        self.last = (direction, *sequence, payload.to_vec());
        *sequence = sequence.wrapping_add(payload.len() as u32);
        self.retransmit(kernel);
    }

    /// What was sent last, once more.
    pub(super) fn retransmit(&self, kernel: &FakeKernel) {
        let (direction, sequence, payload) = self.last.clone();
        let flags = TcpFlags::ACK;
        kernel.copy(Copied { key: self.key, direction, time: boottime(), sequence, flags, payload });
    }

    /// Ends the connection, wherever it is.
    pub(super) fn reset(&self, kernel: &FakeKernel) {
        kernel.copy(Copied {
            key: self.key,
            direction: Direction::Ingress,
            time: boottime(),
            sequence: 0,
            flags: TcpFlags::RST,
            payload: Vec::new(),
        });
    }

    pub(super) fn last_length(&self) -> u64 {
        self.last.2.len() as u64
    }
}

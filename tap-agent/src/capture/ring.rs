//! Reading the rings into which the kernel programs copy segments.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use tap_common::{DIRECTION_INGRESS, Decoded, FAMILY_IPV4, SegmentRecord, decode};
use tap_flow::{CgroupId, Direction, FlowKey, Segment, TapId, TcpFlags, Unneeded};

use super::{CaptureError, requests::Requests};

/// One ring, read by one thread.
pub struct SegmentRing {
    ring: RingBuf<MapData>,
    epoll: Epoll,
    requests: Requests,
}

/// What [`SegmentRing::drain`] took from the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Ring records, of whatever kind.
    pub records: usize,
    /// Payload bytes handed on.
    pub bytes: u64,
    /// Records skipped: of an unknown kind or version, or contradicting themselves.
    pub unknown: usize,
}

impl SegmentRing {
    pub(super) fn new(ring: RingBuf<MapData>, requests: Requests) -> Result<Self, CaptureError> {
        let watch = |error: Errno| CaptureError::Watch(error.into());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(watch)?;
        // Edge-triggered: level-triggered, epoll returns at once whenever the ring holds anything
        // (`ringbuf_map_poll`, kernel/bpf/ringbuf.c, 5.8), and reading would never be batched.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll.add(&ring, event).map_err(watch)?;
        Ok(Self { ring, epoll, requests })
    }

    /// Waits until the kernel programs wake the reader, as the ring has filled beyond a threshold, or until `timeout`.
    ///
    /// Below the threshold nothing wakes the reader, so `timeout` bounds the latency. Returns early on a signal.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::MAX);
        match self.epoll.wait(&mut [EpollEvent::empty()], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands on what the ring holds, in order, and frees its place; at most `max_records`.
    ///
    /// The segments borrow the ring's memory: nothing is copied or allocated.
    pub fn drain(&mut self, max_records: usize, mut each: impl FnMut(Segment<'_>)) -> Drained {
        self.serve(max_records, |segment| {
            each(segment);
            Unneeded::Nothing
        })
    }

    /// Likewise; and asks the programs to leave out what `each` says is not needed of the segment's connection.
    pub fn serve(&mut self, max_records: usize, mut each: impl FnMut(Segment<'_>) -> Unneeded) -> Drained {
        let mut drained = Drained::default();
        while drained.records < max_records {
            let Some(entry) = self.ring.next() else { break };
            drained.records += 1;
            match decode(&entry) {
                Ok(Decoded::Segment(record, payload)) => {
                    drained.bytes += payload.len() as u64;
                    match each(segment(&record, payload)) {
                        Unneeded::Nothing => {}
                        unneeded => self.requests.ask(record.cookie, unneeded),
                    }
                }
                Ok(Decoded::Unknown { .. }) | Err(_) => drained.unknown += 1,
            }
        }
        drained
    }
}

impl std::fmt::Debug for SegmentRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentRing").finish_non_exhaustive()
    }
}

fn segment<'a>(record: &SegmentRecord, payload: &'a [u8]) -> Segment<'a> {
    let address = |bytes: [u8; 16], port| {
        let [a, b, c, d, ..] = bytes;
        let ip = if record.family == FAMILY_IPV4 {
            IpAddr::from(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::from(Ipv6Addr::from(bytes))
        };
        SocketAddr::new(ip, port)
    };
    Segment {
        key: FlowKey {
            tap: TapId(record.tap),
            local: address(record.local, record.local_port),
            remote: address(record.remote, record.remote_port),
        },
        cgroup: CgroupId(record.cgroup),
        direction: if record.direction == DIRECTION_INGRESS { Direction::Ingress } else { Direction::Egress },
        time: record.time,
        sequence: record.sequence,
        flags: TcpFlags(record.flags),
        payload,
        cut: record.cut,
    }
}

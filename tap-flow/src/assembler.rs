//! The table of flows: finds a segment's flow, and bounds how many there are, what they hold and for how long.
//!
//! A segment costs one lookup and no scan: flows are kept in lists by last use, by how long they have held
//! something, and by when they closed.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::{
    exchange::{Cause, Exchange},
    flow::{Context, Flow},
    limits::Limits,
    lru::Lru,
    pairing::PairPool,
    segment::{Direction, FlowKey, Segment, TapId, TcpFlags},
    stats::{FlowStats, Protocol, Reason},
};

/// What nobody needs of a connection from here on: its source may leave it out, and need not.
///
/// SYN, FIN and RST are always needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unneeded {
    #[default]
    Nothing,
    /// The payload of this direction up to this sequence number: the rest of a body that is past its cap.
    Until { direction: Direction, sequence: u32 },
    /// All payload. `protocol` says what the connection speaks, where it was never HTTP/1.
    Rest { protocol: Option<Protocol> },
}

/// Reassembles, parses and pairs the flows that it is given.
#[derive(Debug)]
pub struct Assembler {
    limits: Limits,
    /// The hash is seeded at random: peers choose their ports.
    index: HashMap<FlowKey, u32, RandomState>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    next_serial: u64,
    /// Flows that are open, by last segment.
    open: Lru,
    /// Flows that hold memory, by since when.
    holding: Lru,
    /// Flows that are closed, by since when.
    closed: Lru,
    /// Flows with a hole, by when it has to be looked at.
    holes: VecDeque<HoleTimer>,
    held_bytes: usize,
    /// Flows that are parsed.
    parsing: usize,
    pairs: PairPool,
    /// Learnt from the traffic: whether a missing SYN of a tapped server means loss.
    sees_server_syn: bool,
    taps: HashMap<TapId, u32>,
    stats: Vec<FlowStats>,
    free_stats: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    key: FlowKey,
    serial: u64,
    /// Where the stats of its tap are.
    tap: u32,
    /// Of its last segment; of a closed flow, of the end.
    time: u64,
    state: State,
    buffered_bytes: u64,
    held_bytes: usize,
    has_timer: bool,
}

#[derive(Debug)]
enum State {
    Parsing(Box<Flow>),
    /// Nothing is parsed any more; every byte is discarded for the reason.
    Stopped {
        reason: Reason,
        protocol: Option<Protocol>,
        ingress_ended: bool,
        egress_ended: bool,
    },
    /// Remembered for a while: what comes late is no new connection.
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct HoleTimer {
    due: u64,
    slot: u32,
    serial: u64,
}

impl Assembler {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            next_serial: 0,
            open: Lru::new(),
            holding: Lru::new(),
            closed: Lru::new(),
            holes: VecDeque::new(),
            held_bytes: 0,
            parsing: 0,
            pairs: PairPool::default(),
            sees_server_syn: false,
            taps: HashMap::new(),
            stats: Vec::new(),
            free_stats: Vec::new(),
        }
    }

    /// Takes one segment; hands every exchange that it completes to `emit`. Returns what is not needed of the
    /// segment's connection from here on.
    pub fn push(&mut self, segment: Segment<'_>, emit: &mut impl FnMut(Exchange)) -> Unneeded {
        self.push_admitted(segment, |_| Ok(()), emit)
    }

    /// Takes one segment, as [`Self::push`] does; asks of a connection that is new whether it is to be followed. The bytes
    /// of one that is not are discarded for the reason, to its end.
    pub fn push_admitted(
        &mut self,
        segment: Segment<'_>,
        admit: impl FnOnce(&FlowKey) -> Result<(), Reason>,
        emit: &mut impl FnMut(Exchange),
    ) -> Unneeded {
        self.give_up_due_holes(segment.time, emit);
        if segment.direction == Direction::Egress && segment.flags.contains(TcpFlags::SYN | TcpFlags::ACK) {
            self.sees_server_syn = true;
        }
        let Some(slot) = self.find_or_open(&segment, admit, emit) else { return Unneeded::Nothing };
        self.with_flow(slot, emit, |slot, context| slot.push(&segment, context));
        let unneeded = self.slots[slot as usize].as_mut().map(|slot| slot.unneeded(segment.direction));
        self.make_room(slot, emit);
        unneeded.unwrap_or_default()
    }

    /// Follows a connection no more where there is a reason: what it holds is emitted, what it says from now on is
    /// discarded for that reason.
    pub fn shed(
        &mut self,
        mut reason_of: impl FnMut(&FlowKey) -> Option<Reason>,
        emit: &mut impl FnMut(Exchange),
    ) {
        for at in 0..self.slots.len() as u32 {
            let parsing = self.slots[at as usize]
                .as_ref()
                .filter(|slot| slot.is_parsing())
                .and_then(|slot| reason_of(&slot.key));
            if let Some(reason) = parsing {
                self.with_flow(at, emit, |slot, context| slot.shed(reason, context));
            }
        }
    }

    /// Gives up, at time `now`, holes that were not filled and flows that have been idle.
    pub fn expire(&mut self, now: u64, emit: &mut impl FnMut(Exchange)) {
        self.give_up_due_holes(now, emit);
        while let Some(slot) = self.closed.oldest()
            && self.is_older(slot, now, self.limits.closed_ns)
        {
            self.remove(slot, Cause::ConnectionClosed, emit);
        }
        while let Some(slot) = self.open.oldest()
            && self.is_older(slot, now, self.limits.idle_ns)
        {
            self.stats_of(slot, |stats| stats.flows_idle += 1);
            self.remove(slot, Cause::Evicted, emit);
        }
    }

    /// Ends every flow.
    pub fn finish(&mut self, emit: &mut impl FnMut(Exchange)) {
        for slot in 0..self.slots.len() as u32 {
            self.remove(slot, Cause::CaptureEnded, emit);
        }
    }

    /// The counters of a tap; all zero for one that was never seen or is forgotten.
    pub fn stats(&self, tap: TapId) -> FlowStats {
        self.taps.get(&tap).map(|at| self.stats[*at as usize].clone()).unwrap_or_default()
    }

    /// The taps that were seen and not forgotten, in no order.
    pub fn taps(&self) -> impl Iterator<Item = TapId> + '_ {
        self.taps.keys().copied()
    }

    /// Flows in the table, closed ones that are still remembered among them.
    pub fn flows(&self) -> usize {
        self.index.len()
    }

    /// Memory held for messages and out of order, in bytes: an estimate, bounded by [`Limits::total_bytes`].
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// All memory of this assembler, in bytes: an estimate.
    pub fn memory(&self) -> usize {
        // A slot, its places in three lists, and its entry in the table, which is at most seven eighths full.
        let slot = size_of::<Option<Slot>>() + Lru::LINK_BYTES * 3 + size_of::<(FlowKey, u32)>() * 8 / 7;
        self.held_bytes + self.parsing * size_of::<Flow>() + self.slots.len() * slot
    }

    /// Ends the flows of a tap and forgets its counters; returns their last values.
    pub fn forget(&mut self, tap: TapId, emit: &mut impl FnMut(Exchange)) -> FlowStats {
        let Some(at) = self.taps.get(&tap).copied() else {
            return FlowStats::default();
        };
        for slot in 0..self.slots.len() as u32 {
            if self.slots[slot as usize].as_ref().is_some_and(|slot| slot.tap == at) {
                self.remove(slot, Cause::CaptureEnded, emit);
            }
        }
        self.taps.remove(&tap);
        self.free_stats.push(at);
        std::mem::take(&mut self.stats[at as usize])
    }

    /// The slot of the segment's flow. None for a segment that neither belongs to one nor begins one.
    fn find_or_open(
        &mut self,
        segment: &Segment<'_>,
        admit: impl FnOnce(&FlowKey) -> Result<(), Reason>,
        emit: &mut impl FnMut(Exchange),
    ) -> Option<u32> {
        if let Some(found) = self.index.get(&segment.key).copied() {
            let reused = segment.flags.contains(TcpFlags::SYN)
                && self.slots[found as usize].as_ref().is_some_and(|slot| slot.is_reused_by(segment));
            if !reused {
                return Some(found);
            }
            self.remove(found, Cause::ConnectionClosed, emit);
        }
        let begins = segment.flags.contains(TcpFlags::SYN) && !segment.flags.contains(TcpFlags::RST);
        if !begins && segment.payload.is_empty() && segment.cut == 0 {
            return None;
        }
        if self.index.len() >= self.limits.flows.max(1) {
            self.evict_oldest(emit);
        }
        Some(self.open(segment, admit(&segment.key)))
    }

    fn open(&mut self, segment: &Segment<'_>, admitted: Result<(), Reason>) -> u32 {
        let tap = self.tap(segment.key.tap);
        let stats = &mut self.stats[tap as usize];
        stats.flows += 1;
        stats.flows_shed += u64::from(admitted.is_err());
        self.parsing += usize::from(admitted.is_ok());
        let serial = self.next_serial;
        self.next_serial += 1;
        let slot = Slot {
            key: segment.key,
            serial,
            tap,
            time: segment.time,
            state: match admitted {
                Ok(()) => State::Parsing(Box::new(Flow::new(segment.key, serial))),
                Err(reason) => {
                    State::Stopped { reason, protocol: None, ingress_ended: false, egress_ended: false }
                }
            },
            buffered_bytes: 0,
            held_bytes: 0,
            has_timer: false,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = Some(slot);
                at
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() as u32 - 1
            }
        };
        self.index.insert(segment.key, at);
        at
    }

    fn tap(&mut self, tap: TapId) -> u32 {
        if let Some(at) = self.taps.get(&tap) {
            return *at;
        }
        let at = self.free_stats.pop().unwrap_or(self.stats.len() as u32);
        if at as usize == self.stats.len() {
            self.stats.push(FlowStats::default());
        }
        self.taps.insert(tap, at);
        at
    }

    /// Runs `step` on a flow, then brings counters, lists and timers up to date.
    fn with_flow(
        &mut self,
        at: u32,
        emit: &mut dyn FnMut(Exchange),
        step: impl FnOnce(&mut Slot, &mut Context<'_>),
    ) {
        let Some(slot) = self.slots[at as usize].as_mut() else { return };
        let stats = &mut self.stats[slot.tap as usize];
        let was_parsing = slot.is_parsing();
        let (sees_server_syn, limits, pairs) = (self.sees_server_syn, &self.limits, &mut self.pairs);
        step(slot, &mut Context { sees_server_syn, limits, pairs, stats, emit });
        let (buffered_bytes, held_bytes, hole_since) = slot.settle();
        self.parsing -= usize::from(was_parsing && !slot.is_parsing());
        stats.bytes_buffered = stats.bytes_buffered - slot.buffered_bytes + buffered_bytes;
        self.held_bytes = self.held_bytes - slot.held_bytes + held_bytes;
        slot.buffered_bytes = buffered_bytes;
        slot.held_bytes = held_bytes;
        if held_bytes == 0 {
            self.holding.remove(at);
        } else if !self.holding.contains(at) {
            self.holding.touch(at);
        }
        if matches!(slot.state, State::Closed) {
            self.open.remove(at);
            if !self.closed.contains(at) {
                self.closed.touch(at);
            }
        } else {
            self.open.touch(at);
        }
        if let Some(since) = hole_since
            && !slot.has_timer
        {
            slot.has_timer = true;
            let due = since.saturating_add(self.limits.hole_ns);
            self.holes.push_back(HoleTimer { due, slot: at, serial: slot.serial });
        }
    }

    fn give_up_due_holes(&mut self, now: u64, emit: &mut impl FnMut(Exchange)) {
        while let Some(timer) = self.holes.front().copied()
            && timer.due <= now
        {
            self.holes.pop_front();
            let hole_ns = self.limits.hole_ns;
            if self.slots[timer.slot as usize].as_ref().is_none_or(|slot| slot.serial != timer.serial) {
                continue;
            }
            self.with_flow(timer.slot, emit, |slot, context| {
                slot.has_timer = false;
                if let State::Parsing(flow) = &mut slot.state
                    && flow.hole_since().is_some_and(|since| since.saturating_add(hole_ns) <= now)
                {
                    flow.give_up_holes(context);
                }
            });
        }
    }

    /// Evicts flows until the caps on memory hold; `at` is the one that may have grown.
    fn make_room(&mut self, at: u32, emit: &mut impl FnMut(Exchange)) {
        if self.slots[at as usize].as_ref().is_some_and(|slot| slot.held_bytes > self.limits.flow_bytes) {
            self.stats_of(at, |stats| stats.flows_evicted += 1);
            self.remove(at, Cause::Evicted, emit);
        }
        while self.held_bytes > self.limits.total_bytes
            && let Some(oldest) = self.holding.oldest()
        {
            self.stats_of(oldest, |stats| stats.flows_evicted += 1);
            self.remove(oldest, Cause::Evicted, emit);
        }
    }

    /// Makes room for one flow.
    fn evict_oldest(&mut self, emit: &mut impl FnMut(Exchange)) {
        if let Some(closed) = self.closed.oldest() {
            self.remove(closed, Cause::ConnectionClosed, emit);
        } else if let Some(open) = self.open.oldest() {
            self.stats_of(open, |stats| stats.flows_evicted += 1);
            self.remove(open, Cause::Evicted, emit);
        }
    }

    fn remove(&mut self, at: u32, cause: Cause, emit: &mut dyn FnMut(Exchange)) {
        self.with_flow(at, emit, |slot, context| {
            if let State::Parsing(flow) = &mut slot.state {
                flow.finish(cause, context);
            }
        });
        if let Some(slot) = self.slots[at as usize].take() {
            self.index.remove(&slot.key);
            self.open.remove(at);
            self.holding.remove(at);
            self.closed.remove(at);
            self.free.push(at);
        }
    }

    fn is_older(&self, at: u32, now: u64, age: u64) -> bool {
        self.slots[at as usize].as_ref().is_some_and(|slot| now.saturating_sub(slot.time) >= age)
    }

    fn stats_of(&mut self, at: u32, change: impl FnOnce(&mut FlowStats)) {
        if let Some(slot) = &self.slots[at as usize] {
            change(&mut self.stats[slot.tap as usize]);
        }
    }
}

impl Slot {
    fn is_parsing(&self) -> bool {
        matches!(self.state, State::Parsing(_))
    }

    fn is_reused_by(&self, segment: &Segment<'_>) -> bool {
        match &self.state {
            State::Parsing(flow) => flow.is_reused_by(segment),
            // Its handshake is not over when a connection is left out: an answer to a SYN begins no other.
            State::Stopped { reason: Reason::ShedForMemory | Reason::ShedForCpu, .. } => {
                !segment.flags.contains(TcpFlags::ACK)
            }
            // Of these nothing is kept that could tell a repeated SYN from a new one.
            State::Stopped { .. } | State::Closed => true,
        }
    }

    fn push(&mut self, segment: &Segment<'_>, context: &mut Context<'_>) {
        match &mut self.state {
            State::Parsing(flow) => {
                self.time = segment.time;
                flow.push(segment, context);
            }
            State::Stopped { reason, protocol: _, ingress_ended, egress_ended } => {
                self.time = segment.time;
                context.stats.bytes_in += segment.payload.len() as u64;
                context.stats.discard(*reason, segment.payload.len() as u64);
                let ends = segment.flags.contains(TcpFlags::FIN);
                match segment.direction {
                    Direction::Ingress => *ingress_ended |= ends,
                    Direction::Egress => *egress_ended |= ends,
                }
                if segment.flags.contains(TcpFlags::RST) || *ingress_ended && *egress_ended {
                    self.state = State::Closed;
                }
            }
            State::Closed => {
                context.stats.bytes_in += segment.payload.len() as u64;
                context.stats.discard(Reason::AfterClose, segment.payload.len() as u64);
            }
        }
    }

    /// What is not needed after a segment of this direction.
    fn unneeded(&mut self, direction: Direction) -> Unneeded {
        match &mut self.state {
            State::Parsing(flow) => flow
                .unneeded_until(direction)
                .map_or(Unneeded::Nothing, |sequence| Unneeded::Until { direction, sequence }),
            // Said each time: who was told may have forgotten it.
            State::Stopped { protocol, .. } => Unneeded::Rest { protocol: *protocol },
            State::Closed => Unneeded::Nothing,
        }
    }

    fn shed(&mut self, reason: Reason, context: &mut Context<'_>) {
        if let State::Parsing(flow) = &mut self.state {
            let (ingress_ended, egress_ended) = flow.ended();
            context.stats.flows_shed += 1;
            flow.finish(Cause::Evicted, context);
            self.state = State::Stopped { reason, protocol: None, ingress_ended, egress_ended };
        }
    }

    /// Lets go of a flow that is done; returns what it buffers and holds, and since when a hole is open.
    fn settle(&mut self) -> (u64, usize, Option<u64>) {
        let State::Parsing(flow) = &mut self.state else {
            return (0, 0, None);
        };
        let settled = (flow.buffered_bytes(), flow.held_bytes(), flow.hole_since());
        if flow.is_closed() {
            self.state = State::Closed;
        } else if let (0, Some(reason)) = (settled.0, flow.stopped()) {
            let (ingress_ended, egress_ended) = flow.ended();
            let protocol = flow.protocol();
            self.state = State::Stopped { reason, protocol, ingress_ended, egress_ended };
        } else {
            return settled;
        }
        (0, 0, None)
    }
}

//! Which response answers which request.
//!
//! HTTP/1 has no ids: the Nth response answers the Nth request, so a lost message shifts every pair after it.
//! Pairing is therefore *in step* or not. It is in step from the start of a connection; it falls out of step
//! when messages may have been lost in either direction; and it is taken up again by a request that starts
//! where only a new turn can start: at the beginning of a segment, after the other side has spoken, with
//! nothing outstanding, on a connection that was never seen to pipeline. Out of step, messages are emitted
//! on their own.

use std::collections::VecDeque;

use crate::{
    exchange::{Request, Response},
    http1::{Doubt, Method},
    reassembly::Arrival,
};

/// The requests of one connection that wait for their response.
#[derive(Debug, Default)]
pub(crate) struct Pairing {
    queue: VecDeque<Box<Pair>>,
    in_step: bool,
    /// A request was sent before the response to an earlier one.
    pipelined: bool,
    /// A message was seen.
    begun: bool,
    next_index: u32,
    wire_bytes: u64,
    held_bytes: usize,
}

/// An exchange in the making.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    pub(crate) index: u32,
    method: Method,
    pub(crate) request: Option<Request>,
    pub(crate) response: Option<Response>,
    pub(crate) wire_bytes: u64,
    held_bytes: usize,
}

/// Pairs that are used again: of thousands of connections few have one at a time.
#[derive(Debug, Default)]
pub(crate) struct PairPool {
    #[expect(clippy::vec_box, reason = "boxes go to connections and come back")]
    free: Vec<Box<Pair>>,
}

/// More than this many are not kept.
const MAX_FREE_PAIRS: usize = 64;

impl PairPool {
    fn take(&mut self, index: u32, method: Method) -> Box<Pair> {
        let mut pair = self.free.pop().unwrap_or_default();
        pair.index = index;
        pair.method = method;
        pair
    }

    /// Takes back a pair whose messages were taken out.
    pub(crate) fn give(&mut self, mut pair: Box<Pair>) {
        if self.free.len() < MAX_FREE_PAIRS {
            // Field by field: the whole is half a kilobyte.
            let Pair { index: _, method: _, request, response, wire_bytes, held_bytes } = &mut *pair;
            (*request, *response, *wire_bytes, *held_bytes) = (None, None, 0, 0);
            self.free.push(pair);
        }
    }
}

/// Where a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A request: at the end of the queue. A response: with the head of the queue.
    Paired,
    /// It is emitted on its own, with this index.
    Alone { index: u32 },
}

impl Pairing {
    /// A request may have been lost.
    pub(crate) fn lose_step(&mut self) {
        self.in_step = false;
    }

    pub(crate) fn is_pipelined(&self) -> bool {
        self.pipelined
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The request that is still open has its final response already.
    pub(crate) fn is_answered_early(&self) -> bool {
        self.queue.back().is_some_and(|pair| pair.request.is_none() && pair.response.is_some())
    }

    /// Requests, and responses without one, that were seen so far.
    pub(crate) fn messages(&self) -> u32 {
        self.next_index
    }

    /// Payload bytes of the messages that wait.
    pub(crate) fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// Memory that the messages hold that wait.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether a request that starts like this takes pairing up again. If so, whatever response is still open
    /// is none of its business.
    pub(crate) fn is_resumed_by(&self, started: Arrival, doubt: Option<Doubt>) -> bool {
        let certain = doubt.is_none() && started.turn;
        let joined = !self.begun && doubt == Some(Doubt::Joined);
        let alone = self.queue.is_empty() && started.segment_start;
        !self.in_step && !self.pipelined && alone && (certain || joined)
    }

    /// The next request will be answered by the next response.
    pub(crate) fn resume(&mut self) {
        self.in_step = true;
    }

    /// Finds the place of a request whose head is complete.
    pub(crate) fn place_request(
        &mut self,
        method: Method,
        started: Arrival,
        max_queue: usize,
        pool: &mut PairPool,
    ) -> Place {
        self.begun = true;
        // A client that had read the earlier response could not have sent both in one segment.
        self.pipelined |= !self.queue.is_empty() && !started.segment_start;
        let index = self.take_index();
        if self.in_step && self.queue.len() >= max_queue {
            self.in_step = false;
            self.pipelined = true;
        }
        if !self.in_step {
            return Place::Alone { index };
        }
        self.queue.push_back(pool.take(index, method));
        Place::Paired
    }

    /// Finds the place of a response whose head is complete, and the method of its request as far as it is known.
    pub(crate) fn place_response(&mut self) -> (Place, Method) {
        self.begun = true;
        if let Some(pair) = self.queue.front()
            && pair.response.is_none()
        {
            let method = pair.method;
            self.pipelined |= self.queue.len() > 1;
            return (Place::Paired, method);
        }
        // Its request was lost, or the server speaks unasked.
        self.in_step = false;
        (Place::Alone { index: self.take_index() }, Method::default())
    }

    /// Puts a complete request into its place.
    pub(crate) fn put_request(&mut self, request: Request, wire_bytes: u64) {
        let held_bytes = request.body.content.len() + wire_bytes.min(MAX_HEAD_ESTIMATE) as usize;
        if let Some(pair) = self.queue.back_mut() {
            pair.request = Some(request);
            pair.wire_bytes += wire_bytes;
            pair.held_bytes += held_bytes;
            self.wire_bytes += wire_bytes;
            self.held_bytes += held_bytes;
        }
    }

    /// Puts a complete response into its place.
    pub(crate) fn put_response(&mut self, response: Response, wire_bytes: u64) {
        let held_bytes = response.body.content.len() + wire_bytes.min(MAX_HEAD_ESTIMATE) as usize;
        if let Some(pair) = self.queue.front_mut() {
            pair.response = Some(response);
            pair.wire_bytes += wire_bytes;
            pair.held_bytes += held_bytes;
            self.wire_bytes += wire_bytes;
            self.held_bytes += held_bytes;
        }
    }

    /// The first pair, if request and response are complete.
    pub(crate) fn pop_complete(&mut self) -> Option<Box<Pair>> {
        let pair = self.queue.front()?;
        if pair.request.is_none() || pair.response.is_none() {
            return None;
        }
        self.pop()
    }

    /// The first pair, if nothing more can come to it: its request is complete, or it is not the last.
    pub(crate) fn pop_unanswered(&mut self) -> Option<Box<Pair>> {
        self.queue.front()?.request.as_ref()?;
        self.pop()
    }

    /// The last pair, whose request is not complete and has no response: it is to be emitted on its own.
    pub(crate) fn pop_open(&mut self) -> Option<Box<Pair>> {
        let pair = self.queue.back()?;
        if pair.request.is_some() || pair.response.is_some() {
            return None;
        }
        self.queue.pop_back()
    }

    /// The first pair, whatever it has.
    pub(crate) fn pop(&mut self) -> Option<Box<Pair>> {
        let pair = self.queue.pop_front()?;
        self.wire_bytes -= pair.wire_bytes;
        self.held_bytes -= pair.held_bytes;
        Some(pair)
    }

    fn take_index(&mut self) -> u32 {
        let index = self.next_index;
        self.next_index = index.wrapping_add(1);
        index
    }
}

/// Of a waiting message's wire bytes, at most so many are taken for its head when memory is estimated.
const MAX_HEAD_ESTIMATE: u64 = 1024;

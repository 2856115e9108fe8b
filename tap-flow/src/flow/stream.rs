//! One direction of a connection.

use crate::{http1::Parser, limits::Limits, pairing::Place, reassembly::Reassembler, stats::Reason};

/// One direction of it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) reassembler: Reassembler,
    pub(super) parser: Parser,
    /// Where the open message belongs.
    pub(super) place: Place,
    /// The direction was followed from its SYN, or from a message on: nothing went by unnoticed.
    pub(super) anchored: bool,
    /// A message was lost, or its end.
    pub(super) lost_sync: bool,
    /// Why nothing is parsed any more.
    pub(super) stopped: Option<Reason>,
    /// The end was reached and handled.
    pub(super) ended: bool,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            reassembler: Reassembler::default(),
            parser: Parser::joined(),
            place: Place::Alone { index: 0 },
            anchored: false,
            lost_sync: false,
            stopped: None,
            ended: false,
        }
    }

    pub(super) fn buffered_bytes(&self) -> u64 {
        self.reassembler.held_bytes() as u64 + self.parser.wire_bytes()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.reassembler.held_bytes() + self.parser.held_bytes()
    }

    pub(super) fn holds_too_much(&self, limits: &Limits) -> bool {
        self.reassembler.held_bytes() > limits.out_of_order_bytes
            || self.reassembler.held_pieces() > limits.out_of_order_segments
    }
}

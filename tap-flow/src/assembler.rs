//! Segments in, exchanges out.

use crate::{exchange::Exchange, segment::Segment};

/// Reassembles, parses and pairs the flows that it is given.
#[derive(Debug)]
pub struct Assembler {}

/// Caps on what an [`Assembler`] holds. Past each, bytes are counted and forgotten, never kept.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of a body, kept.
    pub body_bytes: usize,
}

impl Assembler {
    pub fn new(_limits: Limits) -> Self {
        Self {}
    }

    /// Takes one segment; hands every exchange that it completes to `emit`.
    pub fn push(&mut self, _segment: Segment<'_>, _emit: &mut impl FnMut(Exchange)) {}

    /// Gives up flows that have been idle at time `now`.
    pub fn expire(&mut self, _now: u64, _emit: &mut impl FnMut(Exchange)) {}

    /// Ends every flow.
    pub fn finish(&mut self, _emit: &mut impl FnMut(Exchange)) {}
}

//! One direction of a connection: segments in any order in, bytes in the order of their sequence numbers out.
//!
//! A segment that continues the stream is handed back to the caller as it is and never copied. What comes
//! too early is held, within caps; of bytes that come twice the first copy wins. A hole that will not be
//! filled is given up by [`Reassembler::give_up_hole`], which yields its size.

/// What a segment turned out to be. `skip` leading payload bytes were seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// The payload from `skip` on continues the stream, then `cut` bytes that will not come. Then ask for
    /// [`Reassembler::next_ready`].
    InOrder { skip: usize, cut: u32 },
    /// Copied (but for `duplicate` bytes) to wait for its turn, which may have come: ask for
    /// [`Reassembler::next_ready`].
    Held { duplicate: usize },
    /// Seen before as a whole.
    Duplicate,
    /// After the end of the stream.
    AfterEnd,
}

/// A piece of the stream that was held.
#[derive(Debug)]
pub(crate) struct Piece {
    sequence: u32,
    pub(crate) payload: Box<[u8]>,
    /// Bytes after the payload that will not come.
    pub(crate) cut: u32,
    pub(crate) arrival: Arrival,
}

/// How a segment came, as far as parsing cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) time: u64,
    /// The first byte is the first of its segment.
    pub(crate) segment_start: bool,
    /// The other direction was the last to carry payload before this segment.
    pub(crate) turn: bool,
}

/// The sequence space of one direction.
#[derive(Debug, Default)]
pub(crate) struct Reassembler {
    /// The sequence number of the next byte, once one is known.
    next: Option<u32>,
    /// The sequence number of the SYN.
    initial: Option<u32>,
    /// The sequence number of the FIN.
    fin: Option<u32>,
    /// Sorted, disjoint, all after `next`.
    held: Vec<Piece>,
    held_bytes: usize,
    /// The bytes up to this sequence number may be missing: nobody needs them.
    spared: Option<u32>,
}

/// Fewer bytes than a large segment holds are not worth asking the source to leave them out.
const MIN_SPARED: u32 = 64 * 1024;

/// How far ahead bytes are spared at once: a sequence number tells half its range apart.
const MAX_SPARED: u32 = 1 << 30;

/// A TCP window is at most 1 GiB, so what is further behind than that is in truth ahead.
const MAX_BEHIND: u32 = 1 << 30;

impl Reassembler {
    /// Notes the SYN with which the stream begins.
    pub(crate) fn syn(&mut self, sequence: u32) {
        self.initial = Some(sequence);
        self.next = Some(sequence.wrapping_add(1));
    }

    /// Lets the next `bytes` be missing, or as many as can be told; where to, if that is new.
    pub(crate) fn spare(&mut self, bytes: u64) -> Option<u32> {
        let next = self.next.filter(|_| self.held.is_empty() && self.fin.is_none())?;
        let bytes = u32::try_from(bytes).unwrap_or(MAX_SPARED).min(MAX_SPARED);
        let until = next.wrapping_add(bytes);
        let gained = until.wrapping_sub(self.spared.unwrap_or(next));
        // What is open to the end of the connection is spared anew when half of it has gone by.
        let is_new = gained > 0 && (bytes < MAX_SPARED || gained > MAX_SPARED / 2);
        if bytes < MIN_SPARED || !is_new {
            return None;
        }
        self.spared = Some(until);
        Some(until)
    }

    /// Goes on to `sequence` over bytes that were spared; how many.
    pub(crate) fn pass_spared(&mut self, sequence: u32) -> u32 {
        let (Some(next), Some(until)) = (self.next, self.spared) else { return 0 };
        let Some(room) = ahead(next, until) else {
            self.spared = None;
            return 0;
        };
        let Some(distance) = ahead(next, sequence) else { return 0 };
        let passed = distance.min(room);
        self.next = Some(next.wrapping_add(passed));
        passed
    }

    /// Notes the sequence number that follows the last byte.
    pub(crate) fn fin(&mut self, sequence: u32) {
        let next = *self.next.get_or_insert(sequence);
        if behind(next, sequence).is_none_or(|distance| distance == 0) {
            self.fin.get_or_insert(sequence);
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.next.is_some()
    }

    pub(crate) fn saw_syn(&self) -> bool {
        self.initial.is_some()
    }

    /// Whether this is the sequence number of the stream's SYN.
    pub(crate) fn began_with(&self, sequence: u32) -> bool {
        self.initial == Some(sequence)
    }

    /// Every byte up to the FIN was delivered or given up.
    pub(crate) fn has_ended(&self) -> bool {
        matches!((self.next, self.fin), (Some(next), Some(fin)) if behind(next, fin).is_some())
    }

    /// Something is known to follow bytes that did not come yet.
    pub(crate) fn has_hole(&self) -> bool {
        !self.has_ended() && (!self.held.is_empty() || self.fin.is_some())
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(crate) fn held_pieces(&self) -> usize {
        self.held.len()
    }

    /// Whether a segment carries bytes that were not delivered yet.
    pub(crate) fn is_new(&self, sequence: u32, length: u32) -> bool {
        length > 0 && self.next.is_none_or(|next| behind(next, sequence.wrapping_add(length)).is_none())
    }

    /// Takes the payload at `sequence`, followed by `cut` bytes that were not captured.
    pub(crate) fn offer(&mut self, sequence: u32, payload: &[u8], cut: u32, arrival: Arrival) -> Offer {
        let next = *self.next.get_or_insert(sequence);
        if self.has_ended() {
            return if behind(next, sequence).is_some_and(|n| n > 0) {
                Offer::Duplicate
            } else {
                Offer::AfterEnd
            };
        }
        let length = payload.len() + cut as usize;
        let skip = match behind(next, sequence) {
            Some(overlap) if overlap as usize >= length => return Offer::Duplicate,
            Some(overlap) => overlap as usize,
            // What stands before it may have come in the same turn.
            None => return self.hold(sequence, payload, cut, Arrival { turn: false, ..arrival }),
        };
        let skip_payload = skip.min(payload.len());
        let cut = cut - (skip - skip_payload) as u32;
        if self.held.is_empty() {
            self.next = Some(sequence.wrapping_add(length as u32));
            return Offer::InOrder { skip: skip_payload, cut };
        }
        let arrival = Arrival { segment_start: arrival.segment_start && skip == 0, ..arrival };
        match self.hold(next, &payload[skip_payload..], cut, arrival) {
            Offer::Held { duplicate } => Offer::Held { duplicate: duplicate + skip_payload },
            other => other,
        }
    }

    /// The next piece, if the stream has reached it.
    pub(crate) fn next_ready(&mut self) -> Option<Piece> {
        let next = self.next?;
        if self.held.first()?.sequence != next {
            return None;
        }
        let piece = self.held.remove(0);
        self.held_bytes -= piece.payload.len();
        self.next = Some(next.wrapping_add(piece.length()));
        Some(piece)
    }

    /// Gives up the bytes before the first held piece, or before the FIN: how many there are.
    pub(crate) fn give_up_hole(&mut self) -> Option<u32> {
        let next = self.next?;
        let resume = match (self.held.first(), self.fin) {
            (Some(piece), _) => piece.sequence,
            (None, Some(fin)) => fin,
            (None, None) => return None,
        };
        self.next = Some(resume);
        Some(resume.wrapping_sub(next)).filter(|hole| *hole > 0)
    }

    /// Forgets what is held: how many bytes that was.
    pub(crate) fn clear(&mut self) -> usize {
        self.held.clear();
        std::mem::take(&mut self.held_bytes)
    }

    /// Inserts what of the range is not held yet.
    fn hold(&mut self, sequence: u32, payload: &[u8], cut: u32, arrival: Arrival) -> Offer {
        let base = self.next.unwrap_or(sequence);
        // Wider than a sequence number, so that sums do not wrap.
        let offset = |sequence: u32| u64::from(sequence.wrapping_sub(base));
        let (mut from, end) = (offset(sequence), offset(sequence) + payload.len() as u64);
        let mut index =
            self.held.partition_point(|piece| offset(piece.sequence) + u64::from(piece.length()) <= from);
        let mut taken = 0;
        let start = from;
        while from < end {
            let (until, resume) = match self.held.get(index) {
                Some(piece) => {
                    let held = offset(piece.sequence);
                    (held.min(end), held + u64::from(piece.length()))
                }
                None => (end, end),
            };
            if from < until {
                let bytes: Box<[u8]> = payload[(from - start) as usize..(until - start) as usize].into();
                taken += bytes.len();
                let arrival = Arrival { segment_start: arrival.segment_start && from == start, ..arrival };
                let piece =
                    Piece { sequence: base.wrapping_add(from as u32), payload: bytes, cut: 0, arrival };
                self.held.insert(index, piece);
                index += 1;
            }
            from = resume.max(until);
            if until < end {
                index += 1;
            }
        }
        self.mark_cut(base, end, cut);
        self.held_bytes += taken;
        Offer::Held { duplicate: payload.len() - taken }
    }

    /// Notes that the `cut` bytes at `end` were not captured, as far as no held piece has them.
    fn mark_cut(&mut self, base: u32, end: u64, cut: u32) {
        if cut == 0 {
            return;
        }
        let offset = |sequence: u32| u64::from(sequence.wrapping_sub(base));
        let ends_here = |piece: &Piece| offset(piece.sequence) + u64::from(piece.length()) == end;
        let Some(index) = self.held.iter().position(ends_here) else {
            return;
        };
        let room =
            self.held.get(index + 1).map_or(u64::MAX, |after| offset(after.sequence).saturating_sub(end));
        self.held[index].cut = self.held[index].cut.saturating_add(u64::from(cut).min(room) as u32);
    }
}

impl Piece {
    fn length(&self) -> u32 {
        (self.payload.len() as u32).saturating_add(self.cut)
    }
}

/// How far `sequence` is ahead of `next`, as far as bytes can be spared; none if it is not.
fn ahead(next: u32, sequence: u32) -> Option<u32> {
    Some(sequence.wrapping_sub(next)).filter(|distance| (1..=MAX_BEHIND).contains(distance))
}

/// How far `sequence` is behind `next`; none if it is ahead.
fn behind(next: u32, sequence: u32) -> Option<u32> {
    Some(next.wrapping_sub(sequence)).filter(|distance| *distance <= MAX_BEHIND)
}

//! What becomes of fields by name, as far as a document has asked before: most documents repeat a few names, in the
//! same order.

use std::{cell::Cell, ops::Range};

use crate::policy::Verdict;

/// Remembered at once; a power of two.
const SLOTS: usize = 64;

/// What is known of names, the newest of each slot.
#[derive(Debug, Default)]
pub(super) struct NameCache<'r> {
    /// Empty until the first name.
    slots: Vec<Option<Slot<'r>>>,
    /// The slot of the name that was read last.
    last: usize,
}

#[derive(Clone, Debug)]
struct Slot<'r> {
    /// Where the name was read first: it is compared with that.
    name: Range<usize>,
    verdict: Verdict<'r>,
    /// Whether it says what a value may be; not asked before a value does.
    announces: Cell<Option<bool>>,
    /// The slot of the name that came after it.
    next: usize,
}

/// A name that is in the cache, or was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    slot: usize,
    /// Where the name was read first: tells it from another one that has taken its slot.
    start: usize,
}

impl<'r> NameCache<'r> {
    /// The name at `at`, after its opening quote, where it ends and what becomes of its value, if it is the one that came
    /// after the last one before.
    pub(super) fn expected(&mut self, input: &[u8], at: usize) -> Option<(Known, usize, &Verdict<'r>)> {
        let next = self.slots.get(self.last)?.as_ref()?.next;
        let slot = self.slots.get(next)?.as_ref()?;
        // With the closing quote: the name has none within.
        let name = input.get(slot.name.start..slot.name.end + 1)?;
        if !input.get(at..)?.starts_with(name) {
            return None;
        }
        self.last = next;
        let slot = self.slots.get(next)?.as_ref()?;
        Some((Known { slot: next, start: slot.name.start }, at + name.len() - 1, &slot.verdict))
    }

    pub(super) fn get(&mut self, input: &[u8], name: &[u8]) -> Option<(Known, Verdict<'r>)> {
        let index = index(name);
        let slot = self.slots.get(index)?.as_ref()?;
        if input.get(slot.name.clone()) != Some(name) {
            return None;
        }
        let found = (Known { slot: index, start: slot.name.start }, slot.verdict);
        self.comes_after_last(index);
        Some(found)
    }

    /// Remembers the name that stands there in the input.
    pub(super) fn put(&mut self, input: &[u8], name: Range<usize>, verdict: Verdict<'r>) -> Option<Known> {
        let index = index(input.get(name.clone())?);
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, None);
        }
        let start = name.start;
        self.slots[index] = Some(Slot { name, verdict, announces: Cell::new(None), next: index });
        self.comes_after_last(index);
        Some(Known { slot: index, start })
    }

    /// Whether the name says what a value may be; asks `of_name` where that is not known yet.
    pub(super) fn announces(&self, input: &[u8], known: Known, of_name: impl Fn(&[u8]) -> bool) -> bool {
        let slot = self.slots.get(known.slot).and_then(Option::as_ref);
        // Of a name that is no longer known, anything may be.
        let Some(slot) = slot.filter(|slot| slot.name.start == known.start) else { return true };
        let announces = slot.announces.get().unwrap_or_else(|| of_name(&input[slot.name.clone()]));
        slot.announces.set(Some(announces));
        announces
    }

    fn comes_after_last(&mut self, index: usize) {
        if let Some(Some(last)) = self.slots.get_mut(self.last) {
            last.next = index;
        }
        self.last = index;
    }
}

/// By its ends and its length: names that share these meet in one slot, and only cost a look-up.
fn index(name: &[u8]) -> usize {
    let first = name.first_chunk::<4>().map_or_else(|| fold(name), |chunk| u32::from_le_bytes(*chunk));
    let last = name.last_chunk::<4>().map_or(0, |chunk| u32::from_le_bytes(*chunk));
    let mixed = (u64::from(first) << 32 | u64::from(last)) ^ (name.len() as u64).rotate_left(20);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize
}

fn fold(name: &[u8]) -> u32 {
    name.iter().fold(0, |fold, byte| fold << 8 | u32::from(*byte))
}

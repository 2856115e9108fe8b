//! What becomes of fields by name, as far as a document has asked before: most documents repeat a few names.

use crate::policy::Verdict;

/// Remembered at once; a power of two.
const SLOTS: usize = 64;

/// Longest name that is remembered, in bytes.
const MAX_NAME_BYTES: usize = 40;

/// Verdicts by name, the newest of each slot.
#[derive(Debug, Default)]
pub(super) struct NameCache<'r> {
    /// Empty until the first name.
    slots: Vec<Option<Slot<'r>>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot<'r> {
    name: [u8; MAX_NAME_BYTES],
    length: usize,
    verdict: Verdict<'r>,
}

impl<'r> NameCache<'r> {
    pub(super) fn get(&self, name: &[u8]) -> Option<Verdict<'r>> {
        let slot = self.slots.get(index(name))?.as_ref()?;
        (slot.name.get(..slot.length) == Some(name)).then_some(slot.verdict)
    }

    pub(super) fn put(&mut self, name: &[u8], verdict: Verdict<'r>) {
        if name.len() > MAX_NAME_BYTES {
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, None);
        }
        let mut bytes = [0; MAX_NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name);
        self.slots[index(name)] = Some(Slot { name: bytes, length: name.len(), verdict });
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

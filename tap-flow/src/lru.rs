//! A list of slots in the order of their last use, with every operation in constant time.

const NONE: u32 = u32::MAX;

/// Links slots of a table; a slot is in the list at most once.
#[derive(Debug)]
pub(crate) struct Lru {
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
    linked: bool,
}

impl Lru {
    /// Memory of one slot's place.
    pub(crate) const LINK_BYTES: usize = size_of::<Link>();

    pub(crate) fn new() -> Self {
        Self { links: Vec::new(), newest: NONE, oldest: NONE }
    }

    /// The slot whose last touch is longest ago.
    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.links.get(slot as usize).is_some_and(|link| link.linked)
    }

    /// Makes `slot` the newest, whether or not it is in the list.
    pub(crate) fn touch(&mut self, slot: u32) {
        if self.newest == slot {
            return;
        }
        self.remove(slot);
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, Link { newer: NONE, older: NONE, linked: false });
        }
        self.links[slot as usize] = Link { newer: NONE, older: self.newest, linked: true };
        match self.newest {
            NONE => self.oldest = slot,
            newest => self.links[newest as usize].newer = slot,
        }
        self.newest = slot;
    }

    /// Takes `slot` out, if it is in.
    pub(crate) fn remove(&mut self, slot: u32) {
        if !self.contains(slot) {
            return;
        }
        let Link { newer, older, .. } = self.links[slot as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
        self.links[slot as usize].linked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lru: &mut Lru) -> Vec<u32> {
        let mut slots = Vec::new();
        while let Some(slot) = lru.oldest() {
            lru.remove(slot);
            slots.push(slot);
        }
        slots
    }

    #[test]
    fn the_oldest_touch_comes_first() {
        let mut lru = Lru::new();
        for slot in [3, 1, 2, 3, 0, 1] {
            lru.touch(slot);
        }
        assert_eq!(drain(&mut lru), [2, 3, 0, 1]);
        assert_eq!(lru.oldest(), None);
    }

    #[test]
    fn removal_relinks_both_sides_and_is_idempotent() {
        let mut lru = Lru::new();
        for slot in 0..5 {
            lru.touch(slot);
        }
        for slot in [2, 0, 4, 2, 9] {
            lru.remove(slot);
        }
        assert!(!lru.contains(2));
        lru.touch(2);
        assert_eq!(drain(&mut lru), [1, 3, 2]);
    }
}

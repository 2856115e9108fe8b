//! Counts by key, within a bound: the keys that were not asked for longest are forgotten.

use std::{collections::HashMap, hash::Hash, mem};

/// How often each key came; half of the bound are the keys of late, half those before them.
#[derive(Debug)]
pub(super) struct Recent<K> {
    young: HashMap<K, u64>,
    old: HashMap<K, u64>,
    half: usize,
    forgotten: u64,
}

impl<K: Eq + Hash> Recent<K> {
    pub(super) fn new(bound: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: bound.div_ceil(2).max(1), forgotten: 0 }
    }

    /// How often `key` came before.
    pub(super) fn next(&mut self, key: K) -> u64 {
        if let Some(count) = self.young.get_mut(&key) {
            *count += 1;
            return *count - 1;
        }
        let before = self.old.remove(&key).unwrap_or_default();
        if self.young.len() >= self.half {
            self.forgotten += self.old.len() as u64;
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, before + 1);
        before
    }

    /// Keys whose counts are gone.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_and_the_oldest_forgotten() {
        let mut recent = Recent::new(4);
        assert_eq!([recent.next(1), recent.next(1), recent.next(2)], [0, 1, 0]);
        // 1 stays because it is used; 2 goes.
        for key in 3..20_u64 {
            assert_eq!((recent.next(key), recent.next(1)), (0, key - 1));
        }
        assert_eq!(recent.next(2), 0);
        assert!(recent.young.len() + recent.old.len() <= 4);
        assert!(recent.forgotten() > 0);
        recent.clear();
        assert_eq!(recent.next(1), 0);
    }
}

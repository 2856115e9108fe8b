//! The data files of a view, by path: a map that is cheap to copy.
//!
//! Every commit makes a view of its own, while searches hold earlier ones. A table of a hundred thousand files would
//! spend milliseconds of each commit on the copy of a plain map; here a copy shares all buckets with its original,
//! and a change copies one.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use super::DataFile;

/// A commit touches a few buckets, and copies the pointers to all: about equal at a hundred thousand files.
const BUCKETS: u64 = 512;

type Bucket = BTreeMap<String, Arc<DataFile>>;

#[derive(Clone, Debug)]
pub(crate) struct DataFiles {
    buckets: Vec<Arc<Bucket>>,
}

impl DataFiles {
    pub(crate) fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Arc::default()).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.len()).sum()
    }

    pub(crate) fn contains_key(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Arc<DataFile>> {
        self.buckets[bucket(path)].get(path)
    }

    pub(crate) fn insert(&mut self, path: String, file: Arc<DataFile>) {
        let bucket = Arc::make_mut(&mut self.buckets[bucket(&path)]);
        bucket.insert(path, file);
    }

    pub(crate) fn remove(&mut self, path: &str) {
        let bucket = &mut self.buckets[bucket(path)];
        if bucket.contains_key(path) {
            Arc::make_mut(bucket).remove(path);
        }
    }

    /// In no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.buckets.iter().flat_map(|bucket| bucket.values())
    }
}

fn bucket(path: &str) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(path);
    usize::try_from(hash % BUCKETS).expect("below the number of buckets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: usize) -> (String, Arc<DataFile>) {
        let path = format!("date=2026-01-02/part-{number}.parquet");
        let file = DataFile::new(path.as_str().into(), 1, 0, None);
        (path, Arc::new(file))
    }

    #[test]
    fn copies_are_independent_and_share_what_is_equal() {
        let mut files = DataFiles::new();
        for (path, file) in (0..5000).map(file) {
            files.insert(path, file);
        }
        let before = files.clone();
        let (path, again) = file(7);
        files.insert(path.clone(), again);
        assert_eq!(files.len(), 5000);
        files.remove(&path);
        files.remove(&path);
        assert_eq!((files.len(), before.len()), (4999, 5000));
        assert!(!files.contains_key(&path) && before.contains_key(&path));
        let shared = files.buckets.iter().zip(&before.buckets).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, BUCKETS as usize - 1);
        assert_eq!(files.values().count(), 4999);
    }
}

//! Footers of data files that were read lately: a search reads the same ones for each of its pages.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use deltalake::parquet::arrow::arrow_reader::ArrowReaderMetadata;
use object_store::path::Path;

/// Kept at most. With its page index, the footer of a file of one commit takes some 100 KiB in memory.
const MAX_BYTES: usize = 96 * 1024 * 1024;

/// What a footer takes beside what the Parquet library counts: the schema in its two forms.
const SCHEMA_BYTES: usize = 48 * 1024;

/// The footers that were used last, as many as fit.
#[derive(Debug)]
pub(crate) struct Footers {
    max_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    footers: HashMap<Path, Footer>,
    /// The files by when they were used, the longest ago first.
    uses: BTreeMap<u64, Path>,
    next_use: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Footer {
    metadata: ArrowReaderMetadata,
    bytes: usize,
    used: u64,
}

impl Default for Footers {
    fn default() -> Self {
        Self { max_bytes: MAX_BYTES, kept: Mutex::default() }
    }
}

impl Footers {
    pub(crate) fn get(&self, path: &Path) -> Option<ArrowReaderMetadata> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *kept;
        let footer = kept.footers.get_mut(path)?;
        let path = kept.uses.remove(&footer.used)?;
        footer.used = kept.next_use;
        kept.uses.insert(footer.used, path);
        kept.next_use += 1;
        Some(footer.metadata.clone())
    }

    pub(crate) fn put(&self, path: &Path, metadata: ArrowReaderMetadata) {
        let bytes = metadata.metadata().memory_size() + SCHEMA_BYTES;
        if bytes > self.max_bytes / 4 {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(path);
        let used = kept.next_use;
        kept.next_use += 1;
        kept.bytes += bytes;
        kept.uses.insert(used, path.clone());
        kept.footers.insert(path.clone(), Footer { metadata, bytes, used });
        while kept.bytes > self.max_bytes
            && let Some((_, path)) = kept.uses.first_key_value()
        {
            let path = path.clone();
            kept.remove(&path);
        }
    }
}

impl Kept {
    fn remove(&mut self, path: &Path) {
        if let Some(footer) = self.footers.remove(path) {
            self.uses.remove(&footer.used);
            self.bytes -= footer.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use deltalake::{
        arrow::{array::RecordBatch, datatypes::Schema},
        parquet::{
            arrow::{ArrowWriter, arrow_reader::ArrowReaderOptions},
            file::metadata::ParquetMetaDataReader,
        },
    };

    use super::*;

    fn metadata() -> ArrowReaderMetadata {
        let schema = Arc::new(Schema::empty());
        let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), None).unwrap();
        writer.write(&RecordBatch::new_empty(schema)).unwrap();
        let bytes = bytes::Bytes::from(writer.into_inner().unwrap());
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
        ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new()).unwrap()
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let one = metadata().metadata().memory_size() + SCHEMA_BYTES;
        let footers = Footers { max_bytes: one * 4, ..Footers::default() };
        let path = |index: usize| Path::from(format!("{index}"));
        for index in 0..4 {
            footers.put(&path(index), metadata());
        }
        assert!(footers.get(&path(0)).is_some());
        footers.put(&path(4), metadata());
        footers.put(&path(4), metadata());
        let kept: Vec<_> = (0..5).filter(|index| footers.get(&path(*index)).is_some()).collect();
        assert_eq!(kept, [0, 2, 3, 4]);
        assert_eq!(footers.kept.lock().unwrap().bytes, one * 4);
    }
}

//! The file system of an image: one tar that depends on nothing but what is in it.

use std::{collections::BTreeMap, io::Cursor};

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

/// Entries by path, relative to the root. Of two of one path the first stays.
#[derive(Debug, Default)]
pub(super) struct Layer {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    /// `None`: a directory.
    content: Option<Vec<u8>>,
}

impl Layer {
    pub(super) fn directory(&mut self, path: &str, mode: u32) {
        self.add(path, Entry { mode, content: None });
    }

    /// Adds a file, and the directories above it.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.add(path, Entry { mode, content: Some(content) });
    }

    fn add(&mut self, path: &str, entry: Entry) {
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry { mode: 0o755, content: None });
        }
        self.entries.entry(path.to_owned()).or_insert(entry);
    }

    /// The uncompressed tar.
    pub(super) fn finish(self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, Entry { mode, content }) in self.entries {
            let kind = if content.is_some() { EntryType::Regular } else { EntryType::Directory };
            let content = content.unwrap_or_default();
            append(&mut tar, &path, kind, mode, &content)?;
        }
        tar.into_inner().context("end the layer")
    }
}

/// Appends an entry that belongs to root and was never modified.
pub(super) fn append<W: std::io::Write>(
    tar: &mut Builder<W>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, Cursor::new(content)).with_context(|| format!("add {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tar: &[u8]) -> Vec<(String, u32)> {
        let mut archive = tar::Archive::new(tar);
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().to_string_lossy().into_owned(), entry.header().mode().unwrap())
            })
            .collect()
    }

    #[test]
    fn the_order_of_adding_does_not_show() {
        let mut one = Layer::default();
        one.file("etc/passwd", 0o644, b"x".to_vec());
        one.directory("tmp", 0o1777);
        let mut other = Layer::default();
        other.directory("tmp", 0o1777);
        other.file("etc/passwd", 0o644, b"x".to_vec());
        let (one, other) = (one.finish().unwrap(), other.finish().unwrap());
        assert_eq!(one, other);
        let expected = [("etc", 0o755), ("etc/passwd", 0o644), ("tmp", 0o1777)];
        assert_eq!(paths(&one), expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}

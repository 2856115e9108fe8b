//! Generates `proto/src/gen` from `proto/tap/v1/*.proto`.
//!
//! Pure Rust (protox), so that no `protoc` is needed. The result is committed; `cargo xtask ci`
//! regenerates it and demands a clean tree.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use prost::Message as _;

/// Where the generated code is, below the repository.
const GENERATED: &str = "proto/src/gen";

/// Writes the generated Rust and the descriptor set below `repository`.
pub(crate) fn generate(repository: &Path) -> Result<()> {
    generate_into(repository, &repository.join(GENERATED))
}

/// Fails where the generated code is not what the protocol says.
pub(crate) fn check(repository: &Path) -> Result<()> {
    let fresh = tempfile::tempdir().context("create a directory for the generated code")?;
    generate_into(repository, fresh.path())?;
    for entry in fs::read_dir(fresh.path()).context("list the generated code")? {
        let name = entry.context("read a directory entry")?.file_name();
        let committed = repository.join(GENERATED).join(&name);
        let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
        if read(&committed)? != read(&fresh.path().join(&name))? {
            bail!("{} is stale: run `cargo xtask proto` and commit", committed.display());
        }
    }
    Ok(())
}

fn generate_into(repository: &Path, out: &Path) -> Result<()> {
    let proto = repository.join("proto");
    let mut files: Vec<_> = fs::read_dir(proto.join("tap/v1"))
        .context("list proto/tap/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .context("list proto/tap/v1")?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();

    let descriptors = protox::compile(&files, [&proto]).context("compile the protocol")?;
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let descriptor_set = out.join("tap.v1.binpb");
    fs::write(&descriptor_set, descriptors.encode_to_vec())
        .with_context(|| format!("write {}", descriptor_set.display()))?;
    tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".tap.v1.Body.binary")
        .btree_map(".tap.v1")
        .compile_fds(descriptors)
        .context("generate Rust from the protocol")
}

//! `tapctl import`: the HTTP of files into the table, through redaction.
//!
//! ```text
//! file ─ tap-formats ─► exchange ─ tap-redact ─► Redacted ─ tap-export ─► message ─ batches ─► IngestService
//! ```
//!
//! A file is an agent of its own, named by its hash, in an epoch that is always the same. Exchanges are given to batches by
//! their place in the file alone, so that the same command makes the same batches: what the collector has of them is not
//! stored again, and an import that broke goes on where it stopped.

mod account;
mod batches;
mod reading;
mod report;
mod sending;

use std::{fs::File, io::Write, path::Path};

use anyhow::{Context as _, Result};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use self::{reading::Reading, report::Report};
use super::{Verdict, WrongUsage, redact};
use crate::{
    cli::{self, ImportFormat, Output},
    connect::Source,
};

/// Batches between the thread that reads and the stream to the collector.
const QUEUE: usize = 2;

pub(super) async fn run(
    arguments: cli::Import,
    source: &Source,
    output: Output,
    out: &mut impl Write,
) -> Result<Verdict> {
    let mut formats = Vec::new();
    for file in &arguments.files {
        formats.push(format_of(file, &arguments)?);
    }
    // Wrong settings are told before anything is connected.
    let redactor = || {
        redact::redactor(arguments.profile.clone(), arguments.rules.as_deref(), arguments.key_file.as_deref())
    };
    redactor()?;
    if source.store.is_some() && !arguments.dry_run {
        let reason = "--store: a table is written by collectors alone: leave --store out";
        return Err(WrongUsage(reason.to_owned()))?;
    }
    let collector = if arguments.dry_run { None } else { Some(source.connect().await?) };
    let mut whole = true;
    for (file, format) in arguments.files.iter().zip(formats) {
        let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
        let agent = tokio::task::spawn_blocking(move || name(opened)).await.context("hash the file")?;
        let agent = agent.with_context(|| format!("read {}", file.display()))?;
        let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
        let redactor = if arguments.already_redacted { None } else { Some(redactor()?) };
        let reading = Reading::new(opened, file, format, &arguments, &agent, redactor);
        let (batch_tx, batch_rx) = mpsc::channel(QUEUE);
        let reading = tokio::task::spawn_blocking(move || reading.run(&batch_tx));
        let sent = match &collector {
            Some(collector) => sending::send(collector, &agent, source.timeout, batch_rx).await,
            None => sending::discard(batch_rx).await,
        };
        // A reader that failed tells more than the stream that ended for it.
        let read = reading.await.context("read the file")?.with_context(|| file.display().to_string())?;
        let sent = sent.with_context(|| {
            format!("{}: not all of it is stored; the same command goes on", file.display())
        })?;
        let report =
            Report { file, format, agent: &agent, read: &read, sent: &sent, dry_run: arguments.dry_run };
        match output {
            Output::Table => out.write_all(report.text().as_bytes())?,
            Output::Json | Output::Jsonl => writeln!(out, "{}", report.json())?,
        }
        whole &= read.is_whole();
    }
    Ok(if arguments.strict && !whole { Verdict::Bad } else { Verdict::Good })
}

fn format_of(file: &Path, arguments: &cli::Import) -> Result<ImportFormat> {
    let Some(format) = arguments.format.or_else(|| ImportFormat::of(file)) else {
        let file = file.display();
        return Err(WrongUsage(format!("{file}: the name does not tell the format: give --format")))?;
    };
    if arguments.already_redacted && format != ImportFormat::Jsonl {
        return Err(WrongUsage("--already-redacted is for JSON lines alone".to_owned()))?;
    }
    Ok(format)
}

/// The agent that a file is.
fn name(mut file: File) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("import/{hash}"))
}

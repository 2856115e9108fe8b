//! Writes what was passed through, redacted, as lines that are the next mock's file.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use tap_proto::v1::{Exchange, Role};
use tap_redact::Redactor;
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

use crate::{cli, commands::redact, render::json, stored};

/// Exchanges that wait to be written; beyond, they are not recorded, and counted.
const QUEUE: usize = 256;

/// An open file, and what is done before anything goes there.
pub(super) struct Recorder {
    file: File,
    redactor: Option<Redactor>,
}

impl Recorder {
    pub(super) fn open(file: &Path, arguments: &cli::mock::Mock) -> Result<Self> {
        let redactor = if arguments.record_unredacted {
            None
        } else {
            let cli::mock::Mock { redaction_rules: rules, redaction_key_file: key_file, .. } = arguments;
            Some(redact::redactor(None, rules.as_deref(), key_file.as_deref())?)
        };
        // What was passed through is nobody else's on this machine.
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(file)
            .with_context(|| format!("open {}", file.display()))?;
        Ok(Self { file, redactor })
    }

    /// Writes all that comes, until no sender is left.
    pub(super) fn start(self) -> (mpsc::Sender<Exchange>, JoinHandle<Result<()>>) {
        let (exchange_tx, exchange_rx) = mpsc::channel(QUEUE);
        (exchange_tx, tokio::task::spawn_blocking(move || self.write(exchange_rx)))
    }

    fn write(self, mut exchange_rx: mpsc::Receiver<Exchange>) -> Result<()> {
        let Self { file, redactor } = self;
        let mut file = BufWriter::new(file);
        while let Some(mut exchange) = exchange_rx.blocking_recv() {
            exchange.id = Uuid::now_v7().to_string();
            exchange.set_role(Role::Outbound);
            if let Some(redactor) = &redactor {
                exchange = stored::redact(exchange, redactor);
            }
            file.write_all(json::line(&exchange)?.as_bytes()).context("write")?;
            // Whoever looks at the file sees whole lines.
            if exchange_rx.is_empty() {
                file.flush().context("write")?;
            }
        }
        file.flush().context("write")
    }
}

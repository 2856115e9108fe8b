//! The thread that reads a file: reader, redaction, export, batches.

use std::{
    collections::BTreeMap,
    fs::File,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use anyhow::{Context as _, Result};
use prost::Message as _;
use tap_export::{Attribution, Exporter};
use tap_flow::{Body, Cause, Completeness, Exchange, Limits, Role};
use tap_formats::{
    About, Imported, Item, ReadError, gor, har,
    jsonl::Captures,
    pcap::{self, Options, Summary},
    plain, stored,
};
use tap_proto::v1;
use tap_redact::{Redactor, Subject};
use tokio::sync::mpsc;

use super::{
    account::{Account, Stage},
    batches::{Batches, Ready},
    sending::EPOCH,
};
use crate::cli::{self, ImportFormat, ImportRole};

/// Collectors take exchanges of up to 48 MiB.
const MAX_EXCHANGE_BYTES: usize = 40 * 1024 * 1024;
/// Of the times in files.
const CLOCK: &str = "CLOCK_REALTIME";
const MIB: usize = 1024 * 1024;

/// All that is needed to read one file.
pub(super) struct Reading {
    file: File,
    format: ImportFormat,
    options: Options,
    taker: Taker,
}

/// What becomes of each exchange.
struct Taker {
    /// `None` takes what Podtap wrote as it is.
    redactor: Option<Redactor>,
    exporter: Exporter,
    /// Where neither the file nor a flag says another.
    target: String,
    flags: Flags,
    body_bytes: usize,
    account: Account,
}

/// What was said of all exchanges of the file.
struct Flags {
    target: Option<String>,
    namespace: Option<String>,
    workload: Option<String>,
    labels: Vec<(String, String)>,
    role: Option<Role>,
}

impl Reading {
    pub(super) fn new(
        file: File,
        path: &Path,
        format: ImportFormat,
        arguments: &cli::Import,
        agent: &str,
        redactor: Option<Redactor>,
    ) -> Self {
        let role = arguments.role.map(|role| match role {
            ImportRole::Inbound => Role::Inbound,
            ImportRole::Outbound => Role::Outbound,
        });
        let body_bytes = usize::try_from(arguments.body_bytes).unwrap_or(usize::MAX);
        let limits = Limits {
            body_bytes,
            encoded_body_bytes: body_bytes,
            flow_bytes: 2 * body_bytes + 4 * MIB,
            total_bytes: 256 * MIB,
            ..Limits::default()
        };
        Self {
            file,
            format,
            options: Options { limits, ports: arguments.ports.clone(), role: role.unwrap_or(Role::Inbound) },
            taker: Taker {
                redactor,
                exporter: Exporter::new(agent, EPOCH, 0, CLOCK),
                target: target(path),
                flags: Flags {
                    target: arguments.target.clone(),
                    namespace: arguments.namespace.clone(),
                    workload: arguments.workload.clone(),
                    labels: arguments.labels.clone(),
                    role,
                },
                body_bytes,
                account: Account::default(),
            },
        }
    }

    /// Reads to the end; returns what became of everything.
    pub(super) fn run(self, batch_tx: &mpsc::Sender<Ready>) -> Result<Account> {
        let Self { file, format, options, mut taker } = self;
        let input = plain(file).context("read")?;
        let mut batches = Batches::new(batch_tx);
        let mut take = |item| taker.take(item, &mut batches);
        let read = match format {
            ImportFormat::Har => har::read(input, &mut take),
            ImportFormat::Gor => gor::read(input, &options.limits, &mut take),
            ImportFormat::Pcap => {
                let mut summary = Summary::default();
                let read = pcap::read(input, &options, &mut summary, &mut take);
                taker.account.end(summary);
                read
            }
            ImportFormat::Jsonl => {
                for (number, exchange) in (1..).zip(Captures::new(input)) {
                    if taker.line(number, exchange?, &mut batches).is_break() {
                        return Ok(taker.account);
                    }
                }
                Ok(())
            }
        };
        match read {
            // The stream to the collector ended, and tells why.
            Err(ReadError::Stopped) => Ok(taker.account),
            Err(error) => Err(error.into()),
            Ok(()) => {
                // What is left, and the last account; that nobody takes it is told by the stream.
                let _ = batches.close(&taker.account);
                Ok(taker.account)
            }
        }
    }
}

impl Taker {
    fn take(&mut self, item: Item, batches: &mut Batches<'_>) -> ControlFlow<()> {
        let (exchange, body_bytes) = match item {
            Item::Exchange(imported) => {
                let body_bytes = body_bytes(&imported.exchange);
                (self.message(imported), body_bytes)
            }
            Item::Skipped(reason) => {
                self.account.read.add(1, 0);
                self.account.lose(Stage::Import, reason, 1, 0);
                (None, 0)
            }
        };
        self.batch(exchange, body_bytes, batches)
    }

    /// A line of what Podtap wrote.
    fn line(&mut self, number: u64, stored: v1::Exchange, batches: &mut Batches<'_>) -> ControlFlow<()> {
        if self.redactor.is_some() {
            return self.take(Item::Exchange(stored::imported(number, stored)), batches);
        }
        let (length, wire_bytes) = (stored.encoded_len(), stored.wire_bytes);
        self.account.read.add(1, wire_bytes);
        let mut message = stored;
        if message.id.is_empty() || message.time.is_none() {
            self.account.lose(Stage::Import, "no_time", 1, wire_bytes);
            return self.batch(None, length, batches);
        }
        self.flags.put(&mut message);
        self.batch(Some(message), length, batches)
    }

    fn batch(
        &mut self,
        message: Option<v1::Exchange>,
        body_bytes: usize,
        batches: &mut Batches<'_>,
    ) -> ControlFlow<()> {
        let message = message.and_then(|message| {
            if message.encoded_len() > MAX_EXCHANGE_BYTES {
                self.account.lose(Stage::Spool, "oversized", 1, message.wire_bytes);
                return None;
            }
            self.account.batched.add(1, message.wire_bytes);
            Some(message)
        });
        match batches.push(message, body_bytes, &self.account) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_closed) => ControlFlow::Break(()),
        }
    }

    /// The gate: what is not redacted can't be exported.
    fn message(&mut self, imported: Imported) -> Option<v1::Exchange> {
        let Imported { number: _, mut exchange, about } = imported;
        let about = about.map(|about| *about).unwrap_or_default();
        let wire_bytes = exchange.wire_bytes;
        self.account.read.add(1, wire_bytes);
        if exchange.start() == 0 {
            self.account.lose(Stage::Import, "no_time", 1, wire_bytes);
            return None;
        }
        self.shape(&mut exchange);
        let labels: BTreeMap<String, String> =
            about.labels.clone().into_iter().chain(self.flags.labels.clone()).collect();
        let or = |flag: &Option<String>, file: &str| flag.clone().unwrap_or_else(|| file.to_owned());
        let target =
            or(&self.flags.target, if about.target.is_empty() { &self.target } else { &about.target });
        let namespace = or(&self.flags.namespace, &about.namespace);
        let workload = or(&self.flags.workload, &about.workload);
        let About { node, pod, pod_uid, container, .. } = &about;
        let subject = Subject {
            target: &target,
            node,
            namespace: &namespace,
            workload: &workload,
            pod,
            container,
            labels: &labels,
        };
        let redactor = self.redactor.as_ref()?;
        // A bug must cost an exchange, not the import; nothing that was half changed is used again.
        let redacted = panic::catch_unwind(AssertUnwindSafe(|| redactor.redact_of(exchange, subject)));
        let Ok(redacted) = redacted else {
            self.account.lose(Stage::Redaction, "panic", 1, wire_bytes);
            return None;
        };
        let attribution = Attribution {
            target: &target,
            node,
            namespace: &namespace,
            workload: &workload,
            pod,
            pod_uid,
            container,
            labels: &labels,
        };
        let mut message = self.exporter.export(redacted, &attribution, |instant| instant);
        about.complete(&mut message);
        self.flags.put(&mut message);
        Some(message)
    }

    /// As it would have been captured: by the side that was said, and with bodies up to their cap.
    fn shape(&self, exchange: &mut Exchange) {
        if let Some(role) = self.flags.role.filter(|role| *role != exchange.role) {
            exchange.role = role;
            std::mem::swap(&mut exchange.flow.local, &mut exchange.flow.remote);
        }
        if let Some(request) = &mut exchange.request {
            cut(&mut request.body, &mut request.completeness, self.body_bytes);
        }
        if let Some(response) = &mut exchange.response {
            cut(&mut response.body, &mut response.completeness, self.body_bytes);
        }
    }
}

impl Flags {
    /// They win over what the file says.
    fn put(&self, message: &mut v1::Exchange) {
        let Self { target, namespace, workload, labels, role } = self;
        for (flag, field) in [
            (target, &mut message.target),
            (namespace, &mut message.namespace),
            (workload, &mut message.workload),
        ] {
            if let Some(flag) = flag {
                flag.clone_into(field);
            }
        }
        message.labels.extend(labels.iter().cloned());
        if let Some(role) = role {
            message.set_role(match role {
                Role::Inbound => v1::Role::Inbound,
                Role::Outbound => v1::Role::Outbound,
            });
        }
    }
}

fn cut(body: &mut Body, completeness: &mut Completeness, limit: usize) {
    let length = body.content.len();
    if length > limit {
        body.content.truncate(limit);
        *completeness = Completeness::Truncated { bytes: (length - limit) as u64, cause: Cause::BodyCap };
    }
}

fn body_bytes(exchange: &Exchange) -> usize {
    let request = exchange.request.as_ref().map_or(0, |request| request.body.content.len());
    request + exchange.response.as_ref().map_or(0, |response| response.body.content.len())
}

/// The file's name.
fn target(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.chars().filter(|character| !character.is_control()).take(200).collect()
}

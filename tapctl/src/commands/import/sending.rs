//! The stream to the collector, as an agent has it.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Result, anyhow, bail};
use futures::stream;
use tap_proto::v1::{
    Batch, Hello, IngestRequest, IngestResponse, ingest_request::Message, ingest_response::Message as Answer,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tonic::Streaming;

use super::{
    account::{Account, Count},
    batches::Ready,
};
use crate::connect::{Collector, explain};

/// Of every import: what tells two apart is the file.
pub(super) const EPOCH: u64 = 1;
/// Batches that are sent and not durable yet.
const IN_FLIGHT: usize = 4;
/// How long the collector may take to end its side of the stream.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Durable in the table.
    pub(super) stored: Count,
    /// Of those, durable before this import began.
    pub(super) before: Count,
}

/// Takes the batches and sends them nowhere.
pub(super) async fn discard(mut batch_rx: mpsc::Receiver<Ready>) -> Result<Sent> {
    while batch_rx.recv().await.is_some() {}
    Ok(Sent::default())
}

/// Sends what the table does not have; ends when all of it is durable. Each acknowledgement is waited for `patience` long.
pub(super) async fn send(
    collector: &Collector,
    agent: &str,
    patience: Duration,
    batch_rx: mpsc::Receiver<Ready>,
) -> Result<Sent> {
    let (request_tx, request_rx) = mpsc::channel(1);
    let hello = Hello {
        agent: agent.to_owned(),
        epoch: EPOCH,
        version: concat!("tapctl ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    // The channel is empty and has room for one.
    let _ = request_tx.try_send(request(Message::Hello(hello)));
    let requests = stream::unfold(request_rx, |mut request_rx| async move {
        request_rx.recv().await.map(|request| (request, request_rx))
    });
    let mut ingest = collector.ingest();
    let answers = timeout(patience, ingest.ingest(requests)).await.map_err(|_| silent())?;
    let mut answers = answers.map_err(|status| explain(&status, ""))?.into_inner();
    let first = timeout(patience, answer(&mut answers)).await.map_err(|_| silent())??;
    let Answer::Welcome(welcome) = first else { bail!("the collector did not greet") };
    let mut stream = Stream {
        agent,
        patience,
        request_tx,
        answers,
        durable: welcome.durable_sequence,
        flight: VecDeque::new(),
        sent: Sent::default(),
    };
    stream.send_all(batch_rx).await?;
    Ok(stream.sent)
}

struct Stream<'a> {
    agent: &'a str,
    patience: Duration,
    request_tx: mpsc::Sender<IngestRequest>,
    answers: Streaming<IngestResponse>,
    durable: u64,
    /// Sequences with what their batches hold.
    flight: VecDeque<(u64, Count)>,
    sent: Sent,
}

impl Stream<'_> {
    async fn send_all(&mut self, mut batch_rx: mpsc::Receiver<Ready>) -> Result<()> {
        let mut last: Option<Account> = None;
        let mut target = String::new();
        while let Some(Ready { sequence, exchanges, account }) = batch_rx.recv().await {
            let earlier = last.as_ref().map(|account| account.batched).unwrap_or_default();
            let count = Count {
                exchanges: account.batched.exchanges - earlier.exchanges,
                bytes: account.batched.bytes - earlier.bytes,
            };
            if let Some(exchange) = exchanges.first() {
                target.clone_from(&exchange.target);
            }
            if sequence <= self.durable {
                self.sent.stored.add(count.exchanges, count.bytes);
                self.sent.before.add(count.exchanges, count.bytes);
            } else if !exchanges.is_empty() {
                while self.flight.len() >= IN_FLIGHT {
                    self.land().await?;
                }
                self.flight.push_back((sequence, count));
                let ledger = Some(account.ledger(self.agent, EPOCH, &target, self.sent.stored, false));
                self.say(Message::Batch(Batch { sequence, exchanges, ledger })).await?;
            }
            last = Some(account);
        }
        while !self.flight.is_empty() {
            self.land().await?;
        }
        let account = last.unwrap_or_default();
        let ledger = account.ledger(self.agent, EPOCH, &target, self.sent.stored, true);
        self.say(Message::Ledger(ledger)).await?;
        // The collector ends the stream when it has read ours to its end.
        let (closed_tx, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.request_tx, closed_tx));
        let _ =
            timeout(CLOSE_TIMEOUT, async { while let Ok(Some(_)) = self.answers.message().await {} }).await;
        Ok(())
    }

    async fn say(&mut self, message: Message) -> Result<()> {
        let sending = timeout(self.patience, self.request_tx.send(request(message)));
        match sending.await {
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(silent()),
            // The answers say why nobody takes it.
            Ok(Err(_)) => Err(answer(&mut self.answers).await.err().unwrap_or_else(silent)),
        }
    }

    /// Waits until the collector acknowledges more than it had.
    async fn land(&mut self) -> Result<()> {
        let give_up = Instant::now() + self.patience;
        let before = self.flight.len();
        while self.flight.len() == before {
            let answer = timeout_at(give_up, answer(&mut self.answers)).await.map_err(|_| silent())??;
            let Answer::Acknowledgement(acknowledgement) = answer else { continue };
            self.durable = self.durable.max(acknowledgement.durable_sequence);
            while let Some((_, count)) = self.flight.pop_front_if(|(sequence, _)| *sequence <= self.durable) {
                self.sent.stored.add(count.exchanges, count.bytes);
            }
        }
        Ok(())
    }
}

fn request(message: Message) -> IngestRequest {
    IngestRequest { message: Some(message) }
}

async fn answer(answers: &mut Streaming<IngestResponse>) -> Result<Answer> {
    let answer = answers.message().await.map_err(|status| explain(&status, ""))?;
    answer.and_then(|answer| answer.message).ok_or_else(|| anyhow!("the collector ended the stream"))
}

fn silent() -> anyhow::Error {
    anyhow!("the collector does not answer; --timeout gives it longer")
}

//! One HTTP/1 connection: writes a request, reads its answer piece by piece.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use super::{
    Failure, Receiver,
    framing::{Body, Invalid},
    head::Head,
    stream::Stream,
};
use crate::{
    chaos::{BodyFaults, FaultyBody},
    request::Outgoing,
};

/// Read at once, and with it the memory of an idle connection.
const READ_BYTES: usize = 16 * 1024;
/// Bounds the head of an answer, and with it the memory of one connection.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// More than any server sends by default.
const MAX_HEADERS: usize = 128;
/// Interim answers (1xx) before the final one.
const MAX_INTERIM: usize = 16;

/// An open connection with what was read and not used.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Something of the answer has come.
    heard: bool,
}

/// How an exchange failed.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) failure: Failure,
    /// Nothing of an answer had come.
    pub(super) silent: bool,
}

/// What is known of a final head.
struct Parsed {
    length: usize,
    body: Body,
    keep_alive: bool,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: vec![0; READ_BYTES], start: 0, end: 0, heard: false }
    }

    /// Whether it can carry another request.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.start == self.end && self.stream.is_quiet()
    }

    /// Sends `request` and gives the answer to `receiver`. Returns whether the connection can be used again.
    pub(super) async fn exchange(
        &mut self,
        request: &Outgoing,
        receiver: &mut impl Receiver,
    ) -> Result<bool, Broken> {
        (self.start, self.end, self.heard) = (0, 0, false);
        let written = self.write(request).await;
        let whole = match written {
            Ok(whole) => whole,
            // The answer may say why: a target that refuses a body closes its side.
            Err(_) if self.fill().await.is_ok_and(|count| count > 0) => false,
            Err(error) => return Err(Broken { failure: Failure::of_io(&error), silent: true }),
        };
        let answer = self.answer(request.is_head, receiver).await;
        let silent = !self.heard;
        answer.map(|keep_alive| keep_alive && whole).map_err(|failure| Broken { failure, silent })
    }

    /// Sends `request`, its body with faults, and gives the answer to `receiver`.
    pub(super) async fn exchange_faulty(
        &mut self,
        request: &Outgoing,
        faults: BodyFaults,
        resets: bool,
        receiver: &mut impl Receiver,
    ) -> Result<(), Failure> {
        (self.start, self.end, self.heard) = (0, 0, false);
        match self.write_faulty(request, faults).await {
            Ok(true) => self.answer(request.is_head, receiver).await.map(drop),
            Ok(false) => {
                if resets {
                    self.stream.reset_when_dropped();
                }
                Err(Failure::Chaos)
            }
            Err(error) => Err(Failure::of_io(&error)),
        }
    }

    /// Returns whether the body was not cut.
    async fn write_faulty(&mut self, request: &Outgoing, faults: BodyFaults) -> io::Result<bool> {
        self.stream.write_all(&request.bytes[..request.head_length]).await?;
        let body = Full::new(request.bytes.slice(request.head_length..));
        let mut body = FaultyBody::new(body, faults, None);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Ok(false) };
            if let Some(piece) = frame.data_ref() {
                self.stream.write_all(piece).await?;
                self.stream.flush().await?;
            }
        }
        self.stream.flush().await?;
        Ok(true)
    }

    /// Returns whether all was written: a target may answer before it has read all.
    async fn write(&mut self, request: &Outgoing) -> io::Result<bool> {
        let mut rest = &request.bytes[..];
        while !rest.is_empty() {
            match poll_fn(|context| self.poll_write(context, rest)).await? {
                Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Some(count) => rest = &rest[count..],
                None => return Ok(false),
            }
        }
        if let Stream::Tls(_) = self.stream {
            self.stream.flush().await?;
        }
        Ok(true)
    }

    /// Writes, or, while the target takes nothing, looks whether it answers already (`None`).
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<Option<usize>>> {
        if let Poll::Ready(count) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            return Poll::Ready(count.map(Some));
        }
        let mut buffer = ReadBuf::new(&mut self.buffer[self.end..]);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                self.end += count;
                self.heard |= count > 0;
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    async fn answer(&mut self, answers_head: bool, receiver: &mut impl Receiver) -> Result<bool, Failure> {
        let mut interim = 0;
        let Parsed { length, mut body, keep_alive } = loop {
            // What a write that was answered early has read already comes first.
            if self.start == self.end && self.fill().await? == 0 {
                return Err(Failure::IncompleteResponse);
            }
            match self.parse(answers_head, receiver, &mut interim)? {
                Some(parsed) => break parsed,
                None if self.start == self.end => {}
                None => {
                    if self.fill().await? == 0 {
                        return Err(Failure::IncompleteResponse);
                    }
                }
            }
        };
        self.start += length;
        loop {
            let fed = body.feed(&self.buffer[self.start..self.end], |content| receiver.chunk(content));
            let fed = fed.map_err(|Invalid| Failure::InvalidResponse)?;
            self.start += fed.consumed;
            if fed.done {
                return Ok(keep_alive && self.start == self.end);
            }
            (self.start, self.end) = (0, 0);
            if self.fill().await? == 0 {
                return if body == Body::UntilClose { Ok(false) } else { Err(Failure::IncompleteResponse) };
            }
        }
    }

    /// The final head at the start of what was read, if it is whole; interim ones before it are passed over.
    fn parse(
        &mut self,
        answers_head: bool,
        receiver: &mut impl Receiver,
        interim: &mut usize,
    ) -> Result<Option<Parsed>, Failure> {
        loop {
            let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut []);
            let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
                &mut response,
                &self.buffer[self.start..self.end],
                &mut headers,
            );
            let httparse::Status::Complete(length) = parsed.map_err(|_| Failure::InvalidResponse)? else {
                return Ok(None);
            };
            let (Some(status), Some(version)) = (response.code, response.version) else {
                return Err(Failure::InvalidResponse);
            };
            if status < 200 {
                // Nothing was asked to be switched (101).
                *interim += 1;
                if status < 100 || status == 101 || *interim > MAX_INTERIM {
                    return Err(Failure::InvalidResponse);
                }
                self.start += length;
                continue;
            }
            let head = Head::new(status, version, response.headers);
            let body = Body::of(&head, answers_head).map_err(|Invalid| Failure::InvalidResponse)?;
            receiver.head(&head);
            let framed =
                head.header("transfer-encoding").is_some() && head.header("content-length").is_some();
            // Both lengths at once are how responses are smuggled: such a connection ends here.
            let keep_alive = head.keeps_alive() && !framed;
            return Ok(Some(Parsed { length, body, keep_alive }));
        }
    }

    /// Reads more; 0 is the end.
    async fn fill(&mut self) -> Result<usize, Failure> {
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else if self.buffer.len() < MAX_HEAD_BYTES {
                self.buffer.resize((self.buffer.len() * 2).min(MAX_HEAD_BYTES), 0);
            } else {
                return Err(Failure::InvalidResponse);
            }
        }
        let count = self.stream.read(&mut self.buffer[self.end..]).await;
        let count = count.map_err(|error| Failure::of_io(&error))?;
        self.end += count;
        self.heard |= count > 0;
        Ok(count)
    }
}

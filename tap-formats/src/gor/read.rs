//! Records as exchanges: requests wait for their responses, which come later in the file.

use std::{
    collections::{HashMap, VecDeque},
    io::BufRead,
    net::{Ipv4Addr, SocketAddr},
};

use tap_flow::{Assembler, CgroupId, Direction, Exchange, FlowKey, Limits, Role, Segment, TapId, TcpFlags};

use super::SEPARATOR;
use crate::{
    item::{Imported, Item, Sink},
    read_error::{Place, ReadError},
};

/// Of one record; messages of GoReplay are cut at 5 MiB unless it is told otherwise.
const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;
/// Requests that wait for their responses: as many as a busy server has in flight.
const MAX_WAITING: usize = 16_384;
/// What they hold. Past one of the two, the oldest goes without its response.
const MAX_WAITING_BYTES: usize = 128 * 1024 * 1024;

/// Reads a file; hands each exchange to `sink` once its response is there, or was not found.
///
/// `limits` bound what is kept of bodies.
pub fn read(input: impl BufRead, limits: &Limits, sink: &mut Sink<'_>) -> Result<(), ReadError> {
    let mut reader = Reader { input, limits, waiting: Waiting::default(), record: 0, exchanges: 0 };
    let mut record = Vec::new();
    while reader.next(&mut record)? {
        let item = match Record::parse(&record) {
            Err(word) => Some(Item::Skipped(word)),
            Ok(record) => reader.take(&record),
        };
        for item in item.into_iter().chain(reader.without_room()) {
            give(item, sink)?;
        }
    }
    while let Some(request) = reader.waiting.oldest() {
        let item = reader.exchange(&request, None);
        give(item, sink)?;
    }
    Ok(())
}

fn give(item: Item, sink: &mut Sink<'_>) -> Result<(), ReadError> {
    if sink(item).is_break() { Err(ReadError::Stopped) } else { Ok(()) }
}

struct Reader<'l, R> {
    input: R,
    limits: &'l Limits,
    waiting: Waiting,
    /// Of the record that was read last, from 1.
    record: u64,
    exchanges: u64,
}

/// Requests without their responses, by id.
#[derive(Default)]
struct Waiting {
    requests: HashMap<Vec<u8>, (u64, Request)>,
    /// Ids with the records in which they came, which tell a request from a later one of the same id.
    order: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
}

struct Request {
    record: u64,
    start: u64,
    end: u64,
    message: Vec<u8>,
}

/// A record taken apart.
struct Record<'a> {
    kind: u8,
    id: &'a [u8],
    start: u64,
    end: u64,
    message: &'a [u8],
}

impl<'a> Record<'a> {
    fn parse(record: &'a [u8]) -> Result<Self, &'static str> {
        let line = record.iter().position(|byte| *byte == b'\n').ok_or("malformed_record")?;
        let (head, message) = (&record[..line], &record[line + 1..]);
        let mut words = head.strip_suffix(b"\r").unwrap_or(head).split(|byte| *byte == b' ');
        let (Some([kind @ (b'1'..=b'3')]), Some(id), Some(time)) = (words.next(), words.next(), words.next())
        else {
            return Err("malformed_record");
        };
        let start: u64 = number(time).ok_or("malformed_record")?;
        let latency = words.next().and_then(number);
        let end = latency.map_or(0, |latency| start.saturating_add(latency));
        Ok(Self { kind: *kind, id, start, end, message })
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl<R: BufRead> Reader<'_, R> {
    /// Reads the next record into `record`; false at the end.
    fn next(&mut self, record: &mut Vec<u8>) -> Result<bool, ReadError> {
        record.clear();
        let place = Place::Record(self.record + 1);
        loop {
            let begin = record.len();
            let room = (MAX_RECORD_BYTES - begin) as u64 + 1;
            let line = std::io::Read::take(&mut self.input, room).read_until(b'\n', record);
            let read = line.map_err(|error| ReadError::Read { place, error })?;
            if record.len() > MAX_RECORD_BYTES {
                return Err(ReadError::TooLong { place, limit: MAX_RECORD_BYTES });
            }
            if read == 0 {
                if record.trim_ascii().is_empty() {
                    return Ok(false);
                }
                // GoReplay was killed while it wrote, or this is no file of its.
                return Err(ReadError::Malformed { place, problem: "the file ends within it" });
            }
            if &record[begin..] == SEPARATOR {
                record.truncate(begin.saturating_sub(1));
                self.record += 1;
                return Ok(true);
            }
        }
    }

    fn take(&mut self, record: &Record<'_>) -> Option<Item> {
        let Record { kind, id, start, end, message } = *record;
        match kind {
            b'1' => {
                let request = Request { record: self.record, start, end, message: message.to_vec() };
                let earlier = self.waiting.put(id, request);
                earlier.map(|earlier| self.exchange(&earlier, None))
            }
            b'2' => match self.waiting.take(id) {
                Some(request) => Some(self.exchange(&request, Some(record))),
                None => Some(Item::Skipped("response_without_request")),
            },
            // Of another server, at another time.
            _ => Some(Item::Skipped("replayed_response")),
        }
    }

    /// Requests that have to go without their responses, as others need their room.
    fn without_room(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        while (self.waiting.requests.len() > MAX_WAITING || self.waiting.bytes > MAX_WAITING_BYTES)
            && let Some(request) = self.waiting.oldest()
        {
            items.push(self.exchange(&request, None));
        }
        items
    }

    /// Parses both messages as one connection, by what parses captured ones.
    fn exchange(&mut self, request: &Request, response: Option<&Record<'_>>) -> Item {
        let mut exchanges = Vec::new();
        let mut assembler = Assembler::new(self.limits.clone());
        let unspecified = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let key = FlowKey { tap: TapId(0), local: unspecified(0), remote: unspecified(1) };
        let mut push = |direction, flags, time, sequence, payload: &[u8]| {
            let segment =
                Segment { key, cgroup: CgroupId(0), direction, time, sequence, flags, payload, cut: 0 };
            assembler.push(segment, &mut |exchange| exchanges.push(exchange));
        };
        let syn_ack = TcpFlags::SYN | TcpFlags::ACK;
        push(Direction::Ingress, TcpFlags::SYN, request.start, 0, b"");
        push(Direction::Egress, syn_ack, request.start, 0, b"");
        send(&mut push, Direction::Ingress, (request.start, request.end), &request.message);
        if let Some(response) = response {
            send(&mut push, Direction::Egress, (response.start, response.end), response.message);
        }
        let end =
            response.map_or(request.end.max(request.start), |response| response.end.max(response.start));
        let fin = TcpFlags::FIN | TcpFlags::ACK;
        push(Direction::Ingress, fin, end, after(&request.message), b"");
        push(Direction::Egress, fin, end, after(response.map_or(b"", |response| response.message)), b"");
        assembler.finish(&mut |exchange| exchanges.push(exchange));
        // More than one would be a record with several messages, which GoReplay does not write.
        let mut whole = exchanges.into_iter();
        let (Some(mut exchange), None) = (whole.next(), whole.next()) else {
            return Item::Skipped("not_http");
        };
        if exchange.request.is_none() {
            return Item::Skipped("not_http");
        }
        self.exchanges += 1;
        let Exchange { flow, flow_serial, role, request: parsed, response: answered, .. } = &mut exchange;
        (*flow_serial, *role) = (self.exchanges, Role::Inbound);
        (flow.local, flow.remote) = (unspecified(0), unspecified(0));
        if let Some(parsed) = parsed {
            parsed.span.end = request.end;
        }
        if let (Some(answered), Some(response)) = (answered, response) {
            answered.span.end = response.end;
        }
        Item::Exchange(Imported { number: request.record, exchange, about: None })
    }
}

/// Sends a message as two segments, so that its first and its last byte have their times.
fn send(
    push: &mut impl FnMut(Direction, TcpFlags, u64, u32, &[u8]),
    direction: Direction,
    (start, end): (u64, u64),
    message: &[u8],
) {
    let (rest, last) = message.split_at(message.len().saturating_sub(1));
    push(direction, TcpFlags::ACK, start, 1, rest);
    push(direction, TcpFlags::ACK, end.max(start), after(rest), last);
}

/// The sequence number after a message that began at 1.
fn after(message: &[u8]) -> u32 {
    u32::try_from(message.len()).unwrap_or(u32::MAX - 1) + 1
}

impl Waiting {
    /// Gives back an earlier request of the same id.
    fn put(&mut self, id: &[u8], request: Request) -> Option<Request> {
        let earlier = self.take(id);
        self.bytes += request.message.len() + id.len();
        self.order.push_back((request.record, id.to_vec()));
        self.requests.insert(id.to_vec(), (request.record, request));
        // Of requests that found their responses; as many at most as still wait.
        if self.order.len() > 2 * self.requests.len() + 64 {
            let requests = &self.requests;
            self.order.retain(|(record, id)| requests.get(id).is_some_and(|(at, _)| at == record));
        }
        earlier
    }

    fn take(&mut self, id: &[u8]) -> Option<Request> {
        let (_, request) = self.requests.remove(id)?;
        self.bytes -= request.message.len() + id.len();
        Some(request)
    }

    fn oldest(&mut self) -> Option<Request> {
        while let Some((record, id)) = self.order.pop_front() {
            if self.requests.get(&id).is_some_and(|(at, _)| *at == record) {
                return self.take(&id);
            }
        }
        None
    }
}

//! Stored exchanges as connections in a pcapng file.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tap_proto::v1;

use super::{
    blocks,
    connection::{Connection, Packet, Side},
};
use crate::{
    fit::{Fit, Unfit},
    http1::{self, Wire},
    stored::Times,
};

/// Connections that are open at once. One more, and that which was used longest ago is closed; its next exchange opens it
/// again.
const MAX_CONNECTIONS: usize = 65_536;
/// Packets that wait for earlier ones of other connections. Past it, the earliest are written.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// For documentation (RFC 5737): of ends whose address is not known.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Ports of clients that are not known are from here on.
const DYNAMIC_PORTS: u16 = 49_152;

/// Writes a capture. Exchanges should come by time, the oldest first: then packets are by time, too.
pub struct Writer<W: Write> {
    out: W,
    begun: bool,
    open: HashMap<(SocketAddr, SocketAddr), Open>,
    uses: u64,
    /// By time, and in the order in which they were made.
    waiting: BTreeMap<(u64, u64), Vec<u8>>,
    waiting_bytes: usize,
    packets: u64,
    /// Of the latest packet.
    latest: u64,
}

struct Open {
    /// Whose connection it is: the same addresses may come again.
    identity: Identity,
    connection: Connection,
    used: u64,
}

/// What exchanges of one connection share.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    agent: String,
    epoch: u64,
    flow: u64,
    role: i32,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            begun: false,
            open: HashMap::new(),
            uses: 0,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            packets: 0,
            latest: 0,
        }
    }

    /// Writes both messages, as far as they were captured.
    pub fn write(&mut self, exchange: &v1::Exchange) -> io::Result<Fit> {
        let method = exchange.request.as_ref().map_or("", |request| request.method.as_str());
        let request = exchange.request.as_ref().map(http1::request);
        let response = exchange.response.as_ref().map(|response| http1::response(response, method));
        // What can't be carried by HTTP/1 is left out; if that is all, the exchange is.
        let (request, response, fit) = match (request, response) {
            (Some(Err(unfit)), None | Some(Err(_))) | (None, Some(Err(unfit))) => return Ok(Fit::Not(unfit)),
            (Some(Err(unfit)), Some(Ok(_))) => return Ok(Fit::Not(unfit)),
            (Some(Ok(request)), Some(Err(unfit))) => (Some(request), None, Fit::Partly(unfit)),
            (Some(Ok(request)), Some(Ok(response))) => (Some(request), Some(response), Fit::Whole),
            (Some(Ok(request)), None) => (Some(request), None, Fit::Whole),
            (None, Some(Ok(response))) => (None, Some(response), Fit::Whole),
            (None, None) => return Ok(Fit::Not(Unfit::NoRequest)),
        };
        let times = Times::of(exchange);
        let start = times.request.start.max(1);
        self.flush_before(start)?;
        let mut packets = Vec::new();
        let ends = ends(exchange);
        let mut open = self.connection(exchange, ends, start, &mut packets)?;
        let first = packets.len();
        let interims = exchange.response.as_ref().map_or(&[][..], |response| &response.interim_statuses);
        let is_last = [&request, &response].into_iter().flatten().any(|wire| wire.unfinished);
        let connection = &mut open.connection;
        let mut send = |side, span: tap_flow::Span, wire: &Wire| {
            // Far below 2³¹: see the module `http1`.
            let missing = u32::try_from(wire.missing).unwrap_or_default();
            connection.message(
                side,
                (span.start, span.end.max(span.start)),
                &wire.bytes,
                missing,
                &mut packets,
            );
        };
        if let Some(request) = &request {
            send(Side::Client, times.request, request);
        }
        if let Some(response) = &response {
            for status in interims {
                let bytes = http1::interim(*status);
                let span = tap_flow::Span { start: times.response.start, end: times.response.start };
                send(Side::Server, span, &Wire { bytes, missing: 0, unfinished: false });
            }
            send(Side::Server, times.response, response);
        }
        if is_last {
            open.connection.close(0, &mut packets);
        } else {
            self.open.insert(ends, open);
        }
        self.put(packets, exchange, first);
        Ok(fit)
    }

    /// Closes what is open; everything is written.
    pub fn finish(mut self) -> io::Result<W> {
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_values().collect();
        open.sort_by_key(|open| open.used);
        let mut packets = Vec::new();
        // What is written already is not gone before.
        let latest = self.latest;
        open.into_iter().for_each(|open| open.connection.close(latest, &mut packets));
        let none = v1::Exchange::default();
        let end = packets.len();
        self.put(packets, &none, end);
        self.begin()?;
        while let Some((_, block)) = self.waiting.pop_first() {
            self.out.write_all(&block)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// The exchange's connection: open already, or opened.
    fn connection(
        &mut self,
        exchange: &v1::Exchange,
        ends: (SocketAddr, SocketAddr),
        start: u64,
        packets: &mut Vec<Packet>,
    ) -> io::Result<Open> {
        let v1::Exchange { agent, epoch, flow, role, .. } = exchange;
        let identity = Identity { agent: agent.clone(), epoch: *epoch, flow: *flow, role: *role };
        self.uses += 1;
        let used = self.uses;
        match self.open.remove(&ends) {
            Some(open) if open.identity == identity => return Ok(Open { used, ..open }),
            Some(earlier) => earlier.connection.close(start, packets),
            None => {}
        }
        if self.open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.used).map(|(ends, _)| *ends)
            && let Some(oldest) = self.open.remove(&oldest)
        {
            oldest.connection.close(start, packets);
        }
        let (client, server) = ends;
        Ok(Open { identity, connection: Connection::open(client, server, start, packets), used })
    }

    /// Lets packets wait for earlier ones; the one at `first` tells whose exchange begins there.
    fn put(&mut self, packets: Vec<Packet>, exchange: &v1::Exchange, first: usize) {
        // The taps at both ends of a connection saw the same packets: each has an interface.
        let interface = u32::from(exchange.role() == v1::Role::Outbound);
        for (at, Packet { time, bytes }) in packets.into_iter().enumerate() {
            let comment = (at == first).then(|| comment(exchange));
            let block = blocks::packet(interface, time, &bytes, comment.as_deref());
            self.packets += 1;
            self.latest = self.latest.max(time);
            self.waiting_bytes += block.len();
            self.waiting.insert((time, self.packets), block);
        }
    }

    /// Writes the packets that no later exchange can precede, and the earliest where too many wait.
    fn flush_before(&mut self, time: u64) -> io::Result<()> {
        self.begin()?;
        while let Some(entry) = self.waiting.first_entry()
            && (entry.key().0 < time || self.waiting_bytes > MAX_WAITING_BYTES)
        {
            let block = entry.remove();
            self.waiting_bytes -= block.len();
            self.out.write_all(&block)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.out.write_all(&blocks::section(concat!("Podtap ", env!("CARGO_PKG_VERSION"))))?;
            self.out.write_all(&blocks::interface("inbound"))?;
            self.out.write_all(&blocks::interface("outbound"))?;
        }
        Ok(())
    }
}

/// Which exchange begins with the packet, and that the connection is made up.
fn comment(exchange: &v1::Exchange) -> String {
    let id: String = exchange.id.chars().filter(char::is_ascii_graphic).take(64).collect();
    let redacted = if exchange.redactions.is_empty() { "" } else { "; values were redacted" };
    format!("Podtap exchange {id}: TCP is synthesised{redacted}")
}

/// The client's end and the server's.
fn ends(exchange: &v1::Exchange) -> (SocketAddr, SocketAddr) {
    let end = |end: Option<&v1::Endpoint>, ip: Ipv4Addr, port: u16| {
        let known = end.and_then(|end| end.ip.parse().ok()).filter(|ip: &IpAddr| !ip.is_unspecified());
        let given = end.and_then(|end| u16::try_from(end.port).ok()).filter(|port| *port != 0);
        SocketAddr::new(known.unwrap_or(ip.into()), given.unwrap_or(port))
    };
    // Connections whose ends are not known are told apart by their ports.
    let port = DYNAMIC_PORTS + (exchange.flow % u64::from(u16::MAX - DYNAMIC_PORTS)) as u16;
    let tls = exchange.request.as_ref().is_some_and(|request| request.scheme == "https");
    (
        end(exchange.source.as_ref(), CLIENT, port),
        // In clear: 443 would be taken for TLS.
        end(exchange.destination.as_ref(), SERVER, if tls { 8_443 } else { 80 }),
    )
}

impl<W: Write> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("open", &self.open.len())
            .field("waiting_bytes", &self.waiting_bytes)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

//! Any sequence of segments: nothing panics, memory stays bounded, and every byte is accounted for.
//!
//! The input is read as records of a direction and flags byte, a sequence number of two bytes, a length and
//! as many payload bytes; records alternate between a few flows by their flags byte.

#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use tap_flow::{Assembler, CgroupId, Direction, FlowKey, Limits, Reason, Segment, TapId, TcpFlags};

const TAP: TapId = TapId(1);

fuzz_target!(|input: &[u8]| {
    let limits = Limits {
        body_bytes: 256,
        encoded_body_bytes: 512,
        head_bytes: 1024,
        header_count: 8,
        out_of_order_bytes: 600,
        out_of_order_segments: 8,
        pipelined_requests: 4,
        flow_bytes: 4096,
        total_bytes: 6000,
        flows: 3,
        hole_ns: 1000,
        idle_ns: 5000,
        closed_ns: 2000,
        ..Limits::default()
    };
    let total_bytes = limits.total_bytes;
    let mut assembler = Assembler::new(limits);
    let (mut exchanges, mut wire_bytes, mut pushed) = (0, 0, 0);
    let mut time = 0;
    let mut rest = input;
    while let [control, high, low, length, after @ ..] = rest {
        let (payload, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        time += 1 + u64::from(*low);
        let port = 1000 + u16::from(control >> 6);
        let segment = Segment {
            key: FlowKey {
                tap: TAP,
                local: SocketAddr::from(([127, 0, 0, 1], 80)),
                remote: SocketAddr::from(([127, 0, 0, 1], port)),
            },
            cgroup: CgroupId(2),
            direction: if control & 0x20 == 0 { Direction::Ingress } else { Direction::Egress },
            time,
            // Sign-extended, so that numbers wrap around zero.
            sequence: i32::from(i16::from_be_bytes([*high, *low])) as u32,
            flags: TcpFlags(control & 0x17),
            payload,
            cut: if control & 0x08 == 0 { 0 } else { u32::from(*low) },
        };
        pushed += payload.len() as u64;
        let mut emit = |exchange: tap_flow::Exchange| {
            assert!(exchange.request.is_some() || exchange.response.is_some());
            exchanges += 1;
            wire_bytes += exchange.wire_bytes;
        };
        assembler.push(segment, &mut emit);
        match *low {
            255 => assembler.expire(time, &mut emit),
            254 => {
                let odd = |key: &FlowKey| (key.remote.port() % 2 == 1).then_some(Reason::ShedForMemory);
                assembler.shed(odd, &mut emit);
            }
            _ => {}
        }
        let stats = assembler.stats(TAP);
        assert!(stats.balances(), "{stats:?}");
        assert!(assembler.held_bytes() <= total_bytes);
        assert!(assembler.flows() <= 3);
    }
    assembler.finish(&mut |exchange| {
        exchanges += 1;
        wire_bytes += exchange.wire_bytes;
    });
    let stats = assembler.stats(TAP);
    assert!(stats.balances(), "{stats:?}");
    assert_eq!((stats.bytes_buffered, assembler.held_bytes()), (0, 0));
    // A segment that neither belongs to a flow nor begins one carries no payload.
    assert_eq!(stats.bytes_in, pushed);
    assert_eq!((stats.exchanges, stats.bytes_in_exchanges), (exchanges, wire_bytes));
});

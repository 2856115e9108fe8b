//! Files that nobody wrote in good faith: nothing panics, and every packet and byte is accounted for.

use std::ops::ControlFlow;

use proptest::prelude::*;
use tap_flow::{Limits, Role};
use tap_formats::{Item, gor, har, jsonl, pcap};

use crate::sample::exchange;

fn files() -> [Vec<u8>; 4] {
    let exchanges = [exchange(1, 0), exchange(2, 0), exchange(1, 1)];
    let (mut har, mut gor, mut packets) =
        (har::Writer::new(Vec::new()), gor::Writer::new(Vec::new()), pcap::Writer::new(Vec::new()));
    let mut lines = String::new();
    for exchange in &exchanges {
        har.write(exchange).unwrap();
        gor.write(exchange).unwrap();
        packets.write(exchange).unwrap();
        lines += &jsonl::line(exchange).unwrap();
    }
    [har.finish().unwrap(), gor.finish().unwrap(), packets.finish().unwrap(), lines.into_bytes()]
}

/// Reads it as everything.
fn read(file: &[u8]) {
    let take = |item: Item| {
        drop(format!("{item:?}"));
        ControlFlow::Continue(())
    };
    let limits = Limits { flows: 4, flow_bytes: 4_096, total_bytes: 8_192, ..Limits::default() };
    let _ = har::read(file, &mut { take });
    let _ = gor::read(file, &limits, &mut { take });
    let mut summary = pcap::Summary::default();
    let options = pcap::Options { limits, ports: Vec::new(), role: Role::Inbound };
    let _ = pcap::read(file, &options, &mut summary, &mut { take });
    assert!(summary.balances(), "{summary:?}");
    for exchange in jsonl::Captures::new(std::io::Cursor::new(file.to_vec())) {
        let _ = exchange.map(|exchange| tap_formats::stored::imported(1, exchange));
    }
}

#[test]
fn cuts_of_a_file_is_read_or_refused() {
    for file in files() {
        // Every one is too many for a test that is run often.
        for end in (0..file.len()).step_by(7) {
            read(&file[..end]);
        }
    }
}

#[test]
fn a_record_without_an_end_is_refused_before_it_fills_memory() {
    // 1 GiB of an entry, made while it is read.
    let endless = |start: &'static [u8]| {
        let rest = std::io::Read::take(std::io::repeat(b'x'), 1 << 30);
        std::io::BufReader::new(std::io::Read::chain(start, rest))
    };
    let mut take = |_: Item| ControlFlow::Continue(());
    let error = har::read(endless(b"{\"log\":{\"entries\":[{\"a\":\""), &mut take).unwrap_err();
    assert_eq!(error.to_string(), "entry 1: longer than 67108864 bytes");
    let error = gor::read(endless(b"1 a 5\nGET / HTTP/1.1\r\n"), &Limits::default(), &mut take).unwrap_err();
    assert_eq!(error.to_string(), "record 1: longer than 67108864 bytes");
    // A block that says of itself that it is long.
    let block = b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0\x06\0\0\0\0\0\0\x7f";
    let options = pcap::Options { limits: Limits::default(), ports: Vec::new(), role: Role::Inbound };
    let mut summary = pcap::Summary::default();
    let error = pcap::read(endless(block), &options, &mut summary, &mut take).unwrap_err();
    assert_eq!(error.to_string(), "packet 1: longer than 33554432 bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn files_with_changed_bytes_are_read_or_refused(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = files()[which].clone();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        read(&file);
    }

    #[test]
    fn noise_is_read_or_refused(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&noise);
    }
}

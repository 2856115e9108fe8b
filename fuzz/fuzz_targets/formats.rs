//! A file of any of the formats: the first byte says which.

#![no_main]

use std::{io::Cursor, ops::ControlFlow};

use libfuzzer_sys::fuzz_target;
use tap_flow::{Limits, Role};
use tap_formats::{Fit, Item, curl, gor, har, jsonl, pcap, stored};
use tap_proto::v1;

fuzz_target!(|input: &[u8]| {
    let [format, file @ ..] = input else { return };
    let limits = Limits { flows: 64, body_bytes: 4_096, total_bytes: 1 << 20, ..Limits::default() };
    let mut take = |item: Item| {
        drop(format!("{item:?}"));
        ControlFlow::Continue(())
    };
    match format % 4 {
        0 => drop(har::read(file, &mut take)),
        1 => drop(gor::read(file, &limits, &mut take)),
        2 => drop(packets(file, limits, &mut take)),
        _ => {
            for exchange in jsonl::Captures::new(Cursor::new(file.to_vec())).map_while(Result::ok) {
                write(&exchange);
                stored::imported(1, exchange);
            }
        }
    }
});

fn packets(file: &[u8], limits: Limits, take: &mut tap_formats::Sink<'_>) -> u64 {
    let mut summary = pcap::Summary::default();
    let options = pcap::Options { limits, ports: Vec::new(), role: Role::Inbound };
    let _ = pcap::read(file, &options, &mut summary, take);
    assert!(summary.balances(), "{summary:?}");
    summary.flow.exchanges
}

/// In every format; what a reader is there for is read again.
fn write(exchange: &v1::Exchange) {
    let mut curl = curl::Writer::new(Vec::new());
    if curl.write(exchange).unwrap() == Fit::Whole {
        let command = curl.finish().unwrap();
        assert_eq!(command.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    }
    let mut archive = har::Writer::new(Vec::new());
    archive.write(exchange).unwrap();
    let archive = archive.finish().unwrap();
    har::read(archive.as_slice(), &mut |_| ControlFlow::Continue(())).unwrap();
    let mut records = gor::Writer::new(Vec::new());
    let fit = records.write(exchange).unwrap();
    let mut count = 0;
    let records = records.finish().unwrap();
    gor::read(records.as_slice(), &Limits::default(), &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(count, u64::from(!matches!(fit, Fit::Not(_))));
    let mut capture = pcap::Writer::new(Vec::new());
    capture.write(exchange).unwrap();
    packets(&capture.finish().unwrap(), Limits::default(), &mut |_| ControlFlow::Continue(()));
}

//! What a format can hold is the same after a way out and in again.

use proptest::prelude::*;
use tap_flow::{Limits, Role};
use tap_formats::{Fit, gor, har, jsonl, pcap, stored};
use tap_proto::v1;

use crate::sample::{Essence, essence, exchanges, items};

fn expected(exchanges: &[v1::Exchange]) -> Vec<Essence> {
    exchanges.iter().map(|it| essence(&stored::exchange(it.clone()))).collect()
}

fn sorted(mut essences: Vec<Essence>) -> Vec<Essence> {
    essences.sort_by(|a, b| (&a.start, &a.headers, &a.bodies).cmp(&(&b.start, &b.headers, &b.bodies)));
    essences
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_har_keeps_exchanges_and_all_that_is_known_of_them(exchanges in exchanges()) {
        let mut writer = har::Writer::new(Vec::new());
        for exchange in &exchanges {
            prop_assert_eq!(writer.write(exchange).unwrap(), Fit::Whole);
        }
        let file = writer.finish().unwrap();
        let (read, skipped) = items(|sink| har::read(file.as_slice(), sink)).unwrap();
        prop_assert!(skipped.is_empty());
        prop_assert_eq!(read.len(), exchanges.len());
        for (number, (read, exchange)) in (1..).zip(read.into_iter().zip(exchanges)) {
            let expected = stored::imported(number, exchange);
            prop_assert_eq!(read.number, number);
            prop_assert_eq!(essence(&read.exchange), essence(&expected.exchange));
            prop_assert_eq!(read.exchange, expected.exchange);
            prop_assert_eq!(read.about, expected.about);
        }
    }

    #[test]
    fn json_lines_keep_everything(exchanges in exchanges()) {
        let lines: String = exchanges.iter().map(|exchange| jsonl::line(exchange).unwrap()).collect();
        let read: Vec<_> = jsonl::Captures::new(std::io::Cursor::new(lines)).map(Result::unwrap).collect();
        prop_assert_eq!(read, exchanges);
    }

    #[test]
    fn a_goreplay_file_keeps_both_messages_and_when_they_were(exchanges in exchanges()) {
        let mut writer = gor::Writer::new(Vec::new());
        for exchange in &exchanges {
            prop_assert_eq!(writer.write(exchange).unwrap(), Fit::Whole);
        }
        let file = writer.finish().unwrap();
        let (read, skipped) = items(|sink| gor::read(file.as_slice(), &Limits::default(), sink)).unwrap();
        prop_assert!(skipped.is_empty());
        prop_assert_eq!(read.iter().map(|it| essence(&it.exchange)).collect::<Vec<_>>(), expected(&exchanges));
        for (read, exchange) in read.iter().zip(exchanges) {
            let expected = stored::exchange(exchange);
            prop_assert_eq!(read.exchange.request.as_ref().unwrap().span, expected.request.unwrap().span);
            prop_assert_eq!(read.exchange.response.as_ref().unwrap().span, expected.response.unwrap().span);
        }
    }

    #[test]
    fn packets_keep_both_messages_their_times_and_their_connections(exchanges in exchanges()) {
        let mut writer = pcap::Writer::new(Vec::new());
        for exchange in &exchanges {
            prop_assert_eq!(writer.write(exchange).unwrap(), Fit::Whole);
        }
        let file = writer.finish().unwrap();
        let options = pcap::Options { limits: Limits::default(), ports: vec![8080], role: Role::Inbound };
        let mut summary = pcap::Summary::default();
        let (read, _) = items(|sink| pcap::read(file.as_slice(), &options, &mut summary, sink)).unwrap();
        prop_assert!(summary.balances());
        prop_assert_eq!(summary.segments, summary.packets);
        prop_assert_eq!(summary.lost_bytes().map(|(_, bytes)| bytes).sum::<u64>(), 0);
        prop_assert_eq!(summary.flow.gaps, 0);
        let connections: std::collections::BTreeSet<_> = exchanges.iter().map(|it| it.flow).collect();
        prop_assert_eq!(summary.flow.flows, connections.len() as u64);
        let mut read: Vec<_> = read.into_iter().map(|it| it.exchange).collect();
        read.sort_by_key(|exchange| exchange.start());
        let mut wanted: Vec<_> = exchanges.into_iter().map(stored::exchange).collect();
        wanted.sort_by_key(|exchange| exchange.start());
        for (read, wanted) in read.iter().zip(&wanted) {
            prop_assert_eq!(essence(read), essence(wanted));
            prop_assert_eq!((read.flow.local, read.flow.remote), (wanted.flow.local, wanted.flow.remote));
            prop_assert_eq!((read.role, read.index), (wanted.role, wanted.index));
            prop_assert_eq!(read.request.as_ref().unwrap().span, wanted.request.as_ref().unwrap().span);
            prop_assert_eq!(read.response.as_ref().unwrap().span, wanted.response.as_ref().unwrap().span);
        }
        prop_assert_eq!(sorted(read.iter().map(essence).collect()), sorted(wanted.iter().map(essence).collect()));
    }
}

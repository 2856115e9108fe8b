//! Every exchange comes back as it was.

use std::collections::BTreeMap;

use deltalake::{arrow::array::RecordBatch, parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder};
use proptest::{collection::vec, option, prelude::*};
use prost_types::{Duration, Timestamp};
use tap_proto::v1::{
    Body, Completeness, Endpoint, Exchange, Header, Redaction, Request, Response, Timing, body::Content,
};

use super::{DETAIL_COLUMNS, conform, exchanges, record_batch, strip_details};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z/]{1,8}", any::<String>()]
}

fn header() -> impl Strategy<Value = Header> {
    (text(), text(), vec(any::<u8>(), 0..4)).prop_map(|(name, value, raw_value)| Header {
        name,
        value,
        raw_value,
    })
}

fn body() -> impl Strategy<Value = Body> {
    let content = prop_oneof![
        Just(None),
        text().prop_map(|text| Some(Content::Text(text))),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Some(Content::Binary(bytes.into()))),
    ];
    (content, any::<u64>(), text(), text()).prop_map(|(content, size, decoded_from, dropped)| Body {
        content,
        size,
        decoded_from,
        dropped,
    })
}

fn completeness() -> impl Strategy<Value = Completeness> {
    (0..6_i32, any::<u64>(), any::<u64>(), text()).prop_map(|(state, offset, bytes, cause)| Completeness {
        state,
        offset,
        bytes,
        cause,
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (text(), any::<u32>(), text(), text(), text(), text()).prop_map(
        |(ip, port, namespace, pod, service, workload)| Endpoint {
            ip,
            port,
            namespace,
            pod,
            service,
            workload,
        },
    )
}

fn timing() -> impl Strategy<Value = Timing> {
    (text(), any::<[u64; 4]>()).prop_map(|(clock, [a, b, c, d])| Timing {
        clock,
        request_start_ns: a,
        request_end_ns: b,
        response_start_ns: c,
        response_end_ns: d,
    })
}

fn redaction() -> impl Strategy<Value = Redaction> {
    (text(), text(), text(), any::<u32>()).prop_map(|(rule, place, action, count)| Redaction {
        rule,
        place,
        action,
        count,
    })
}

fn request() -> impl Strategy<Value = Request> {
    let line = [(); 6].map(|()| text());
    (line, vec(header(), 0..3), option::of(body()), vec(header(), 0..2), option::of(completeness())).prop_map(
        |([method, scheme, host, path, query, version], headers, body, trailers, completeness)| Request {
            method,
            scheme,
            host,
            path,
            query,
            version,
            headers,
            body,
            trailers,
            completeness,
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    let line = (any::<u32>(), text(), text(), vec(any::<u32>(), 0..3));
    (line, vec(header(), 0..3), option::of(body()), vec(header(), 0..2), option::of(completeness())).prop_map(
        |((status, reason, version, interim_statuses), headers, body, trailers, completeness)| Response {
            status,
            reason,
            version,
            headers,
            body,
            trailers,
            completeness,
            interim_statuses,
        },
    )
}

fn time() -> impl Strategy<Value = Timestamp> {
    let seconds = prop_oneof![0..4_000_000_000_i64, super::SECONDS];
    (seconds, 0..1_000_000_000_i32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

prop_compose! {
    fn exchange()(
        texts in [(); 10].map(|()| text()),
        role in 0..3_i32,
        time in time(),
        duration in option::of((0..1_000_000_000_i64, 0..1_000_000_000_i32)),
        timing in option::of(timing()),
        labels in proptest::collection::btree_map(text(), text(), 0..3),
        ends in (option::of(endpoint()), option::of(endpoint())),
        (flow, flow_index, wire_bytes, epoch, sequence) in any::<(u64, u32, u64, u64, u64)>(),
        request in option::of(request()),
        response in option::of(response()),
        redactions in vec(redaction(), 0..3),
    ) -> Exchange {
        let [id, target, node, namespace, workload, pod, pod_uid, container, agent, redaction_key] = texts;
        Exchange {
            id, role, time: Some(time), duration: duration.map(|(seconds, nanos)| Duration { seconds, nanos }), timing,
            target, node, namespace, workload, pod, pod_uid, container, labels,
            source: ends.0, destination: ends.1, flow, flow_index, request, response, redactions, wire_bytes,
            redaction_key, mirrors: Vec::new(), agent, epoch, sequence,
        }
    }
}

/// Through a data file, with or without the columns of detail.
fn through_parquet(rows: &[Exchange], summary: bool) -> Vec<Exchange> {
    let rows: Vec<&Exchange> = rows.iter().collect();
    let mut stored = Vec::new();
    for file in crate::data_file::encode(&rows).unwrap() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.bytes)).unwrap();
        for batch in reader.build().unwrap() {
            let mut batch = batch.unwrap();
            if summary {
                for column in DETAIL_COLUMNS {
                    let index = batch.schema().index_of(column).unwrap();
                    batch.remove_column(index);
                }
            }
            stored.extend(exchanges(&conform(batch).unwrap()));
        }
    }
    stored
}

fn sorted(mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
    exchanges.sort_by_cached_key(|exchange| format!("{exchange:?}"));
    exchanges
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn columns_lose_nothing(rows in vec(exchange(), 0..8)) {
        let references: Vec<&Exchange> = rows.iter().collect();
        let batch: RecordBatch = record_batch(&references).unwrap();
        prop_assert_eq!(exchanges(&batch), rows);
    }

    #[test]
    fn files_lose_nothing(rows in vec(exchange(), 1..8)) {
        prop_assert_eq!(sorted(through_parquet(&rows, false)), sorted(rows));
    }

    #[test]
    fn a_summary_is_the_exchange_without_details(mut rows in vec(exchange(), 1..4)) {
        let found = through_parquet(&rows, true);
        rows.iter_mut().for_each(strip_details);
        prop_assert_eq!(sorted(found), sorted(rows));
    }

    #[test]
    fn absurd_times_become_the_nearest(seconds in any::<i64>(), nanos in any::<i32>(), wire_bytes in any::<u64>()) {
        let time = Some(Timestamp { seconds, nanos });
        let duration = Some(Duration { seconds, nanos });
        let row = Exchange { time, duration, wire_bytes, ..Exchange::default() };
        let [found] = &*through_parquet(&[row], false) else { panic!("not one row") };
        let expected = seconds.clamp(*super::SECONDS.start(), *super::SECONDS.end());
        prop_assert_eq!(found.time.as_ref().unwrap().seconds, expected);
    }
}

#[test]
fn a_file_of_an_earlier_version_reads_without_the_columns_that_it_lacks() {
    let exchange = Exchange {
        id: "a".to_owned(),
        time: Some(Timestamp { seconds: 1, nanos: 2 }),
        redaction_key: "k".to_owned(),
        ..Exchange::default()
    };
    let mut batch = record_batch(&[&exchange]).unwrap();
    batch.remove_column(batch.schema().index_of("redaction_key").unwrap());
    let without = Exchange { redaction_key: String::new(), ..exchange };
    assert_eq!(exchanges(&conform(batch).unwrap()), [without]);
}

#[test]
fn a_file_rewritten_by_another_engine_reads_the_same() {
    use deltalake::arrow::{compute::cast, datatypes::DataType};

    let exchange = Exchange {
        id: "a".to_owned(),
        time: Some(Timestamp { seconds: 1, nanos: 2 }),
        epoch: u64::MAX,
        labels: BTreeMap::from([("app".to_owned(), "shop".to_owned())]),
        ..Exchange::default()
    };
    let batch = record_batch(&[&exchange]).unwrap();
    let columns = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            let column = match column.data_type() {
                DataType::Utf8 if field.name() == "id" => cast(column, &DataType::LargeUtf8).unwrap(),
                DataType::Utf8 => cast(column, &DataType::Utf8View).unwrap(),
                DataType::Binary => cast(column, &DataType::LargeBinary).unwrap(),
                _ => column.clone(),
            };
            (field.name().clone(), column, true)
        })
        .collect::<Vec<_>>();
    let rewritten = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    assert_eq!(exchanges(&conform(rewritten).unwrap()), [exchange]);
}

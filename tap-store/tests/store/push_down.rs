//! What a search finds by skipping and narrowing down is what the condition is true of, whatever the condition and
//! the exchanges.

use deltalake::parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::properties::{EnabledStatistics, WriterProperties},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};
use tap_expr::Condition;
use tap_proto::v1::{
    Batch, Body, Completeness, Endpoint, Exchange, Header, Order, Request, Response, Role, body::Content,
    completeness::State,
};
use tap_store::{Query, Store};

use crate::sample::{START, agent, query};

const STRINGS: [&str; 14] = [
    "",
    "GET",
    "POST",
    "/a",
    "/a/b",
    "/a/b/c",
    "/é",
    "shop",
    "shop:80",
    "é\u{10ffff}",
    "\u{10ffff}",
    "~",
    "A",
    "a b",
];
const NUMBERS: [u32; 9] = [0, 1, 80, 200, 404, 500, 65_535, i32::MAX as u32, u32::MAX];

fn string() -> impl Strategy<Value = String> {
    select(STRINGS.to_vec()).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = u32> {
    select(NUMBERS.to_vec())
}

fn headers() -> impl Strategy<Value = Vec<Header>> {
    let name = select(vec!["X", "x", "Content-Type", "é"]).prop_map(str::to_owned);
    let raw_value = select(vec![Vec::new(), vec![0xff, 0x00], b"plain".to_vec()]);
    vec(
        (name, string(), raw_value).prop_map(|(name, value, raw_value)| Header { name, value, raw_value }),
        0..3,
    )
}

fn body() -> impl Strategy<Value = Option<Body>> {
    let content = prop_oneof![
        string().prop_map(|text| Some(Content::Text(text))),
        Just(Some(Content::Text("{\"quantity\": 12, \"note\": \"ünïcode\"}".to_owned()))),
        Just(Some(Content::Text("x".repeat(3000)))),
        Just(Some(Content::Binary(vec![0xff, 0xfe, 0x00].into()))),
        Just(Some(Content::Binary(b"quantity".to_vec().into()))),
        Just(None),
    ];
    let dropped = select(vec!["", "", "too large"]).prop_map(str::to_owned);
    let size = select(vec![0, 3, 3000, u64::MAX]);
    option::of((content, size, string(), dropped).prop_map(|(content, size, decoded_from, dropped)| Body {
        content,
        size,
        decoded_from,
        dropped,
    }))
}

fn completeness() -> impl Strategy<Value = Option<Completeness>> {
    let states = vec![State::Complete, State::Truncated, State::Missing, State::Unspecified];
    option::of(
        select(states).prop_map(|state| Completeness { state: state.into(), ..Completeness::default() }),
    )
}

fn endpoint() -> impl Strategy<Value = Option<Endpoint>> {
    let end = (string(), number(), string(), string(), string());
    option::of(end.prop_map(|(ip, port, namespace, service, workload)| Endpoint {
        ip,
        port,
        namespace,
        service,
        workload,
        pod: String::new(),
    }))
}

fn request() -> impl Strategy<Value = Option<Request>> {
    let texts = (string(), string(), string(), string(), string());
    option::of((texts, headers(), headers(), body(), completeness()).prop_map(
        |((method, host, path, query, version), headers, trailers, body, completeness)| Request {
            method,
            scheme: "http".to_owned(),
            host,
            path,
            query,
            version,
            headers,
            body,
            trailers,
            completeness,
        },
    ))
}

fn response() -> impl Strategy<Value = Option<Response>> {
    option::of((number(), string(), headers(), headers(), body(), completeness()).prop_map(
        |(status, reason, headers, trailers, body, completeness)| Response {
            status,
            reason,
            version: "HTTP/1.1".to_owned(),
            headers,
            body,
            trailers,
            completeness,
            interim_statuses: Vec::new(),
        },
    ))
}

/// Each with an id of its own, which `number` gives; some have times alike.
fn exchange() -> impl Strategy<Value = Exchange> {
    let nanos = select(vec![0_i32, 1, 999, 1000, 1500, 250_000_000]);
    let duration = option::of((select(vec![0_i64, 1, 9_000_000_000]), nanos.clone()));
    let names = (string(), string(), string(), string());
    let labels = select(vec![vec![], vec![("app", "shop")], vec![("app", "é"), ("", "")]]);
    (
        (0_i64..5, nanos, duration, select(vec![Role::Inbound, Role::Outbound, Role::Unspecified])),
        names,
        labels,
        (endpoint(), endpoint(), select(vec![0, 7, u64::MAX]), number()),
        (request(), response()),
    )
        .prop_map(|((second, nanos, duration, role), names, labels, connection, messages)| Exchange {
            role: role.into(),
            time: Some(Timestamp { seconds: START + second, nanos }),
            duration: duration.map(|(seconds, nanos)| Duration { seconds, nanos }),
            target: names.0,
            namespace: names.1,
            workload: names.2,
            pod: names.3,
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            source: connection.0,
            destination: connection.1,
            flow: connection.2,
            flow_index: connection.3,
            request: messages.0,
            response: messages.1,
            ..Exchange::default()
        })
}

fn quoted() -> impl Strategy<Value = String> {
    string().prop_map(|text| format!("'{text}'"))
}

fn int() -> impl Strategy<Value = String> {
    let numbers = [
        "-1",
        "0",
        "80",
        "200",
        "404",
        "65536",
        "2147483647",
        "2147483648",
        "4294967295",
        "9223372036854775807",
    ];
    select(numbers.to_vec()).prop_map(str::to_owned)
}

fn operator() -> impl Strategy<Value = &'static str> {
    select(vec!["==", "!=", "<", "<=", ">", ">="])
}

fn string_field() -> impl Strategy<Value = &'static str> {
    select(vec![
        "request.method",
        "request.path",
        "request.host",
        "request.query",
        "request.version",
        "request.body.text",
        "request.body.decoded_from",
        "response.body.text",
        "response.body.dropped",
        "response.reason",
        "role",
        "target",
        "namespace",
        "workload",
        "pod",
        "source.ip",
        "source.service",
        "destination.workload",
        "destination.host",
        "request.headers['x']",
        "response.headers['Content-Type']",
        "request.trailers['é']",
        "labels['app']",
        "request.path.lowerAscii()",
    ])
}

fn int_field() -> impl Strategy<Value = &'static str> {
    select(vec![
        "response.status",
        "source.port",
        "destination.port",
        "request.body.size",
        "flow",
        "flow_index",
        "size(request.path)",
        "size(response.body.bytes)",
        "size(request.headers)",
    ])
}

fn leaf() -> impl Strategy<Value = String> {
    let function = select(vec!["startsWith", "endsWith", "contains"]);
    let pattern = select(vec!["'^/a'", "'[0-9]+'", "'quantity.*note'", "'ï'", "'(?i)shop'", "'^$'"]);
    let time = (0_u8..6, select(vec!["", ".000000001", ".000001", ".0000015", ".25"]));
    prop_oneof![
        (string_field(), operator(), quoted()).prop_map(|(f, o, v)| format!("{f} {o} {v}")),
        (int_field(), operator(), int()).prop_map(|(f, o, v)| format!("{f} {o} {v}")),
        (int(), operator(), int_field()).prop_map(|(v, o, f)| format!("{v} {o} {f}")),
        (string_field(), function, quoted()).prop_map(|(f, function, v)| format!("{f}.{function}({v})")),
        (string_field(), pattern).prop_map(|(f, pattern)| format!("{f}.matches({pattern})")),
        (string_field(), vec(quoted(), 1..4)).prop_map(|(f, list)| format!("{f} in [{}]", list.join(", "))),
        (int_field(), vec(int(), 1..4)).prop_map(|(f, list)| format!("{f} in [{}]", list.join(", "))),
        (operator(), time).prop_map(|(o, (second, part))| format!(
            "time {o} timestamp('2026-01-02T03:04:0{second}{part}Z')"
        )),
        operator().prop_map(|o| format!("duration {o} duration('1us')")),
        select(vec![
            "true",
            "false",
            "1 / 0 == 1",
            "complete",
            "request.complete",
            "response.complete",
            "has(response.status)",
            "has(request.body.text)",
            "'X' in request.headers",
            "'app' in labels",
            "request.headers.exists(name, name == 'content-type')",
            "response.body.bytes == b'quantity'",
            "source.port == destination.port",
            "time + duration > timestamp('2026-01-02T03:04:07Z')",
        ])
        .prop_map(str::to_owned),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
        ]
    })
}

/// Merges the files into one of many small pages and row groups, as another engine would, so that there is something to
/// skip within it.
fn rewrite(folder: &tempfile::TempDir) {
    let table = folder.path().join("exchanges");
    let commits: Vec<_> =
        (1..=3).map(|version| table.join(format!("_delta_log/{version:020}.json"))).collect();
    let mut adds = Vec::new();
    for commit in commits {
        let commit = std::fs::read_to_string(commit).unwrap();
        let actions = commit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        adds.extend(actions.filter_map(|action| action.get("add").cloned()));
    }
    let properties = WriterProperties::builder()
        .set_data_page_row_count_limit(3)
        .set_write_batch_size(3)
        .set_max_row_group_row_count(Some(8))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_index_truncate_length(Some(3))
        .build();
    let mut writer: Option<ArrowWriter<Vec<u8>>> = None;
    let mut actions = Vec::new();
    for add in &adds {
        let path = add["path"].as_str().unwrap();
        let file = std::fs::File::open(table.join(path)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let schema = std::sync::Arc::clone(reader.schema());
        let writer = writer.get_or_insert_with(|| {
            ArrowWriter::try_new(Vec::new(), schema, Some(properties.clone())).unwrap()
        });
        for batch in reader.build().unwrap() {
            writer.write(&batch.unwrap()).unwrap();
        }
        actions.push(json!({"remove": {"path": path, "dataChange": false, "deletionTimestamp": 0}}));
    }
    let bytes = writer.unwrap().into_inner().unwrap();
    let mut add = adds[0].clone();
    add["path"] = json!("date=2026-01-02/part-rewritten.parquet");
    add["size"] = json!(bytes.len());
    add["dataChange"] = json!(false);
    add["stats"] = Value::Null;
    std::fs::write(table.join("date=2026-01-02/part-rewritten.parquet"), bytes).unwrap();
    actions.push(json!({ "add": add }));
    let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
    std::fs::write(table.join("_delta_log/00000000000000000004.json"), lines.join("\n")).unwrap();
}

async fn all_pages(
    store: &Store,
    source: &str,
    order: Order,
    page_size: usize,
    summary: bool,
) -> Vec<Exchange> {
    let mut found = Vec::new();
    let mut page_token = None;
    loop {
        let query = Query { page_size, page_token, summary, ..query(source, order) };
        let page = store.search(query).await.unwrap_or_else(|error| panic!("{source}: {error}"));
        found.extend(page.exchanges);
        page_token = page.next_page_token;
        if page_token.is_none() {
            return found;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn a_search_finds_what_the_condition_is_true_of(
        mut exchanges in vec(exchange(), 48),
        conditions in vec(condition(), 24),
        page_size in 1_usize..60,
        is_rewritten in any::<bool>(),
        summary in any::<bool>(),
    ) {
        for (number, exchange) in exchanges.iter_mut().enumerate() {
            // Not in the order of time, so that the ids of files overlap.
            exchange.id = uuid::Uuid::from_u128((number as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15 << 60)).to_string();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (parsed, found) = runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let store = crate::sample::store(&folder).await;
            for (index, exchanges) in exchanges.chunks(16).enumerate() {
                let batch = Batch { sequence: index as u64 + 1, exchanges: exchanges.to_vec(), ledger: None };
                store.append(vec![(agent("node-a", 1), batch)]).await.unwrap();
            }
            if is_rewritten {
                rewrite(&folder);
            }
            let mut parsed = Vec::new();
            let mut found = Vec::new();
            for (index, source) in conditions.iter().enumerate() {
                parsed.push(Condition::parse(source).unwrap_or_else(|error| panic!("{source}: {error}")));
                let order = [Order::NewestFirst, Order::OldestFirst][index % 2];
                let exchanges = all_pages(&store, source, order, page_size, summary).await;
                found.push(exchanges.into_iter().map(|exchange| exchange.id).collect::<Vec<_>>());
            }
            (parsed, found)
        });
        for (index, (condition, found)) in parsed.iter().zip(found).enumerate() {
            let mut expected: Vec<_> = exchanges.iter().filter(|exchange| condition.matches(*exchange)).collect();
            expected.sort_by_key(|exchange| {
                let time = exchange.time.unwrap();
                (time.seconds, time.nanos / 1000, exchange.id.clone())
            });
            if index % 2 == 0 {
                expected.reverse();
            }
            let expected: Vec<_> = expected.into_iter().map(|exchange| exchange.id.clone()).collect();
            prop_assert_eq!(found, expected, "{}", conditions[index]);
        }
    }
}

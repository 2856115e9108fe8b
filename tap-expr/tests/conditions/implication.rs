//! What a scan is told is implied by the condition, whatever the condition and the exchange.

use proptest::prelude::*;
use tap_expr::{Condition, Field, Operator, Predicate, Value};
use tap_proto::v1::{Exchange, Role};

use crate::sample::exchange;

/// A row's value; `None` for NULL.
fn column(field: Field, row: &Exchange) -> Option<Value> {
    let string = |text: &str| Some(Value::String(text.to_owned()));
    let nanos = |seconds: i64, nanos: i32| Some(Value::Integer(seconds * 1_000_000_000 + i64::from(nanos)));
    match field {
        Field::Id => string(&row.id),
        Field::Role => string(if row.role() == Role::Inbound { "inbound" } else { "outbound" }),
        Field::Time => row.time.as_ref().and_then(|time| nanos(time.seconds, time.nanos)),
        Field::Duration => row.duration.as_ref().and_then(|duration| nanos(duration.seconds, duration.nanos)),
        Field::Target => string(&row.target),
        Field::Node => string(&row.node),
        Field::Namespace => string(&row.namespace),
        Field::Workload => string(&row.workload),
        Field::Pod => string(&row.pod),
        Field::Container => string(&row.container),
        Field::SourceIp => row.source.as_ref().and_then(|end| string(&end.ip)),
        Field::SourcePort => row.source.as_ref().map(|end| Value::Integer(end.port.into())),
        Field::DestinationIp => row.destination.as_ref().and_then(|end| string(&end.ip)),
        Field::DestinationPort => row.destination.as_ref().map(|end| Value::Integer(end.port.into())),
        Field::Method => row.request.as_ref().and_then(|request| string(&request.method)),
        Field::Scheme => row.request.as_ref().and_then(|request| string(&request.scheme)),
        Field::Host => row.request.as_ref().and_then(|request| string(&request.host)),
        Field::Path => row.request.as_ref().and_then(|request| string(&request.path)),
        Field::Query => row.request.as_ref().and_then(|request| string(&request.query)),
        Field::Status => row.response.as_ref().map(|response| Value::Integer(response.status.into())),
    }
}

/// Whether a scan would leave the row.
fn scan(predicate: &Predicate, row: &Exchange) -> bool {
    match predicate {
        Predicate::True => true,
        Predicate::And(parts) => parts.iter().all(|part| scan(part, row)),
        Predicate::Or(parts) => parts.iter().any(|part| scan(part, row)),
        Predicate::StartsWith { field, prefix } => {
            matches!(column(*field, row), Some(Value::String(text)) if text.starts_with(prefix))
        }
        Predicate::Compare { field, operator, value } => {
            let Some(found) = column(*field, row) else { return false };
            let ordering = match (&found, value) {
                (Value::String(found), Value::String(value)) => found.cmp(value),
                (Value::Integer(found), Value::Integer(value)) => found.cmp(value),
                _ => panic!("{field:?} is compared with {value:?}"),
            };
            match operator {
                Operator::Equal => ordering.is_eq(),
                Operator::NotEqual => ordering.is_ne(),
                Operator::Less => ordering.is_lt(),
                Operator::LessOrEqual => ordering.is_le(),
                Operator::Greater => ordering.is_gt(),
                Operator::GreaterOrEqual => ordering.is_ge(),
            }
        }
    }
}

fn operator() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["==", "!=", "<", "<=", ">", ">="])
}

/// Comparisons and the like, many of which a scan can test and some not.
fn leaf() -> impl Strategy<Value = String> {
    let string_field = proptest::sample::select(vec![
        "request.method",
        "request.path",
        "request.host",
        "request.query",
        "destination.host",
        "role",
        "namespace",
        "pod",
        "source.ip",
    ]);
    let int_field = proptest::sample::select(vec!["response.status", "source.port", "destination.port"]);
    let string = proptest::sample::select(vec![
        "''",
        "'GET'",
        "'POST'",
        "'/a'",
        "'/a/b'",
        "'inbound'",
        "'shop'",
        "'shop:80'",
        "'é'",
    ]);
    let int = proptest::sample::select(vec!["-1", "0", "80", "200", "404", "65536"]);
    let time = proptest::sample::select(vec![
        "1970-01-01T00:00:00Z",
        "2026-01-31T12:00:00.5Z",
        "9999-01-01T00:00:00Z",
    ]);
    prop_oneof![
        (string_field.clone(), operator(), string.clone()).prop_map(|(f, o, v)| format!("{f} {o} {v}")),
        (string_field.clone(), operator(), string.clone()).prop_map(|(f, o, v)| format!("{v} {o} {f}")),
        (int_field.clone(), operator(), int.clone()).prop_map(|(f, o, v)| format!("{f} {o} {v}")),
        (int_field.clone(), operator(), int.clone()).prop_map(|(f, o, v)| format!("{v} {o} {f}")),
        (int_field.clone(), operator()).prop_map(|(f, o)| format!("{f} {o} 200.5")),
        (string_field.clone(), string.clone()).prop_map(|(f, v)| format!("{f}.startsWith({v})")),
        (string_field, string.clone(), string.clone()).prop_map(|(f, a, b)| format!("{f} in [{a}, {b}]")),
        (int_field.clone(), int.clone(), int).prop_map(|(f, a, b)| format!("{f} in [{a}, {b}]")),
        int_field.prop_map(|f| format!("{f} in []")),
        (operator(), time).prop_map(|(o, v)| format!("time {o} timestamp('{v}')")),
        operator().prop_map(|o| format!("duration {o} duration('250ms')")),
        string.prop_map(|v| format!("request.headers['x'] == {v}")),
        proptest::sample::select(vec![
            "true",
            "false",
            "complete",
            "has(response.status)",
            "request.path.contains('a')",
            "1 / 0 == 1",
            "request.body.size > 3",
            "source.port == destination.port",
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

fn row() -> impl Strategy<Value = Exchange> {
    let string = || {
        proptest::sample::select(vec![
            "",
            "GET",
            "POST",
            "/a",
            "/a/b/c",
            "shop",
            "shop:80",
            "shop:80:8",
            "é",
            "~",
        ])
    };
    let number = || proptest::sample::select(vec![0_u32, 80, 200, 201, 404, 65_535]);
    (
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        (string(), string(), string(), string(), string()),
        (number(), number(), number()),
        proptest::sample::select(vec![0_i32, 250_000_000, 500_000_000, 500_000_001]),
    )
        .prop_map(|((request, response, inbound, header), strings, numbers, nanos)| {
            let mut row = exchange();
            row.role = if inbound { Role::Inbound } else { Role::Outbound }.into();
            (row.namespace, row.pod) = (strings.0.to_owned(), strings.1.to_owned());
            row.source.as_mut().unwrap().port = numbers.0;
            row.destination.as_mut().unwrap().port = numbers.1;
            row.time.as_mut().unwrap().nanos = nanos;
            row.duration = response.then_some(prost_types::Duration { seconds: 0, nanos });
            let sent = row.request.as_mut().unwrap();
            sent.method = strings.2.to_owned();
            sent.path = strings.3.to_owned();
            sent.query = strings.4.to_owned();
            sent.host = strings.0.to_owned();
            if header {
                sent.headers.push(crate::sample::header("X", strings.0));
            }
            row.response.as_mut().unwrap().status = numbers.2;
            row.request = row.request.filter(|_| request);
            row.response = row.response.filter(|_| response);
            row
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_predicate_is_implied(source in condition(), rows in proptest::collection::vec(row(), 16)) {
        let condition = Condition::parse(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let predicate = condition.predicate();
        for row in &rows {
            let (met, left) = (condition.matches(row), scan(&predicate, row));
            prop_assert!(!met || left, "{source} is met, but not {predicate:?}");
            prop_assert!(!condition.predicate_is_exact() || met == left, "{source} is not {predicate:?}");
        }
    }
}

//! Any text as a condition: it is refused in one line, or evaluates within its bound on any exchange, says of what it reads,
//! and implies its predicate.
//!
//! The input is the condition, a zero byte, and what the exchange is made of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tap_expr::{Condition, Operator, Predicate, Scalar, Value, View as _};
use tap_proto::v1::{
    Body, Completeness, Endpoint, Exchange, Header, Request, Response, Role, body::Content,
    completeness::State,
};

fuzz_target!(|input: &[u8]| {
    let zero = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (source, rest) = (&input[..zero], input.get(zero + 1..).unwrap_or_default());
    let Ok(source) = std::str::from_utf8(source) else { return };
    let condition = match Condition::parse(source) {
        Ok(condition) => condition,
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && message.len() < 2000, "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
            return;
        }
    };
    condition.reads();
    let (predicate, is_exact) = (condition.predicate(), condition.predicate_is_exact());
    for exchange in [exchange(rest), Exchange::default()] {
        let met = condition.matches(&exchange);
        assert_eq!(met, condition.matches(&exchange), "it is the same each time");
        let left = scan(&predicate, &exchange);
        assert!(!met || left, "met, but not {predicate:?}");
        assert!(!is_exact || met == left, "{met}, but exactly {predicate:?}");
    }
});

/// Whether a scan would leave the exchange.
fn scan(predicate: &Predicate, exchange: &Exchange) -> bool {
    match predicate {
        Predicate::True => true,
        Predicate::And(parts) => parts.iter().all(|part| scan(part, exchange)),
        Predicate::Or(parts) => parts.iter().any(|part| scan(part, exchange)),
        Predicate::StartsWith { field, prefix } => {
            matches!(exchange.field(*field), Some(Scalar::Text(text)) if text.starts_with(prefix))
        }
        Predicate::Compare { field, operator, value } => {
            let ordering = match (exchange.field(*field), value) {
                (Some(Scalar::Text(found)), Value::String(value)) => (*found).cmp(value.as_str()),
                (Some(Scalar::Int(found)), Value::Integer(value)) => found.cmp(value),
                (Some(Scalar::Nanos(found)), Value::Integer(value)) => found.cmp(&i128::from(*value)),
                (None, _) => return false,
                (Some(_), _) => panic!("{field:?} is compared with {value:?}"),
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

/// Everything in it is from the input.
fn exchange(input: &[u8]) -> Exchange {
    let text = String::from_utf8_lossy(input);
    let mut words = text.split('\u{1}').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let number = |place: usize| input.get(place).copied().map_or(0, u32::from);
    let header = |name: String, value: String| Header { name, value, ..Header::default() };
    let complete = Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
    let body = |content: String| {
        let size = content.len() as u64;
        Some(Body { content: Some(Content::Text(content)), size, ..Body::default() })
    };
    let binary = Body { content: Some(Content::Binary(input.to_vec().into())), ..Body::default() };
    let (seconds, nanos) = (i64::from(number(0)) << 24, (number(1) << 16) as i32);
    Exchange {
        id: word(),
        role: if number(0) % 2 == 0 { Role::Inbound } else { Role::Outbound }.into(),
        time: Some(prost_types::Timestamp { seconds, nanos }),
        duration: (number(2) % 3 > 0).then_some(prost_types::Duration { seconds: 0, nanos }),
        namespace: word(),
        workload: word(),
        labels: [(word(), word())].into(),
        source: Some(Endpoint { ip: word(), port: number(3), ..Endpoint::default() }),
        destination: (number(4) % 3 > 0).then(|| Endpoint { service: word(), ..Endpoint::default() }),
        flow: u64::from(number(5)) << 56,
        request: (number(6) % 5 > 0).then(|| Request {
            method: word(),
            host: word(),
            path: word(),
            query: word(),
            headers: (0..number(7) % 8).map(|_| header(word(), word())).collect(),
            body: body(word()),
            completeness: complete.clone(),
            ..Request::default()
        }),
        response: (number(8) % 5 > 0).then(|| Response {
            status: number(9) * 4,
            headers: vec![header(word(), word())],
            body: if number(10) % 2 == 0 { Some(binary) } else { body(word()) },
            ..Response::default()
        }),
        ..Exchange::default()
    }
}

//! Comparison and arithmetic of values.

use std::cmp::Ordering;

use super::{Evaluated, Unknown, Value};
use crate::{node::Arithmetic, predicate::Operator, time};

/// Largest string that concatenation makes.
const MAX_STRING_BYTES: usize = 1 << 20;

pub(super) fn is_equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    compare(left, right) == Some(Ordering::Equal)
}

/// The order of two values of types that compare; `None` where there is none, as with NaN.
#[expect(clippy::cast_precision_loss, reason = "CEL compares an int with a double as doubles")]
pub(super) fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Int(left), Value::Double(right)) => (*left as f64).partial_cmp(right),
        (Value::Double(left), Value::Int(right)) => left.partial_cmp(&(*right as f64)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
        (Value::Timestamp(left), Value::Timestamp(right))
        | (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

pub(super) fn arithmetic<'a>(operation: Arithmetic, left: Value<'a>, right: &Value<'_>) -> Evaluated<'a> {
    let value = match (left, right) {
        (Value::Int(left), Value::Int(right)) => match operation {
            Arithmetic::Add => left.checked_add(*right),
            Arithmetic::Subtract => left.checked_sub(*right),
            Arithmetic::Multiply => left.checked_mul(*right),
            Arithmetic::Divide => left.checked_div(*right),
            Arithmetic::Remainder => left.checked_rem(*right),
        }
        .map(Value::Int),
        (Value::Double(left), Value::Double(right)) => match operation {
            Arithmetic::Add => Some(left + right),
            Arithmetic::Subtract => Some(left - right),
            Arithmetic::Multiply => Some(left * right),
            Arithmetic::Divide => Some(left / right),
            Arithmetic::Remainder => None,
        }
        .map(Value::Double),
        (Value::String(left), Value::String(right)) if left.len() + right.len() <= MAX_STRING_BYTES => {
            let mut joined = left;
            joined.to_mut().push_str(right);
            Some(Value::String(joined))
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => {
            time::checked_duration(left - right).map(Value::Duration)
        }
        (Value::Timestamp(instant), Value::Duration(duration)) => {
            time::checked_timestamp(added(operation, instant, *duration)).map(Value::Timestamp)
        }
        (Value::Duration(duration), Value::Timestamp(instant)) => {
            time::checked_timestamp(duration + *instant).map(Value::Timestamp)
        }
        (Value::Duration(left), Value::Duration(right)) => {
            time::checked_duration(added(operation, left, *right)).map(Value::Duration)
        }
        _ => None,
    };
    value.ok_or(Unknown)
}

fn added(operation: Arithmetic, left: i128, right: i128) -> i128 {
    if operation == Arithmetic::Subtract { left - right } else { left + right }
}

impl Value<'_> {
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Double(_))
    }
}

impl Operator {
    pub(super) fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }

    pub(super) fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::NotEqual => ordering != Some(Ordering::Equal),
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

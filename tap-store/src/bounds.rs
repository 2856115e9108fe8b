//! Whether a predicate can be true of any row of a file, a row group or a page, by the least and the greatest
//! value of its columns.

use tap_expr::{Field, Operator, Predicate, Value};

/// No value of a column is outside; some at the ends may not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounds<'a> {
    Text(&'a str, &'a str),
    /// Of a time or a duration, in nanoseconds.
    Integer(i64, i64),
}

/// Whether the predicate may be true of a row whose fields are within these bounds; `None` for a field whose
/// values are not known.
pub(crate) fn may_hold<'a>(predicate: &Predicate, bounds: &impl Fn(Field) -> Option<Bounds<'a>>) -> bool {
    match predicate {
        Predicate::True => true,
        Predicate::And(parts) => parts.iter().all(|part| may_hold(part, bounds)),
        Predicate::Or(parts) => parts.iter().any(|part| may_hold(part, bounds)),
        Predicate::Compare { field, operator, value } => {
            bounds(*field).is_none_or(|bounds| bounds.may_compare(*operator, value))
        }
        Predicate::StartsWith { field, prefix } => {
            bounds(*field).is_none_or(|bounds| bounds.may_start_with(prefix))
        }
    }
}

impl Bounds<'_> {
    /// Of times whose microseconds are known.
    pub(crate) fn of_times(first: i64, last: i64) -> Self {
        Self::Integer(first.saturating_mul(1000), last.saturating_mul(1000).saturating_add(999))
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        match (self, other) {
            (Self::Text(a, b), Self::Text(c, d)) => a <= d && c <= b,
            (Self::Integer(a, b), Self::Integer(c, d)) => a <= d && c <= b,
            (Self::Text(..), Self::Integer(..)) | (Self::Integer(..), Self::Text(..)) => true,
        }
    }

    pub(crate) fn may_compare(self, operator: Operator, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(least, greatest), Value::String(value)) => {
                may_compare(operator, least, greatest, value.as_str())
            }
            (Self::Integer(least, greatest), Value::Integer(value)) => {
                may_compare(operator, least, greatest, *value)
            }
            (Self::Text(..), Value::Integer(_)) | (Self::Integer(..), Value::String(_)) => true,
        }
    }

    pub(crate) fn may_start_with(self, prefix: &str) -> bool {
        match self {
            // What starts with the prefix is not less than it; what is greater and starts otherwise is greater than
            // all that starts with it.
            Self::Text(least, greatest) => {
                greatest >= prefix && (least <= prefix || least.starts_with(prefix))
            }
            Self::Integer(..) => true,
        }
    }
}

fn may_compare<T: PartialOrd>(operator: Operator, least: T, greatest: T, value: T) -> bool {
    match operator {
        Operator::Equal => least <= value && value <= greatest,
        // The ends may be wider than the values.
        Operator::NotEqual => true,
        Operator::Less => least < value,
        Operator::LessOrEqual => least <= value,
        Operator::Greater => greatest > value,
        Operator::GreaterOrEqual => greatest >= value,
    }
}

#[cfg(test)]
mod tests {
    use tap_expr::Condition;

    use super::*;

    fn may_be_met(condition: &str) -> bool {
        let bounds = |field| match field {
            Field::Path => Some(Bounds::Text("/cart/1", "/cart/9")),
            Field::Status => Some(Bounds::Integer(200, 404)),
            _ => None,
        };
        may_hold(&Condition::parse(condition).unwrap().predicate(), &bounds)
    }

    #[test]
    fn bounds_decide_what_they_can() {
        for possible in [
            "",
            "request.path.startsWith('/ca')",
            "request.path.startsWith('/cart/10')",
            "request.path.startsWith('/cart/9')",
            "request.path == '/cart/1'",
            "request.path != '/cart/1'",
            "response.status >= 404",
            "response.status == 500 || request.method == 'GET'",
            "response.status in [199, 201]",
            "namespace == 'shop'",
        ] {
            assert!(may_be_met(possible), "{possible}");
        }
        for impossible in [
            "request.path.startsWith('/cat')",
            "request.path.startsWith('/cart/90')",
            "request.path.startsWith('/cart/0')",
            "request.path < '/cart/1'",
            "response.status > 404",
            "response.status == 500 || response.status < 200",
            "response.status in [199, 405]",
            "namespace == 'shop' && response.status == 500",
            "!(response.status < 500)",
        ] {
            assert!(!may_be_met(impossible), "{impossible}");
        }
    }
}

//! CEL conditions over named figures, such as those of a report: `error_rate > 0.01 || latency.p99 > duration("300ms")`.
//!
//! Names and types are checked before there is any figure. Numbers are doubles; a figure that is absent makes
//! what reads it unknown, as in a condition over an exchange. A table of counts is read by key,
//! `statuses["500"]`; a key that it does not have counts 0.

mod check;

use std::cmp::Ordering;

use crate::{ConditionError, syntax};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureKind {
    Number,
    Duration,
    Text,
    /// From words to numbers.
    Counts,
}

/// A figure's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    Number(f64),
    /// Nanoseconds.
    Duration(i128),
    Text(String),
}

/// Where figures come from.
pub trait Figures {
    /// The figure `name`; for a table of counts, that under `key`. `None` where it is absent.
    fn figure(&self, name: &str, key: Option<&str>) -> Option<Figure>;
}

/// A parsed and checked condition over figures.
#[derive(Clone, Debug)]
pub struct FigureCondition {
    root: Node,
}

#[derive(Clone, Debug)]
enum Node {
    Bool(bool),
    Constant(Figure),
    Read(String, Option<String>),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    Arithmetic(Arithmetic, Box<Self>, Box<Self>),
    Negate(Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Clone, Debug)]
enum Value {
    Bool(bool),
    Figure(Figure),
}

impl FigureCondition {
    /// Parses and checks `source`, in which the names of `known` may stand.
    pub fn parse(source: &str, known: &[(&'static str, FigureKind)]) -> Result<Self, ConditionError> {
        let root = syntax::with_ast(source, |syntax| check::condition(syntax, known))?;
        let empty =
            || ConditionError::Invalid { line: 1, column: 1, message: "the condition is empty".to_owned() };
        root.map(|root| Self { root }).ok_or_else(empty)
    }

    /// Whether the condition holds; not where it is unknown.
    pub fn holds(&self, figures: &dyn Figures) -> bool {
        matches!(self.root.value(figures), Some(Value::Bool(true)))
    }
}

impl Node {
    /// Recursion is bounded by what [`syntax::with_ast`] lets through.
    fn value(&self, figures: &dyn Figures) -> Option<Value> {
        let truth = |node: &Self| match node.value(figures) {
            Some(Value::Bool(truth)) => Some(truth),
            _ => None,
        };
        let figure = |node: &Self| match node.value(figures) {
            Some(Value::Figure(figure)) => Some(figure),
            _ => None,
        };
        match self {
            Self::Bool(truth) => Some(Value::Bool(*truth)),
            Self::Constant(constant) => Some(Value::Figure(constant.clone())),
            Self::Read(name, key) => figures.figure(name, key.as_deref()).map(Value::Figure),
            Self::Not(node) => truth(node).map(|truth| Value::Bool(!truth)),
            Self::And(left, right) => match (truth(left), truth(right)) {
                (Some(false), _) | (_, Some(false)) => Some(Value::Bool(false)),
                (Some(true), Some(true)) => Some(Value::Bool(true)),
                _ => None,
            },
            Self::Or(left, right) => match (truth(left), truth(right)) {
                (Some(true), _) | (_, Some(true)) => Some(Value::Bool(true)),
                (Some(false), Some(false)) => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Compare(comparison, left, right) => {
                let ordering = figure(left)?.compare(&figure(right)?)?;
                Some(Value::Bool(comparison.accepts(ordering)))
            }
            Self::Arithmetic(operator, left, right) => {
                operator.apply(figure(left)?, figure(right)?).map(Value::Figure)
            }
            Self::Negate(node) => Some(Value::Figure(match figure(node)? {
                Figure::Number(number) => Figure::Number(-number),
                Figure::Duration(nanos) => Figure::Duration(nanos.checked_neg()?),
                Figure::Text(_) => return None,
            })),
        }
    }
}

impl Figure {
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.partial_cmp(right),
            (Self::Duration(left), Self::Duration(right)) => Some(left.cmp(right)),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }
}

impl Comparison {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Arithmetic {
    fn apply(self, left: Figure, right: Figure) -> Option<Figure> {
        let duration = |nanos: f64| nanos.is_finite().then_some(Figure::Duration(nanos as i128));
        Some(match (self, left, right) {
            (Self::Add, Figure::Number(left), Figure::Number(right)) => Figure::Number(left + right),
            (Self::Subtract, Figure::Number(left), Figure::Number(right)) => Figure::Number(left - right),
            (Self::Multiply, Figure::Number(left), Figure::Number(right)) => Figure::Number(left * right),
            (Self::Divide, Figure::Number(left), Figure::Number(right)) if right != 0.0 => {
                Figure::Number(left / right)
            }
            (Self::Add, Figure::Duration(left), Figure::Duration(right)) => {
                Figure::Duration(left.checked_add(right)?)
            }
            (Self::Subtract, Figure::Duration(left), Figure::Duration(right)) => {
                Figure::Duration(left.checked_sub(right)?)
            }
            (Self::Divide, Figure::Duration(left), Figure::Duration(right)) if right != 0 => {
                Figure::Number(left as f64 / right as f64)
            }
            (Self::Multiply, Figure::Duration(nanos), Figure::Number(times))
            | (Self::Multiply, Figure::Number(times), Figure::Duration(nanos)) => {
                duration(nanos as f64 * times)?
            }
            (Self::Divide, Figure::Duration(nanos), Figure::Number(by)) if by != 0.0 => {
                duration(nanos as f64 / by)?
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, FigureKind)] = &[
        ("error_rate", FigureKind::Number),
        ("latency.p99", FigureKind::Duration),
        ("latency.p50", FigureKind::Duration),
        ("mismatches", FigureKind::Number),
        ("statuses", FigureKind::Counts),
        ("end", FigureKind::Text),
    ];

    struct Report;

    impl Figures for Report {
        fn figure(&self, name: &str, key: Option<&str>) -> Option<Figure> {
            Some(match (name, key) {
                ("error_rate", None) => Figure::Number(0.02),
                ("latency.p99", None) => Figure::Duration(250_000_000),
                ("mismatches", None) => Figure::Number(3.0),
                ("statuses", Some("500")) => Figure::Number(7.0),
                ("statuses", Some(_)) => Figure::Number(0.0),
                ("end", None) => Figure::Text("stopped".to_owned()),
                _ => return None,
            })
        }
    }

    fn holds(source: &str) -> bool {
        FigureCondition::parse(source, KNOWN)
            .unwrap_or_else(|error| panic!("{source}: {error}"))
            .holds(&Report)
    }

    #[test]
    fn figures_are_compared_as_in_any_condition() {
        for met in [
            "error_rate > 0.01",
            "error_rate > 0.01 || latency.p99 > duration(\"300ms\") || mismatches > 0",
            "mismatches == 3 && statuses[\"500\"] >= 7 && statuses['404'] == 0",
            "latency.p99 < duration('1s') / 2",
            "latency.p99 * 2 == duration('500ms')",
            "!(mismatches / 3 > 1) && -mismatches < 0",
            "end == 'stopped'",
            "statuses['500'] / mismatches > 2.3",
        ] {
            assert!(holds(met), "{met}");
        }
        for unmet in ["mismatches < 3", "latency.p99 > duration('300ms')", "end != \"stopped\""] {
            assert!(!holds(unmet), "{unmet}");
        }
    }

    #[test]
    fn what_is_absent_is_unknown() {
        assert!(!holds("latency.p50 > duration('0s')"));
        assert!(!holds("!(latency.p50 > duration('0s'))"));
        assert!(!holds("mismatches / (mismatches - 3) > 0"));
        assert!(holds("latency.p50 > duration('0s') || mismatches > 0"));
    }

    #[test]
    fn mistakes_are_told_with_their_place_before_there_is_a_figure() {
        for (source, expected) in [
            ("", "the condition is empty"),
            ("error_rte > 1", "did you mean `error_rate`?"),
            ("latency.p98 > duration('1s')", "unknown"),
            ("latency.p99 > 300", "compared"),
            ("error_rate", "true or false"),
            ("mismatches > 0 || latency.p99", "true or false"),
            ("statuses > 3", "key"),
            ("error_rate['a'] > 1", "no keys"),
            ("latency.p99 > duration('soon')", "not a duration"),
            ("now() > 3", "unknown function"),
            ("error_rate >", "unexpected end"),
            ("[1].exists(x, x > 0)", "can't"),
            ("end + 'x' == 'y'", "can't"),
        ] {
            let error = FigureCondition::parse(source, KNOWN).unwrap_err().to_string();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }
}

//! What a table scan can test of a condition.

use crate::{
    functions::Function,
    node::{Constant, Node},
    schema::Attribute,
};

/// What a table scan can test: implied by the condition it was taken from, so that rows which fail it
/// need not be read.
///
/// A field is absent where the message that holds it is ([`Field::Method`] without a request), and
/// [`Field::Duration`] where there is none. A comparison with an absent field is not true, whatever the
/// operator, as with NULL in SQL. A field that is there is never absent for being empty.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// Tells nothing.
    True,
    /// All of them; of none, true.
    And(Vec<Predicate>),
    /// One of them; of none, false.
    Or(Vec<Predicate>),
    Compare {
        field: Field,
        operator: Operator,
        value: Value,
    },
    StartsWith {
        field: Field,
        prefix: String,
    },
}

/// A scalar of the exchange that is a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Id,
    /// "inbound" or "outbound".
    Role,
    /// Compared with nanoseconds since 1970. For a column of coarser time convert the column to nanoseconds,
    /// or round the value so that no row is lost.
    Time,
    /// Compared with nanoseconds, as [`Self::Time`].
    Duration,
    Target,
    Node,
    Namespace,
    Workload,
    Pod,
    Container,
    SourceIp,
    SourcePort,
    DestinationIp,
    DestinationPort,
    Method,
    Scheme,
    Host,
    Path,
    Query,
    Status,
}

/// Strings compare by their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    String(String),
    Integer(i64),
}

/// A predicate, and whether it is true exactly where the expression has the truth it stands for.
type Implied = (Predicate, bool);

/// What the truth of `node` implies.
pub(crate) fn implied(node: &Node) -> Implied {
    lower(node, true)
}

/// What it implies that `node` is `truth`. Unknown is neither, so negation only turns comparisons round.
fn lower(node: &Node, truth: bool) -> Implied {
    match node {
        Node::Constant(Constant::Bool(value)) => (constant(*value == truth), true),
        Node::Not(operand) => lower(operand, !truth),
        Node::And(left, right) if truth => and(lower(left, true), lower(right, true)),
        Node::And(left, right) => or(lower(left, false), lower(right, false)),
        Node::Or(left, right) if truth => or(lower(left, true), lower(right, true)),
        Node::Or(left, right) => and(lower(left, false), lower(right, false)),
        Node::Conditional(parts) => {
            let [condition, then, otherwise] = parts.as_ref();
            or(
                and(lower(condition, true), lower(then, truth)),
                and(lower(condition, false), lower(otherwise, truth)),
            )
        }
        Node::Compare(operator, left, right) => comparison(*operator, left, right, truth),
        Node::InList(item, list) => member(item, list, truth),
        Node::Call(Function::StartsWith, target, Some(prefix)) if truth => {
            match (column(target), prefix.as_ref()) {
                (Some(field), Node::Constant(Constant::String(prefix))) => {
                    (Predicate::StartsWith { field, prefix: prefix.clone() }, true)
                }
                (None, Node::Constant(Constant::String(prefix))) if is_host_without_port(target) => {
                    (Predicate::StartsWith { field: Field::Host, prefix: prefix.clone() }, false)
                }
                _ => NOTHING,
            }
        }
        _ => NOTHING,
    }
}

const NOTHING: Implied = (Predicate::True, false);

fn constant(truth: bool) -> Predicate {
    if truth { Predicate::True } else { Predicate::Or(Vec::new()) }
}

fn comparison(operator: Operator, left: &Node, right: &Node, truth: bool) -> Implied {
    let operator = if truth { operator } else { operator.negated() };
    let (field, operator, literal) = match (column(left), column(right)) {
        (Some(field), None) => (field, operator, right),
        (None, Some(field)) => (field, operator.swapped(), left),
        _ if operator == Operator::Equal && is_host_without_port(left) => return host_without_port(right),
        _ if operator == Operator::Equal && is_host_without_port(right) => return host_without_port(left),
        _ => return NOTHING,
    };
    match value(literal) {
        Some(value) => (Predicate::Compare { field, operator, value }, true),
        None => NOTHING,
    }
}

/// `field in [literals]`
fn member(item: &Node, list: &Node, truth: bool) -> Implied {
    if let Node::List(items) = list
        && truth
        && is_host_without_port(item)
    {
        return items.iter().map(host_without_port).fold((constant(false), true), or);
    }
    let (Some(field), Node::List(items)) = (column(item), list) else { return NOTHING };
    let Some(values) = items.iter().map(value).collect::<Option<Vec<Value>>>() else { return NOTHING };
    let operator = if truth { Operator::Equal } else { Operator::NotEqual };
    let parts = values.into_iter().map(|value| (Predicate::Compare { field, operator, value }, true));
    let start = (constant(!truth), true);
    if truth { parts.fold(start, or) } else { parts.fold(start, and) }
}

fn is_host_without_port(node: &Node) -> bool {
    matches!(node, Node::Read(Attribute::DestinationHost))
}

/// What it implies that the host without its port is the literal.
fn host_without_port(literal: &Node) -> Implied {
    let Some(Value::String(name)) = value(literal) else { return NOTHING };
    let with_port = Predicate::StartsWith { field: Field::Host, prefix: format!("{name}:") };
    let value = Value::String(name);
    let alone = Predicate::Compare { field: Field::Host, operator: Operator::Equal, value };
    (Predicate::Or(vec![alone, with_port]), false)
}

fn column(node: &Node) -> Option<Field> {
    match node {
        Node::Read(Attribute::Column(field)) => Some(*field),
        _ => None,
    }
}

/// The literal, where a scan can compare with it.
fn value(node: &Node) -> Option<Value> {
    match node {
        Node::Constant(Constant::String(text)) => Some(Value::String(text.clone())),
        Node::Constant(Constant::Int(int)) => Some(Value::Integer(*int)),
        Node::Constant(Constant::Timestamp(nanos) | Constant::Duration(nanos)) => {
            i64::try_from(*nanos).ok().map(Value::Integer)
        }
        _ => None,
    }
}

fn and(left: Implied, right: Implied) -> Implied {
    let exact = left.1 && right.1;
    let predicate = match (left.0, right.0) {
        (Predicate::True, other) | (other, Predicate::True) => other,
        (Predicate::And(mut parts), Predicate::And(more)) => {
            parts.extend(more);
            Predicate::And(parts)
        }
        (Predicate::And(mut parts), other) => {
            parts.push(other);
            Predicate::And(parts)
        }
        (other, Predicate::And(mut parts)) => {
            parts.insert(0, other);
            Predicate::And(parts)
        }
        (left, right) => Predicate::And(vec![left, right]),
    };
    (predicate, exact)
}

fn or(left: Implied, right: Implied) -> Implied {
    let exact = left.1 && right.1;
    let predicate = match (left.0, right.0) {
        (Predicate::True, _) | (_, Predicate::True) => Predicate::True,
        (Predicate::Or(mut parts), Predicate::Or(more)) => {
            parts.extend(more);
            single(parts)
        }
        (Predicate::Or(mut parts), other) => {
            parts.push(other);
            single(parts)
        }
        (other, Predicate::Or(mut parts)) => {
            parts.insert(0, other);
            single(parts)
        }
        (left, right) => Predicate::Or(vec![left, right]),
    };
    (predicate, exact)
}

/// A disjunction of one part is that part.
fn single(mut parts: Vec<Predicate>) -> Predicate {
    if parts.len() == 1 { parts.remove(0) } else { Predicate::Or(parts) }
}

impl Operator {
    /// True of two values where `self` is false of them.
    fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }

    /// The same with the sides exchanged.
    fn swapped(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

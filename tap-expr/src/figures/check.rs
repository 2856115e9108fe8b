//! Names and types of a condition over figures.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};

use super::{Arithmetic, Comparison, Figure, FigureKind, Node};
use crate::{ConditionError, schema, syntax::Syntax, time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Bool,
    Number,
    Duration,
    Text,
}

type Typed = (Node, Type);

struct Checker<'a> {
    syntax: &'a Syntax<'a>,
    known: &'a [(&'static str, FigureKind)],
}

/// Checks that the whole is true or false.
pub(super) fn condition(
    syntax: &Syntax<'_>,
    known: &[(&'static str, FigureKind)],
) -> Result<Node, ConditionError> {
    Checker { syntax, known }.truth(syntax.root)
}

impl Checker<'_> {
    fn expression(&self, expression: &IdedExpr) -> Result<Typed, ConditionError> {
        match &expression.expr {
            Expr::Literal(literal) => self.literal(expression.id, literal),
            Expr::Ident(_) | Expr::Select(_) => {
                let Some(name) = path(expression) else { return Err(self.unusable(expression.id)) };
                self.read(expression.id, name, None)
            }
            Expr::Call(call) => self.call(expression.id, call),
            _ => Err(self.unusable(expression.id)),
        }
    }

    fn truth(&self, expression: &IdedExpr) -> Result<Node, ConditionError> {
        match self.expression(expression)? {
            (node, Type::Bool) => Ok(node),
            (_, found) => {
                let message = format!("this must be true or false, but is {}", found.describe());
                Err(self.syntax.error(expression.id, message))
            }
        }
    }

    fn literal(&self, id: u64, literal: &LiteralValue) -> Result<Typed, ConditionError> {
        Ok(match literal {
            LiteralValue::Boolean(value) => (Node::Bool(*value.inner()), Type::Bool),
            LiteralValue::Int(value) => number(*value.inner() as f64),
            LiteralValue::UInt(value) => number(*value.inner() as f64),
            LiteralValue::Double(value) => number(*value.inner()),
            LiteralValue::String(value) => {
                (Node::Constant(Figure::Text(value.inner().to_owned())), Type::Text)
            }
            LiteralValue::Bytes(_) | LiteralValue::Null => return Err(self.unusable(id)),
        })
    }

    fn read(&self, id: u64, name: String, key: Option<String>) -> Result<Typed, ConditionError> {
        let Some((_, kind)) = self.known.iter().find(|(known, _)| *known == name) else {
            let suggestion = schema::suggest(&name, self.known.iter().map(|(known, _)| *known))
                .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            return Err(self.syntax.error(id, format!("unknown figure `{name}`{suggestion}")));
        };
        let r#type = match (kind, &key) {
            (FigureKind::Number, None) | (FigureKind::Counts, Some(_)) => Type::Number,
            (FigureKind::Duration, None) => Type::Duration,
            (FigureKind::Text, None) => Type::Text,
            (FigureKind::Counts, None) => {
                return Err(self.syntax.error(id, format!("`{name}` needs a key, as in `{name}[\"…\"]`")));
            }
            (_, Some(_)) => return Err(self.syntax.error(id, format!("`{name}` has no keys"))),
        };
        Ok((Node::Read(name, key), r#type))
    }

    fn call(&self, id: u64, call: &CallExpr) -> Result<Typed, ConditionError> {
        let name = call.func_name.as_str();
        match (&call.target, call.args.as_slice()) {
            (None, [left, right]) => self.binary(id, name, left, right),
            (None, [operand]) if name == operators::LOGICAL_NOT => {
                Ok((Node::Not(Box::new(self.truth(operand)?)), Type::Bool))
            }
            (None, [operand]) if name == operators::NEGATE => match self.expression(operand)? {
                (node, r#type @ (Type::Number | Type::Duration)) => {
                    Ok((Node::Negate(Box::new(node)), r#type))
                }
                _ => Err(self.unusable(id)),
            },
            (None, [operand]) if name == "duration" => {
                let duration = match self.expression(operand)? {
                    (Node::Constant(Figure::Text(text)), _) => time::parse_duration(&text),
                    _ => None,
                };
                let duration = duration.ok_or_else(|| {
                    let message = "not a duration: write it as duration(\"250ms\") or duration(\"1.5s\")";
                    self.syntax.error(operand.id, message)
                })?;
                Ok((Node::Constant(Figure::Duration(duration)), Type::Duration))
            }
            (None, _) if name.starts_with(|first: char| first.is_ascii_alphabetic()) => {
                Err(self.syntax.error(id, format!("unknown function `{name}`; there is `duration`")))
            }
            _ => Err(self.unusable(id)),
        }
    }

    fn binary(
        &self,
        id: u64,
        name: &str,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Typed, ConditionError> {
        let compare = |comparison| self.compare(id, comparison, left, right);
        let arithmetic = |operator| self.arithmetic(id, operator, left, right);
        match name {
            operators::LOGICAL_AND => {
                Ok((Node::And(Box::new(self.truth(left)?), Box::new(self.truth(right)?)), Type::Bool))
            }
            operators::LOGICAL_OR => {
                Ok((Node::Or(Box::new(self.truth(left)?), Box::new(self.truth(right)?)), Type::Bool))
            }
            operators::EQUALS => compare(Comparison::Equal),
            operators::NOT_EQUALS => compare(Comparison::NotEqual),
            operators::LESS => compare(Comparison::Less),
            operators::LESS_EQUALS => compare(Comparison::LessOrEqual),
            operators::GREATER => compare(Comparison::Greater),
            operators::GREATER_EQUALS => compare(Comparison::GreaterOrEqual),
            operators::ADD => arithmetic(Arithmetic::Add),
            operators::SUBSTRACT => arithmetic(Arithmetic::Subtract),
            operators::MULTIPLY => arithmetic(Arithmetic::Multiply),
            operators::DIVIDE => arithmetic(Arithmetic::Divide),
            operators::INDEX => {
                let (Some(name), (Node::Constant(Figure::Text(key)), _)) =
                    (path(left), self.expression(right)?)
                else {
                    return Err(self.unusable(id));
                };
                self.read(left.id, name, Some(key))
            }
            _ => Err(self.unusable(id)),
        }
    }

    fn compare(
        &self,
        id: u64,
        comparison: Comparison,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Typed, ConditionError> {
        let ((left, left_type), (right, right_type)) = (self.expression(left)?, self.expression(right)?);
        if left_type != right_type || left_type == Type::Bool {
            let message =
                format!("{} can't be compared with {}", left_type.describe(), right_type.describe());
            return Err(self.syntax.error(id, message));
        }
        Ok((Node::Compare(comparison, Box::new(left), Box::new(right)), Type::Bool))
    }

    fn arithmetic(
        &self,
        id: u64,
        operator: Arithmetic,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Typed, ConditionError> {
        let ((left, left_type), (right, right_type)) = (self.expression(left)?, self.expression(right)?);
        let r#type = match (operator, left_type, right_type) {
            (_, Type::Number, Type::Number) | (Arithmetic::Divide, Type::Duration, Type::Duration) => {
                Type::Number
            }
            (Arithmetic::Add | Arithmetic::Subtract, Type::Duration, Type::Duration)
            | (Arithmetic::Multiply | Arithmetic::Divide, Type::Duration, Type::Number)
            | (Arithmetic::Multiply, Type::Number, Type::Duration) => Type::Duration,
            _ => {
                let message =
                    format!("this can't be done with {} and {}", left_type.describe(), right_type.describe());
                return Err(self.syntax.error(id, message));
            }
        };
        Ok((Node::Arithmetic(operator, Box::new(left), Box::new(right)), r#type))
    }

    fn unusable(&self, id: u64) -> ConditionError {
        self.syntax.error(id, "this can't be used in a condition over figures")
    }
}

impl Type {
    fn describe(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Duration => "a duration",
            Self::Text => "a string",
        }
    }
}

fn number(number: f64) -> Typed {
    (Node::Constant(Figure::Number(number)), Type::Number)
}

/// `latency.p99` as it is written; `None` where it is not names alone.
fn path(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", path(&select.operand)?, select.field)),
        _ => None,
    }
}

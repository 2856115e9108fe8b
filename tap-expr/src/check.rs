//! From the syntax tree to a checked [`Node`]: names, types, patterns and limits.

mod call;

use cel::{
    IdedExpr,
    common::ast::{Expr, ListExpr, LiteralValue, SelectExpr},
};

use crate::{
    ConditionError,
    node::{Constant, Node},
    schema::{self, Attribute, Entry, Schema, Type, VARIABLES},
    syntax::{NAMESPACE, NAMESPACE_ALIAS, Syntax},
};

/// Deepest tree that is evaluated. Chains of `&&` and `||` are balanced by the parser and count by their
/// logarithm.
const MAX_DEPTH: usize = 64;

/// Most macros within one another.
const MAX_LOOPS: usize = 2;

/// A node with its type.
type Typed = (Node, Type);

struct Checker<'a> {
    syntax: &'a Syntax<'a>,
    depth: usize,
    /// The variables of the macros around, outermost first.
    variables: Vec<(String, Type)>,
}

/// Checks that the whole is a condition.
pub(crate) fn check(syntax: &Syntax<'_>) -> Result<Node, ConditionError> {
    let mut checker = Checker { syntax, depth: 0, variables: Vec::new() };
    let (node, r#type) = checker.expression(syntax.root)?;
    if r#type == Type::Bool {
        return Ok(node);
    }
    let message = format!("a condition is true or false, but this is {}", r#type.describe());
    // The root of `request.path` is its last dot: where the expression begins says more.
    Err(syntax.error(first(syntax.root), message))
}

/// The id of the leftmost name or literal of an expression that is a path; of the expression itself otherwise.
fn first(expression: &IdedExpr) -> u64 {
    match &expression.expr {
        Expr::Select(select) => first(&select.operand),
        _ => expression.id,
    }
}

/// What a path such as `request.body` names.
enum Named {
    Node(Node, Type),
    Entry(Entry),
}

impl Checker<'_> {
    fn expression(&mut self, expression: &IdedExpr) -> Result<Typed, ConditionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.syntax.error(
                expression.id,
                format!("the condition is nested deeper than {MAX_DEPTH} operators: use lists, or brackets"),
            ));
        }
        let checked = match &expression.expr {
            Expr::Literal(literal) => self.literal(expression.id, literal),
            Expr::Ident(_) | Expr::Select(_) => match self.path(expression)? {
                Named::Node(node, r#type) => Ok((node, r#type)),
                Named::Entry(Entry::Attribute(attribute, r#type)) => Ok((Node::Read(attribute), r#type)),
                Named::Entry(Entry::Message(schema)) => Err(self.syntax.error(
                    expression.id,
                    format!("`{}` is not a value: choose a field of it{}", schema.path, example(schema)),
                )),
            },
            Expr::List(list) => self.list(list),
            Expr::Call(call) => self.call(expression.id, call),
            Expr::Map(_) => Err(self.syntax.error(expression.id, "maps can't be written in a condition")),
            Expr::Struct(_) => {
                Err(self.syntax.error(expression.id, "messages can't be written in a condition"))
            }
            Expr::Comprehension(_) | Expr::Unspecified => {
                Err(self.syntax.error(expression.id, "this can't be used in a condition"))
            }
        };
        self.depth -= 1;
        checked
    }

    /// An expression of a type that is known.
    fn expect(&mut self, expression: &IdedExpr, wanted: Type, what: &str) -> Result<Node, ConditionError> {
        let (node, found) = self.expression(expression)?;
        // Of which type a JSON value is shows in the exchange.
        if found == wanted || (found == Type::Json && matches!(wanted, Type::Bool | Type::String)) {
            return Ok(node);
        }
        let message = format!("{what} must be {}, but this is {}", wanted.describe(), found.describe());
        Err(self.syntax.error(first(expression), message))
    }

    fn literal(&self, id: u64, literal: &LiteralValue) -> Result<Typed, ConditionError> {
        let (constant, r#type) = match literal {
            LiteralValue::Boolean(value) => (Constant::Bool(*value.inner()), Type::Bool),
            LiteralValue::Int(value) => (Constant::Int(*value.inner()), Type::Int),
            LiteralValue::UInt(value) => {
                let value = i64::try_from(*value.inner())
                    .map_err(|_| self.syntax.error(id, "the number is too large"))?;
                (Constant::Int(value), Type::Int)
            }
            LiteralValue::Double(value) => (Constant::Double(*value.inner()), Type::Double),
            LiteralValue::String(value) => (Constant::String(value.inner().to_owned()), Type::String),
            LiteralValue::Bytes(value) => (Constant::Bytes(value.inner().to_vec()), Type::Bytes),
            LiteralValue::Null => {
                return Err(self.syntax.error(
                    id,
                    "there is no null: ask `has(response.status)` or `\"name\" in request.headers`",
                ));
            }
        };
        Ok((Node::Constant(constant), r#type))
    }

    fn list(&mut self, list: &ListExpr) -> Result<Typed, ConditionError> {
        let mut items = Vec::with_capacity(list.elements.len());
        let mut element: Option<Type> = None;
        for expression in &list.elements {
            let (node, found) = self.expression(expression)?;
            if found.scalar().is_none() {
                let message = format!("a list can't hold {}", found.describe());
                return Err(self.syntax.error(first(expression), message));
            }
            match element {
                None => element = Some(found),
                Some(wanted) if wanted == found => {}
                Some(wanted) => {
                    let message =
                        format!("a list holds one type: {} after {}", found.describe(), wanted.describe());
                    return Err(self.syntax.error(first(expression), message));
                }
            }
            items.push(node);
        }
        Ok((Node::List(items), Type::List(element.and_then(Type::scalar))))
    }

    /// What a name, or a chain of names, stands for.
    fn path(&mut self, expression: &IdedExpr) -> Result<Named, ConditionError> {
        match &expression.expr {
            Expr::Ident(name) => self.name(expression.id, name),
            Expr::Select(select) => self.select(expression.id, select),
            _ => self.expression(expression).map(|(node, r#type)| Named::Node(node, r#type)),
        }
    }

    fn name(&self, id: u64, name: &str) -> Result<Named, ConditionError> {
        if let Some(depth) = self.variables.iter().rposition(|(variable, _)| variable == name) {
            return Ok(Named::Node(Node::Variable(depth), self.variables[depth].1));
        }
        let name = if name == NAMESPACE_ALIAS { NAMESPACE } else { name };
        VARIABLES.get(name).map(Named::Entry).ok_or_else(|| {
            let suggestion = schema::suggest(name, VARIABLES.names());
            self.syntax.error(id, format!("unknown variable `{name}`{}", did_you_mean(suggestion)))
        })
    }

    fn select(&mut self, id: u64, select: &SelectExpr) -> Result<Named, ConditionError> {
        let operand = self.path(&select.operand)?;
        let (node, r#type) = match operand {
            Named::Entry(Entry::Message(schema)) => {
                return schema.get(&select.field).map(Named::Entry).ok_or_else(|| {
                    let suggestion = schema::suggest(&select.field, schema.names());
                    let message = format!(
                        "unknown field `{}` of `{}`{}",
                        select.field,
                        schema.path,
                        did_you_mean(suggestion)
                    );
                    self.syntax.field_error(id, message)
                });
            }
            Named::Entry(Entry::Attribute(attribute, r#type)) => (Node::Read(attribute), r#type),
            Named::Node(node, r#type) => (node, r#type),
        };
        if r#type == Type::Json {
            let key = Node::Constant(Constant::String(select.field.clone()));
            return Ok(Named::Node(Node::JsonAt(Box::new(node), Box::new(key)), Type::Json));
        }
        if r#type != Type::Map {
            let message = format!("{} has no field `{}`", r#type.describe(), select.field);
            return Err(self.syntax.field_error(id, message));
        }
        let key = Node::Constant(Constant::String(select.field.clone()));
        Ok(Named::Node(Node::Lookup(Box::new(node), Box::new(key)), Type::String))
    }

    /// `has(field)`
    fn has(&mut self, id: u64, argument: &IdedExpr) -> Result<Typed, ConditionError> {
        let Expr::Select(select) = &argument.expr else {
            return Err(self.syntax.error(id, "`has` takes a field, as in `has(response.status)`"));
        };
        let node = match self.select(argument.id, select)? {
            Named::Entry(Entry::Attribute(attribute, _)) => Node::Has(attribute),
            Named::Node(Node::Lookup(map, key), _) => Node::InMap(key, map),
            Named::Node(node @ Node::JsonAt(..), _) => Node::HasJson(Box::new(node)),
            Named::Entry(Entry::Message(schema)) => Node::Has(presence(schema)),
            Named::Node(..) => {
                return Err(self.syntax.error(id, "`has` takes a field, as in `has(response.status)`"));
            }
        };
        Ok((node, Type::Bool))
    }
}

/// An attribute that is there whenever the message of this schema is.
fn presence(schema: &'static Schema) -> Attribute {
    schema
        .names()
        .filter_map(|name| schema.get(name))
        .find_map(|entry| match entry {
            Entry::Attribute(Attribute::Body(part, _), _) => Some(Attribute::Complete(part)),
            Entry::Attribute(attribute, _) => Some(attribute),
            Entry::Message(_) => None,
        })
        .unwrap_or(Attribute::ExchangeComplete)
}

/// ", e.g. `request.method`"
fn example(schema: &Schema) -> String {
    schema.names().next().map_or_else(String::new, |field| format!(", e.g. `{}.{field}`", schema.path))
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

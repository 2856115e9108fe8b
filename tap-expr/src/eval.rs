//! Evaluates a checked condition on one exchange: three-valued, without copying what it reads, and with a
//! bound on the work.

mod json;
mod operators;

use std::borrow::Cow;

use crate::{
    functions,
    node::{Constant, Loop, Node},
    pattern::{Pattern, Search},
    schema::{Attribute, BodyField},
    time,
    view::{self, Map, Part, View},
};
use json::Documents;
use operators::{arithmetic, compare, is_equal};

/// Work on one exchange: a step is one node, or one [`STEP_BYTES`] of text that is searched or copied.
const MAX_STEPS: u32 = 100_000;

/// Some 64 bytes are searched in the time that a node takes.
const STEP_BYTES: usize = 64;

/// Neither true nor false: what the expression reads is absent, or has no such value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unknown;

#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Double(f64),
    String(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i128),
    List(Vec<Self>),
    Map(Map<'a>),
    Json(&'a serde_json::Value),
}

type Evaluated<'a> = Result<Value<'a>, Unknown>;

/// Whether the condition is true of the exchange.
pub(crate) fn is_met(condition: &Node, exchange: &dyn View) -> bool {
    let documents = Documents::default();
    let mut evaluator =
        Evaluator { exchange, documents: &documents, steps: MAX_STEPS, variables: Vec::new() };
    let met = evaluator.truth(condition) == Ok(true);
    // Where the work was cut off, an `||` may have become true without the side that was cut.
    met && evaluator.steps > 0
}

struct Evaluator<'a> {
    exchange: &'a dyn View,
    documents: &'a Documents,
    /// Left of [`MAX_STEPS`]; everything is unknown once they are used up.
    steps: u32,
    /// Of the macros around, outermost first.
    variables: Vec<Value<'a>>,
}

impl<'a> Evaluator<'a> {
    fn truth(&mut self, node: &'a Node) -> Result<bool, Unknown> {
        match self.value(node)?.plain() {
            Value::Bool(truth) => Ok(truth),
            _ => Err(Unknown),
        }
    }

    fn value(&mut self, node: &'a Node) -> Evaluated<'a> {
        self.work(0)?;
        match node {
            Node::Constant(constant) => Ok(constant.value()),
            Node::Read(attribute) => self.read(*attribute),
            Node::Variable(depth) => {
                let value = self.variables.get(*depth).ok_or(Unknown)?.clone();
                self.work(value.bytes())?;
                Ok(value)
            }
            Node::List(items) => {
                items.iter().map(|item| self.value(item)).collect::<Result<_, _>>().map(Value::List)
            }
            Node::Not(operand) => self.truth(operand).map(|truth| Value::Bool(!truth)),
            Node::And(left, right) => self.decide(left, right, false),
            Node::Or(left, right) => self.decide(left, right, true),
            Node::Conditional(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                if self.truth(condition)? { self.value(then) } else { self.value(otherwise) }
            }
            Node::Compare(operator, left, right) => {
                let (left, right) = (self.value(left)?.plain(), self.value(right)?.plain());
                self.work(left.bytes().min(right.bytes()))?;
                let ordering = compare(&left, &right);
                if ordering.is_none() && !operator.is_equality() && !(left.is_number() && right.is_number()) {
                    // A JSON value of another type is neither less nor more.
                    return Err(Unknown);
                }
                Ok(Value::Bool(operator.holds(ordering)))
            }
            Node::Arithmetic(operation, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.work(left.bytes() + right.bytes())?;
                arithmetic(*operation, left, &right)
            }
            Node::Negate(operand) => match self.value(operand)? {
                Value::Int(int) => int.checked_neg().map(Value::Int).ok_or(Unknown),
                Value::Double(double) => Ok(Value::Double(-double)),
                Value::Duration(nanos) => time::checked_duration(-nanos).map(Value::Duration).ok_or(Unknown),
                _ => Err(Unknown),
            },
            Node::InList(item, list) => {
                let item = self.value(item)?.plain();
                self.in_list(&item, list)
            }
            Node::InJson(item, container) => {
                let item = self.value(item)?.plain();
                let Value::Json(container) = self.value(container)? else { return Err(Unknown) };
                let items = json::items(container)?;
                self.work(items.len() * STEP_BYTES)?;
                Ok(Value::Bool(items.into_iter().any(|other| is_equal(&item, &other.plain()))))
            }
            Node::JsonAt(container, key) => {
                let (container, key) = (self.value(container)?, self.value(key)?.plain());
                self.work(key.bytes())?;
                match container {
                    Value::Json(container) => json::at(container, &key),
                    _ => Err(Unknown),
                }
            }
            Node::HasJson(value) => Ok(Value::Bool(self.value(value).is_ok())),
            Node::InMap(key, map) => {
                let (map, key) = self.map_and_key(map, key)?;
                Ok(Value::Bool(map.contains(&key)))
            }
            Node::Lookup(map, key) => {
                let (map, key) = self.map_and_key(map, key)?;
                let found = map.get(&key).ok_or(Unknown)?;
                Ok(Value::String(found))
            }
            Node::Element(list, index) => match (self.value(list)?, self.value(index)?) {
                (Value::List(mut items), Value::Int(index)) => {
                    let index = usize::try_from(index).map_err(|_| Unknown)?;
                    if index < items.len() { Ok(items.swap_remove(index)) } else { Err(Unknown) }
                }
                _ => Err(Unknown),
            },
            Node::Has(attribute) => Ok(Value::Bool(self.read(*attribute).is_ok())),
            Node::Call(function, target, argument) => {
                let target = self.value(target)?.plain();
                let argument = argument.as_ref().map(|argument| self.value(argument)).transpose()?;
                let argument = argument.map(Value::plain);
                self.work(target.bytes())?;
                functions::call(*function, target, argument.as_ref())
            }
            Node::Matches(target, pattern) => match self.value(target)?.plain() {
                Value::String(text) => {
                    self.spend(Pattern::steps(&text))?;
                    match pattern.search(&text, |steps| self.spend(steps).is_ok()) {
                        Search::Found(found) => Ok(Value::Bool(found)),
                        Search::TooLong => Err(Unknown),
                    }
                }
                _ => Err(Unknown),
            },
            Node::Loop(kind, range, body) => self.run(*kind, range, body),
            Node::FilterMap(parts) => {
                let [range, condition, value] = parts.as_ref();
                let mut mapped = Vec::new();
                for item in self.range(range)? {
                    if self.with(item.clone(), |this| this.truth(condition))? {
                        mapped.push(self.with(item, |this| this.value(value))?);
                    }
                }
                Ok(Value::List(mapped))
            }
        }
    }

    /// `&&` where `deciding` is false, `||` where it is true: one deciding side is enough.
    fn decide(&mut self, left: &'a Node, right: &'a Node, deciding: bool) -> Evaluated<'a> {
        let left = self.truth(left);
        if left == Ok(deciding) {
            return Ok(Value::Bool(deciding));
        }
        let right = self.truth(right);
        if right == Ok(deciding) {
            return Ok(Value::Bool(deciding));
        }
        left.and(right).map(Value::Bool)
    }

    fn read(&mut self, attribute: Attribute) -> Evaluated<'a> {
        match attribute {
            Attribute::Body(part, BodyField::Json) => self.document(part).map(Value::Json),
            attribute => view::read(attribute, self.exchange),
        }
    }

    fn document(&mut self, part: Part) -> Result<&'a serde_json::Value, Unknown> {
        let bytes = self.documents.unparsed_bytes(part, self.exchange).min(json::MAX_BYTES);
        self.work(bytes * json::PARSE_FACTOR)?;
        self.documents.get(part, self.exchange)
    }

    fn in_list(&mut self, item: &Value<'a>, list: &'a Node) -> Evaluated<'a> {
        let Node::List(nodes) = list else {
            let Value::List(items) = self.value(list)? else { return Err(Unknown) };
            self.work(items.len() * STEP_BYTES)?;
            return Ok(Value::Bool(items.into_iter().any(|other| is_equal(item, &other.plain()))));
        };
        // An element that is unknown leaves the answer open unless another one is equal.
        let mut unknown = false;
        for node in nodes {
            match self.value(node).map(Value::plain) {
                Ok(other) if is_equal(item, &other) => return Ok(Value::Bool(true)),
                Ok(_) => {}
                Err(Unknown) => unknown = true,
            }
        }
        if unknown { Err(Unknown) } else { Ok(Value::Bool(false)) }
    }

    fn map_and_key(&mut self, map: &'a Node, key: &'a Node) -> Result<(Map<'a>, Cow<'a, str>), Unknown> {
        match (self.value(map)?, self.value(key)?.plain()) {
            (Value::Map(map), Value::String(key)) => {
                self.work(map.entries() * STEP_BYTES / 4)?;
                Ok((map, key))
            }
            _ => Err(Unknown),
        }
    }

    fn run(&mut self, kind: Loop, range: &'a Node, body: &'a Node) -> Evaluated<'a> {
        let items = self.range(range)?;
        match kind {
            Loop::All => self.quantify(items, body, false),
            Loop::Exists => self.quantify(items, body, true),
            Loop::ExistsOne => {
                let mut found = 0_usize;
                for item in items {
                    found += usize::from(self.with(item, |this| this.truth(body))?);
                }
                Ok(Value::Bool(found == 1))
            }
            Loop::Filter => {
                let mut kept = Vec::new();
                for item in items {
                    if self.with(item.clone(), |this| this.truth(body))? {
                        kept.push(item);
                    }
                }
                Ok(Value::List(kept))
            }
            Loop::Map => {
                let mut mapped = Vec::with_capacity(items.len());
                for item in items {
                    mapped.push(self.with(item, |this| this.value(body))?);
                }
                Ok(Value::List(mapped))
            }
        }
    }

    /// `all` where `deciding` is false, `exists` where it is true.
    fn quantify(&mut self, items: Vec<Value<'a>>, body: &'a Node, deciding: bool) -> Evaluated<'a> {
        let mut unknown = false;
        for item in items {
            match self.with(item, |this| this.truth(body)) {
                Ok(truth) if truth == deciding => return Ok(Value::Bool(deciding)),
                Ok(_) => {}
                Err(Unknown) => unknown = true,
            }
        }
        if unknown { Err(Unknown) } else { Ok(Value::Bool(!deciding)) }
    }

    fn range(&mut self, range: &'a Node) -> Result<Vec<Value<'a>>, Unknown> {
        let items = match self.value(range)? {
            Value::List(items) => items,
            Value::Map(map) => map.keys().into_iter().map(Value::String).collect(),
            Value::Json(json) => json::items(json)?,
            _ => return Err(Unknown),
        };
        self.work(items.len() * STEP_BYTES)?;
        Ok(items)
    }

    /// Evaluates with `item` as the innermost macro's variable.
    fn with<T>(
        &mut self,
        item: Value<'a>,
        evaluate: impl FnOnce(&mut Self) -> Result<T, Unknown>,
    ) -> Result<T, Unknown> {
        self.variables.push(item);
        let result = evaluate(self);
        self.variables.pop();
        result
    }

    /// Accounts for one step and the bytes that it goes through.
    fn work(&mut self, bytes: usize) -> Result<(), Unknown> {
        self.spend(u32::try_from(bytes / STEP_BYTES).unwrap_or(u32::MAX).saturating_add(1))
    }

    fn spend(&mut self, steps: u32) -> Result<(), Unknown> {
        self.steps = self.steps.saturating_sub(steps);
        if self.steps == 0 { Err(Unknown) } else { Ok(()) }
    }
}

impl Constant {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Double(value) => Value::Double(*value),
            Self::String(value) => Value::String(Cow::Borrowed(value)),
            Self::Bytes(value) => Value::Bytes(Cow::Borrowed(value)),
            Self::Timestamp(nanos) => Value::Timestamp(*nanos),
            Self::Duration(nanos) => Value::Duration(*nanos),
        }
    }
}

impl Value<'_> {
    /// Text that an operation on the value goes through.
    fn bytes(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.iter().map(Self::bytes).sum::<usize>() + items.len(),
            Self::Map(map) => map.entries(),
            // Its members are counted where they are gone through.
            Self::Json(_)
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::Timestamp(_)
            | Self::Duration(_) => 0,
        }
    }
}

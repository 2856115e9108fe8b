//! Operators, functions and macros.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, operators},
};

use super::{Checker, MAX_LOOPS, Typed, did_you_mean, first};
use crate::{
    ConditionError,
    functions::{self, Function, Style},
    node::{Arithmetic, Constant, Loop, Node},
    pattern::Pattern,
    predicate::Operator,
    schema::{self, Type},
    time,
};

impl Checker<'_> {
    pub(super) fn call(&mut self, id: u64, call: &CallExpr) -> Result<Typed, ConditionError> {
        let name = call.func_name.as_str();
        match (&call.target, call.args.as_slice()) {
            (None, [condition, then, otherwise]) if name == operators::CONDITIONAL => {
                self.conditional(condition, then, otherwise)
            }
            (None, [left, right]) => match self.binary(id, name, left, right)? {
                Some(typed) => Ok(typed),
                None => Err(self.unknown_function(id, name, Style::Global)),
            },
            (None, [operand]) => self.unary(id, name, operand),
            (Some(range), arguments) if macro_named(name).is_some() => {
                self.comprehension(id, name, range, arguments)
            }
            (Some(target), [pattern]) if name == "matches" => self.matches(target, pattern),
            (Some(target), arguments) => self.member(id, name, target, arguments),
            (None, _) => Err(self.unknown_function(id, name, Style::Global)),
        }
    }

    fn conditional(
        &mut self,
        condition: &IdedExpr,
        then: &IdedExpr,
        otherwise: &IdedExpr,
    ) -> Result<Typed, ConditionError> {
        let condition = self.expect(condition, Type::Bool, "what stands before `?`")?;
        let (then, r#type) = self.expression(then)?;
        let otherwise = self.expect(otherwise, r#type, "what stands after `:`")?;
        Ok((Node::Conditional(Box::new([condition, then, otherwise])), r#type))
    }

    fn unary(&mut self, id: u64, name: &str, operand: &IdedExpr) -> Result<Typed, ConditionError> {
        match name {
            "has" => return self.has(id, operand),
            operators::LOGICAL_NOT => {
                let node = self.expect(operand, Type::Bool, "the operand of `!`")?;
                return Ok((Node::Not(Box::new(node)), Type::Bool));
            }
            operators::NEGATE => {
                let (node, r#type) = self.expression(operand)?;
                return match r#type {
                    Type::Int | Type::Double | Type::Duration => Ok((Node::Negate(Box::new(node)), r#type)),
                    _ => Err(self.syntax.error(id, format!("{} has no negative", r#type.describe()))),
                };
            }
            _ => {}
        }
        if !functions::names(Style::Global).any(|known| known == name) {
            return Err(self.unknown_function(id, name, Style::Global));
        }
        let (node, r#type) = self.expression(operand)?;
        let Some(signature) = functions::find(Style::Global, name, r#type) else {
            return Err(self.syntax.error(id, format!("`{name}` does not take {}", r#type.describe())));
        };
        if let Node::Constant(Constant::String(text)) = &node {
            return self.constant(first(operand), signature.function, text, node.clone(), signature.result);
        }
        Ok((Node::Call(signature.function, Box::new(node), None), signature.result))
    }

    /// A conversion of a literal, which can be done, and refused, at once.
    fn constant(
        &self,
        id: u64,
        function: Function,
        text: &str,
        node: Node,
        result: Type,
    ) -> Result<Typed, ConditionError> {
        let constant = match function {
            Function::ToTimestamp => time::parse_timestamp(text)
                .map(Constant::Timestamp)
                .ok_or("not a timestamp between the years 1 and 9999: write it as \"2026-01-31T12:00:00Z\""),
            Function::ToDuration => time::parse_duration(text)
                .map(Constant::Duration)
                .ok_or("not a duration: write it as \"250ms\", \"1.5s\" or \"1h30m\""),
            Function::ToInt => text.parse().map(Constant::Int).map_err(|_| "not a whole number"),
            Function::ToDouble => text.parse().map(Constant::Double).map_err(|_| "not a number"),
            _ => return Ok((Node::Call(function, Box::new(node), None), result)),
        };
        let constant = constant.map_err(|message| self.syntax.error(id, message))?;
        Ok((Node::Constant(constant), result))
    }

    /// A binary operator; `None` where `name` is none.
    fn binary(
        &mut self,
        id: u64,
        name: &str,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Option<Typed>, ConditionError> {
        let typed = match name {
            operators::LOGICAL_AND | operators::LOGICAL_OR => {
                let sign = if name == operators::LOGICAL_AND { "&&" } else { "||" };
                let what = format!("each side of `{sign}`");
                let left = Box::new(self.expect(left, Type::Bool, &what)?);
                let right = Box::new(self.expect(right, Type::Bool, &what)?);
                let node = if sign == "&&" { Node::And(left, right) } else { Node::Or(left, right) };
                (node, Type::Bool)
            }
            operators::EQUALS => self.compare(id, Operator::Equal, left, right)?,
            operators::NOT_EQUALS => self.compare(id, Operator::NotEqual, left, right)?,
            operators::LESS => self.compare(id, Operator::Less, left, right)?,
            operators::LESS_EQUALS => self.compare(id, Operator::LessOrEqual, left, right)?,
            operators::GREATER => self.compare(id, Operator::Greater, left, right)?,
            operators::GREATER_EQUALS => self.compare(id, Operator::GreaterOrEqual, left, right)?,
            operators::ADD => self.arithmetic(id, Arithmetic::Add, left, right)?,
            operators::SUBSTRACT => self.arithmetic(id, Arithmetic::Subtract, left, right)?,
            operators::MULTIPLY => self.arithmetic(id, Arithmetic::Multiply, left, right)?,
            operators::DIVIDE => self.arithmetic(id, Arithmetic::Divide, left, right)?,
            operators::MODULO => self.arithmetic(id, Arithmetic::Remainder, left, right)?,
            operators::IN => self.contained(id, left, right)?,
            operators::INDEX => self.index(id, left, right)?,
            _ => return Ok(None),
        };
        Ok(Some(typed))
    }

    fn compare(
        &mut self,
        id: u64,
        operator: Operator,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Typed, ConditionError> {
        let (left, left_type) = self.expression(left)?;
        let (right, right_type) = self.expression(right)?;
        if !left_type.compares_with(right_type) {
            let message =
                format!("{} can't be compared with {}", left_type.describe(), right_type.describe());
            return Err(self.syntax.error(id, message));
        }
        Ok((Node::Compare(operator, Box::new(left), Box::new(right)), Type::Bool))
    }

    fn arithmetic(
        &mut self,
        id: u64,
        operation: Arithmetic,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Typed, ConditionError> {
        let (left, left_type) = self.expression(left)?;
        let (right, right_type) = self.expression(right)?;
        let result = match (operation, left_type, right_type) {
            (_, Type::Int, Type::Int) => Type::Int,
            (Arithmetic::Remainder, ..) => return Err(self.unfitting(id, left_type, right_type)),
            (_, Type::Double, Type::Double) => Type::Double,
            (Arithmetic::Add, Type::String, Type::String) => Type::String,
            (Arithmetic::Add | Arithmetic::Subtract, Type::Duration, Type::Duration)
            | (Arithmetic::Subtract, Type::Timestamp, Type::Timestamp) => Type::Duration,
            (Arithmetic::Add | Arithmetic::Subtract, Type::Timestamp, Type::Duration)
            | (Arithmetic::Add, Type::Duration, Type::Timestamp) => Type::Timestamp,
            _ => return Err(self.unfitting(id, left_type, right_type)),
        };
        Ok((Node::Arithmetic(operation, Box::new(left), Box::new(right)), result))
    }

    fn unfitting(&self, id: u64, left: Type, right: Type) -> ConditionError {
        let message = format!("{} and {} can't be combined so", left.describe(), right.describe());
        self.syntax.error(id, message)
    }

    fn contained(&mut self, id: u64, item: &IdedExpr, container: &IdedExpr) -> Result<Typed, ConditionError> {
        let (item, item_type) = self.expression(item)?;
        let (container, container_type) = self.expression(container)?;
        let (item, container) = (Box::new(item), Box::new(container));
        let node = match container_type {
            Type::Map if item_type == Type::String => Node::InMap(item, container),
            Type::Json if item_type.compares_with(Type::Json) => Node::InJson(item, container),
            Type::List(None) => Node::Constant(Constant::Bool(false)),
            Type::List(Some(element)) if item_type.compares_with(element.into()) => {
                Node::InList(item, container)
            }
            _ => {
                let message = format!(
                    "{} can't be searched for in {}",
                    item_type.describe(),
                    container_type.describe()
                );
                return Err(self.syntax.error(id, message));
            }
        };
        Ok((node, Type::Bool))
    }

    fn index(&mut self, id: u64, container: &IdedExpr, index: &IdedExpr) -> Result<Typed, ConditionError> {
        let (container, container_type) = self.expression(container)?;
        let (index, index_type) = self.expression(index)?;
        let (container, index) = (Box::new(container), Box::new(index));
        match (container_type, index_type) {
            (Type::Map, Type::String) => Ok((Node::Lookup(container, index), Type::String)),
            (Type::Json, Type::String | Type::Int) => Ok((Node::JsonAt(container, index), Type::Json)),
            (Type::List(Some(element)), Type::Int) => Ok((Node::Element(container, index), element.into())),
            _ => {
                let message =
                    format!("{} can't be indexed by {}", container_type.describe(), index_type.describe());
                Err(self.syntax.error(id, message))
            }
        }
    }

    fn matches(&mut self, target: &IdedExpr, pattern: &IdedExpr) -> Result<Typed, ConditionError> {
        let text = self.expect(target, Type::String, "what `matches` searches")?;
        let (Node::Constant(Constant::String(source)), _) = self.expression(pattern)? else {
            return Err(self.syntax.error(first(pattern), "the pattern of `matches` must be written out"));
        };
        let pattern = Pattern::new(&source).map_err(|reason| {
            self.syntax.error(first(pattern), format!("the pattern can't be used: {reason}"))
        })?;
        Ok((Node::Matches(Box::new(text), pattern), Type::Bool))
    }

    fn member(
        &mut self,
        id: u64,
        name: &str,
        target: &IdedExpr,
        arguments: &[IdedExpr],
    ) -> Result<Typed, ConditionError> {
        let (target, target_type) = self.expression(target)?;
        let Some(signature) = functions::find(Style::Member, name, target_type) else {
            if functions::names(Style::Member).any(|known| known == name) {
                let message = format!("{} has no function `{name}`", target_type.describe());
                return Err(self.syntax.error(id, message));
            }
            return Err(self.unknown_function(id, name, Style::Member));
        };
        let argument = match (signature.argument, arguments) {
            (None, []) => None,
            (Some(wanted), [argument]) => {
                Some(Box::new(self.expect(argument, wanted, &format!("the argument of `{name}`"))?))
            }
            (wanted, _) => {
                let message =
                    format!("`{name}` takes {} here", if wanted.is_some() { "one argument" } else { "none" });
                return Err(self.syntax.error(id, message));
            }
        };
        Ok((Node::Call(signature.function, Box::new(target), argument), signature.result))
    }

    /// `range.exists(x, condition)` and its like.
    fn comprehension(
        &mut self,
        id: u64,
        name: &str,
        range: &IdedExpr,
        arguments: &[IdedExpr],
    ) -> Result<Typed, ConditionError> {
        let (range, range_type) = self.expression(range)?;
        let element = match range_type {
            Type::Map => Type::String,
            Type::List(Some(element)) => element.into(),
            Type::Json => Type::Json,
            // The body never runs; a string stands for the element that is never there.
            Type::List(None) => Type::String,
            _ => {
                let message =
                    format!("`{name}` goes over a list or the keys of a map, not {}", range_type.describe());
                return Err(self.syntax.error(id, message));
            }
        };
        let (variable, bodies) = match arguments {
            [variable, bodies @ ..] if (1..=2).contains(&bodies.len()) => (variable, bodies),
            _ => return Err(self.syntax.error(id, format!("`{name}` takes a variable and an expression"))),
        };
        let Expr::Ident(variable) = &variable.expr else {
            return Err(self
                .syntax
                .error(variable.id, format!("the first argument of `{name}` is a new name")));
        };
        if self.variables.len() >= MAX_LOOPS {
            let message = format!("`{name}` and its like are nested deeper than {MAX_LOOPS}");
            return Err(self.syntax.error(id, message));
        }
        self.variables.push((variable.clone(), element));
        let typed = self.body(id, name, Box::new(range), element, bodies);
        self.variables.pop();
        typed
    }

    fn body(
        &mut self,
        id: u64,
        name: &str,
        range: Box<Node>,
        element: Type,
        bodies: &[IdedExpr],
    ) -> Result<Typed, ConditionError> {
        let what = format!("the condition of `{name}`");
        match (macro_named(name), bodies) {
            (Some(Loop::Map), [value]) => {
                let (value_node, r#type) = self.expression(value)?;
                let list = self.list_of(value, r#type)?;
                Ok((Node::Loop(Loop::Map, range, Box::new(value_node)), list))
            }
            (Some(Loop::Map), [condition, value]) => {
                let condition = self.expect(condition, Type::Bool, &what)?;
                let (value_node, r#type) = self.expression(value)?;
                let list = self.list_of(value, r#type)?;
                Ok((Node::FilterMap(Box::new([*range, condition, value_node])), list))
            }
            (Some(kind), [condition]) => {
                let condition = self.expect(condition, Type::Bool, &what)?;
                let result = if kind == Loop::Filter { Type::List(element.scalar()) } else { Type::Bool };
                Ok((Node::Loop(kind, range, Box::new(condition)), result))
            }
            _ => Err(self.syntax.error(id, format!("`{name}` takes a variable and a condition"))),
        }
    }

    fn list_of(&self, value: &IdedExpr, r#type: Type) -> Result<Type, ConditionError> {
        match r#type.scalar() {
            Some(scalar) => Ok(Type::List(Some(scalar))),
            None => {
                let message = format!("a list can't hold {}", r#type.describe());
                Err(self.syntax.error(first(value), message))
            }
        }
    }

    fn unknown_function(&self, id: u64, name: &str, style: Style) -> ConditionError {
        // Operators that the grammar knows and conditions don't have the spelling `_?._`.
        if name.contains('_') && name.contains(['?', '.', '[', '@']) {
            return self.syntax.error(id, "this operator can't be used in a condition");
        }
        let member = Style::Global == style && functions::names(Style::Member).any(|known| known == name);
        let hint = if member {
            format!("; it is called on a value, as in `request.path.{name}(…)`")
        } else {
            did_you_mean(schema::suggest(name, functions::names(style)))
        };
        self.syntax.error(id, format!("unknown function `{name}`{hint}"))
    }
}

fn macro_named(name: &str) -> Option<Loop> {
    Some(match name {
        "all" => Loop::All,
        "exists" => Loop::Exists,
        "exists_one" | "existsOne" => Loop::ExistsOne,
        "filter" => Loop::Filter,
        "map" => Loop::Map,
        _ => return None,
    })
}

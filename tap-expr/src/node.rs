//! A checked expression: every name resolved, every type fitting, every pattern compiled.

use crate::{functions::Function, pattern::Pattern, predicate::Operator, schema::Attribute};

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Constant),
    Read(Attribute),
    /// A macro's variable, by the number of macros around it.
    Variable(usize),
    List(Vec<Self>),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Conditional(Box<[Self; 3]>),
    Compare(Operator, Box<Self>, Box<Self>),
    Arithmetic(Arithmetic, Box<Self>, Box<Self>),
    Negate(Box<Self>),
    /// Whether the first is an element of the second, a list.
    InList(Box<Self>, Box<Self>),
    /// Whether the first is an element, or a member's name, of the second, a JSON value.
    InJson(Box<Self>, Box<Self>),
    /// `json.name`, `json["name"]`, `json[0]`
    JsonAt(Box<Self>, Box<Self>),
    /// `has(json.name)`
    HasJson(Box<Self>),
    /// Whether the first is a key of the second, a map.
    InMap(Box<Self>, Box<Self>),
    /// `map[key]`
    Lookup(Box<Self>, Box<Self>),
    /// `list[index]`
    Element(Box<Self>, Box<Self>),
    /// `has(field)`
    Has(Attribute),
    Call(Function, Box<Self>, Option<Box<Self>>),
    Matches(Box<Self>, Pattern),
    Loop(Loop, Box<Self>, Box<Self>),
    /// `range.map(x, condition, value)`: range, condition, value.
    FilterMap(Box<[Self; 3]>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    Bool(bool),
    Int(i64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i128),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// The macros over a list or the keys of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

//! The functions of a condition: their names, the types they take, and what they compute.

use std::borrow::Cow;

use crate::{
    eval::{Unknown, Value},
    schema::Type,
    time,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Size,
    ToInt,
    ToDouble,
    ToString,
    ToTimestamp,
    ToDuration,
    Calendar(Calendar),
    /// Whole units of so many seconds in a duration.
    WholeUnits(i32),
    Milliseconds,
}

/// Parts of an instant in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calendar {
    Year,
    /// From 0.
    Month,
    /// From 1.
    Date,
    /// From 0.
    DayOfMonth,
    /// From 0, Sunday.
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `target.function(argument)`
    Member,
    /// `function(target)`
    Global,
}

/// A function that fits a call.
pub(crate) struct Signature {
    pub(crate) function: Function,
    /// Of the argument beside the target.
    pub(crate) argument: Option<Type>,
    pub(crate) result: Type,
}

const MEMBERS: [&str; 18] = [
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "lowerAscii",
    "upperAscii",
    "size",
    "exists",
    "all",
    "filter",
    "map",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
];

const GLOBALS: [&str; 7] = ["size", "has", "int", "double", "string", "timestamp", "duration"];

/// The names of the functions of one style, for suggestions.
pub(crate) fn names(style: Style) -> impl Iterator<Item = &'static str> {
    match style {
        Style::Member => MEMBERS.iter().copied(),
        Style::Global => GLOBALS.iter().copied(),
    }
}

/// The function that `name` means for a target of this type; `None` where there is none.
pub(crate) fn find(style: Style, name: &str, target: Type) -> Option<Signature> {
    // Most functions of strings take a JSON value, which may be one.
    let text = if target == Type::Json { Type::String } else { target };
    let (function, argument, result) = match (style, name, text) {
        (_, "size", _) if target == Type::Json => (Function::Size, None, Type::Int),
        (Style::Member, "contains", Type::String) => (Function::Contains, Some(Type::String), Type::Bool),
        (Style::Member, "startsWith", Type::String) => (Function::StartsWith, Some(Type::String), Type::Bool),
        (Style::Member, "endsWith", Type::String) => (Function::EndsWith, Some(Type::String), Type::Bool),
        (Style::Member, "lowerAscii", Type::String) => (Function::LowerAscii, None, Type::String),
        (Style::Member, "upperAscii", Type::String) => (Function::UpperAscii, None, Type::String),
        (_, "size", Type::String | Type::Bytes | Type::List(_) | Type::Map) => {
            (Function::Size, None, Type::Int)
        }
        (Style::Member, _, Type::Timestamp) => (Function::Calendar(calendar(name)?), None, Type::Int),
        (Style::Member, "getHours", Type::Duration) => (Function::WholeUnits(3600), None, Type::Int),
        (Style::Member, "getMinutes", Type::Duration) => (Function::WholeUnits(60), None, Type::Int),
        (Style::Member, "getSeconds", Type::Duration) => (Function::WholeUnits(1), None, Type::Int),
        (Style::Member, "getMilliseconds", Type::Duration) => (Function::Milliseconds, None, Type::Int),
        (Style::Global, "int", Type::Int | Type::Double | Type::String | Type::Timestamp) => {
            (Function::ToInt, None, Type::Int)
        }
        (Style::Global, "double", Type::Int | Type::Double | Type::String) => {
            (Function::ToDouble, None, Type::Double)
        }
        (
            Style::Global,
            "string",
            Type::Bool | Type::Int | Type::Double | Type::String | Type::Bytes | Type::Timestamp,
        ) => (Function::ToString, None, Type::String),
        (Style::Global, "timestamp", Type::String | Type::Int | Type::Timestamp) => {
            (Function::ToTimestamp, None, Type::Timestamp)
        }
        (Style::Global, "duration", Type::String | Type::Duration) => {
            (Function::ToDuration, None, Type::Duration)
        }
        _ => return None,
    };
    Some(Signature { function, argument, result })
}

fn calendar(name: &str) -> Option<Calendar> {
    Some(match name {
        "getFullYear" => Calendar::Year,
        "getMonth" => Calendar::Month,
        "getDate" => Calendar::Date,
        "getDayOfMonth" => Calendar::DayOfMonth,
        "getDayOfWeek" => Calendar::DayOfWeek,
        "getHours" => Calendar::Hours,
        "getMinutes" => Calendar::Minutes,
        "getSeconds" => Calendar::Seconds,
        "getMilliseconds" => Calendar::Milliseconds,
        _ => return None,
    })
}

/// What the function computes; unknown where the target has no such value.
pub(crate) fn call<'a>(
    function: Function,
    target: Value<'a>,
    argument: Option<&Value<'_>>,
) -> Result<Value<'a>, Unknown> {
    let value = match (function, target) {
        (Function::Contains, Value::String(text)) => Value::Bool(text.contains(string(argument)?)),
        (Function::StartsWith, Value::String(text)) => Value::Bool(text.starts_with(string(argument)?)),
        (Function::EndsWith, Value::String(text)) => Value::Bool(text.ends_with(string(argument)?)),
        (Function::LowerAscii, Value::String(text)) => Value::String(text.to_ascii_lowercase().into()),
        (Function::UpperAscii, Value::String(text)) => Value::String(text.to_ascii_uppercase().into()),
        (Function::Size, value) => Value::Int(size(&value)?),
        (Function::ToInt, value) => Value::Int(to_int(&value)?),
        (Function::ToDouble, value) => Value::Double(to_double(&value)?),
        (Function::ToString, value) => Value::String(to_string(value)?),
        (Function::ToTimestamp, Value::String(text)) => {
            Value::Timestamp(time::parse_timestamp(&text).ok_or(Unknown)?)
        }
        (Function::ToTimestamp, Value::Int(seconds)) => {
            Value::Timestamp(time::timestamp_from_seconds(seconds).ok_or(Unknown)?)
        }
        (Function::ToDuration, Value::String(text)) => {
            Value::Duration(time::parse_duration(&text).ok_or(Unknown)?)
        }
        (Function::ToTimestamp | Function::ToDuration, same) => same,
        (Function::Calendar(part), Value::Timestamp(nanos)) => Value::Int(calendar_part(part, nanos)?),
        (Function::WholeUnits(seconds), Value::Duration(nanos)) => {
            Value::Int(time::whole(nanos, i128::from(seconds)))
        }
        (Function::Milliseconds, Value::Duration(nanos)) => {
            Value::Int(i64::try_from(nanos / 1_000_000).map_err(|_| Unknown)?)
        }
        _ => return Err(Unknown),
    };
    Ok(value)
}

fn string<'v>(value: Option<&'v Value<'_>>) -> Result<&'v str, Unknown> {
    match value {
        Some(Value::String(text)) => Ok(text),
        _ => Err(Unknown),
    }
}

fn size(value: &Value<'_>) -> Result<i64, Unknown> {
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        Value::Json(serde_json::Value::Array(elements)) => elements.len(),
        Value::Json(serde_json::Value::Object(members)) => members.len(),
        _ => return Err(Unknown),
    };
    i64::try_from(size).map_err(|_| Unknown)
}

fn to_int(value: &Value<'_>) -> Result<i64, Unknown> {
    match value {
        Value::Int(int) => Ok(*int),
        #[expect(clippy::cast_possible_truncation, reason = "bounded to what an i64 holds; CEL truncates")]
        Value::Double(double) if double.abs() < 9.2e18 => Ok(*double as i64),
        Value::String(text) => text.parse().map_err(|_| Unknown),
        Value::Timestamp(nanos) => Ok(time::seconds(*nanos)),
        _ => Err(Unknown),
    }
}

fn to_double(value: &Value<'_>) -> Result<f64, Unknown> {
    match value {
        Value::Double(double) => Ok(*double),
        #[expect(clippy::cast_precision_loss, reason = "CEL converts to the nearest double")]
        Value::Int(int) => Ok(*int as f64),
        Value::String(text) => text.parse().map_err(|_| Unknown),
        _ => Err(Unknown),
    }
}

fn to_string(value: Value<'_>) -> Result<Cow<'_, str>, Unknown> {
    Ok(match value {
        Value::String(text) => text,
        Value::Bool(bool) => bool.to_string().into(),
        Value::Int(int) => int.to_string().into(),
        Value::Double(double) => double.to_string().into(),
        Value::Bytes(bytes) => String::from_utf8(bytes.into_owned()).map_err(|_| Unknown)?.into(),
        Value::Timestamp(nanos) => time::format_timestamp(nanos).ok_or(Unknown)?.into(),
        _ => return Err(Unknown),
    })
}

fn calendar_part(part: Calendar, nanos: i128) -> Result<i64, Unknown> {
    let at = time::civil(nanos).ok_or(Unknown)?;
    Ok(match part {
        Calendar::Year => at.year().into(),
        Calendar::Month => i64::from(at.month()) - 1,
        Calendar::Date => at.day().into(),
        Calendar::DayOfMonth => i64::from(at.day()) - 1,
        Calendar::DayOfWeek => at.weekday().to_sunday_zero_offset().into(),
        Calendar::Hours => at.hour().into(),
        Calendar::Minutes => at.minute().into(),
        Calendar::Seconds => at.second().into(),
        Calendar::Milliseconds => at.millisecond().into(),
    })
}

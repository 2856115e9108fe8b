//! A condition's predicate, tested on the table's columns.
//!
//! Nulls behave as SQL's: a comparison with what is absent is not true; as a predicate has no negation, that is all that a null
//! does. Every translation is exact or weaker, and the condition itself is tested on the rows that are read where it is weaker.

use std::collections::BTreeSet;

use deltalake::arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Datum, PrimitiveArray, RecordBatch,
        Scalar, StringArray,
    },
    buffer::BooleanBuffer,
    compute::{
        kernels::cmp::{eq, gt, gt_eq, lt, lt_eq, neq},
        starts_with,
    },
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use tap_expr::{Field, Operator, Predicate, Value};

/// Tests rows by the columns that the predicate names.
#[derive(Debug)]
pub(crate) struct RowFilter {
    test: Test,
    columns: BTreeSet<&'static str>,
    is_exact: bool,
}

/// What a row must pass.
#[derive(Debug)]
enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Text { column: &'static str, operator: Operator, value: Scalar<StringArray> },
    StartsWith { column: &'static str, prefix: Scalar<StringArray> },
    Number { column: Column, operator: Operator, value: i64 },
}

impl RowFilter {
    /// `None` where the predicate tells nothing.
    pub(crate) fn new(predicate: &Predicate) -> Option<Self> {
        let mut translation = Translation { columns: BTreeSet::new(), is_exact: true };
        let test = translation.test(predicate)?;
        let Translation { columns, is_exact } = translation;
        Some(Self { test, columns, is_exact })
    }

    /// The columns that [`Self::mask`] needs.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().copied()
    }

    /// Whether the mask holds exactly the rows of which the predicate is true.
    pub(crate) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Which rows may meet the condition. A column that the batch lacks is null: a file may be older than it.
    pub(crate) fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        Ok(BooleanArray::new(self.test.pass(batch)?, None))
    }
}

impl Test {
    fn pass(&self, batch: &RecordBatch) -> Result<BooleanBuffer, ArrowError> {
        let rows = batch.num_rows();
        match self {
            Self::All(tests) => tests
                .iter()
                .try_fold(BooleanBuffer::new_set(rows), |passed, test| Ok(&passed & &test.pass(batch)?)),
            Self::Any(tests) => {
                let none = BooleanBuffer::new_unset(rows);
                tests.iter().try_fold(none, |passed, test| Ok(&passed | &test.pass(batch)?))
            }
            Self::Text { column, operator, value } => {
                of_column(batch, column, |texts| Ok(true_of(compare(texts, *operator, value)?)))
            }
            Self::StartsWith { column, prefix } => {
                of_column(batch, column, |texts| Ok(true_of(starts_with(texts, prefix)?)))
            }
            Self::Number { column, operator, value } => of_column(batch, column.name(), |numbers| {
                let holds = |number: i64| match operator {
                    Operator::Equal => number == *value,
                    Operator::NotEqual => number != *value,
                    Operator::Less => number < *value,
                    Operator::LessOrEqual => number <= *value,
                    Operator::Greater => number > *value,
                    Operator::GreaterOrEqual => number >= *value,
                };
                match column {
                    Column::Unsigned(_) => {
                        of_numbers::<Int32Type>(numbers, |number| holds(number.cast_unsigned().into()))
                    }
                    Column::Long(_) => of_numbers::<Int64Type>(numbers, holds),
                    Column::Time(_) => of_numbers::<TimestampMicrosecondType>(numbers, holds),
                    Column::Text(name) => Err(other_type(name)),
                }
            }),
        }
    }
}

fn of_column(
    batch: &RecordBatch,
    name: &str,
    test: impl FnOnce(&ArrayRef) -> Result<BooleanBuffer, ArrowError>,
) -> Result<BooleanBuffer, ArrowError> {
    batch.column_by_name(name).map_or_else(|| Ok(BooleanBuffer::new_unset(batch.num_rows())), test)
}

fn compare(texts: &dyn Datum, operator: Operator, value: &dyn Datum) -> Result<BooleanArray, ArrowError> {
    match operator {
        Operator::Equal => eq(texts, value),
        Operator::NotEqual => neq(texts, value),
        Operator::Less => lt(texts, value),
        Operator::LessOrEqual => lt_eq(texts, value),
        Operator::Greater => gt(texts, value),
        Operator::GreaterOrEqual => gt_eq(texts, value),
    }
}

/// Null is not true.
fn true_of(mask: BooleanArray) -> BooleanBuffer {
    let (values, nulls) = mask.into_parts();
    match nulls {
        Some(nulls) => &values & nulls.inner(),
        None => values,
    }
}

fn of_numbers<T: ArrowPrimitiveType>(
    numbers: &ArrayRef,
    holds: impl Fn(T::Native) -> bool,
) -> Result<BooleanBuffer, ArrowError> {
    let numbers: &PrimitiveArray<T> =
        numbers.as_primitive_opt().ok_or_else(|| other_type(&numbers.data_type().to_string()))?;
    let values = numbers.values();
    let mask = BooleanBuffer::collect_bool(values.len(), |row| holds(values[row]));
    Ok(match numbers.nulls() {
        Some(nulls) => &mask & nulls.inner(),
        None => mask,
    })
}

fn other_type(what: &str) -> ArrowError {
    ArrowError::SchemaError(format!("a column that is filtered by has another type: {what}"))
}

struct Translation {
    columns: BTreeSet<&'static str>,
    /// Nothing was left out or made weaker.
    is_exact: bool,
}

impl Translation {
    /// `None` for what is true of every row.
    fn test(&mut self, predicate: &Predicate) -> Option<Test> {
        match predicate {
            Predicate::True => None,
            Predicate::And(parts) => {
                let parts: Vec<_> = parts.iter().filter_map(|part| self.test(part)).collect();
                (!parts.is_empty()).then_some(Test::All(parts))
            }
            Predicate::Or(parts) => {
                // One that is true of every row is enough, exact or not: the others' columns need not be read.
                let parts: Option<Vec<_>> = parts.iter().map(|part| self.test(part)).collect();
                parts.map(Test::Any)
            }
            Predicate::Compare { field, operator, value } => self.comparison(*field, *operator, value),
            Predicate::StartsWith { field, prefix } => {
                let Column::Text(column) = column(*field) else { return self.weaker() };
                self.columns.insert(column);
                Some(Test::StartsWith { column, prefix: text(prefix) })
            }
        }
    }

    fn weaker(&mut self) -> Option<Test> {
        self.is_exact = false;
        None
    }

    fn comparison(&mut self, field: Field, operator: Operator, value: &Value) -> Option<Test> {
        let test = match (column(field), value) {
            (Column::Text(column), Value::String(value)) => {
                Test::Text { column, operator, value: text(value) }
            }
            (column @ (Column::Long(_) | Column::Unsigned(_)), Value::Integer(value)) => {
                Test::Number { column, operator, value: *value }
            }
            (column @ Column::Time(_), Value::Integer(nanoseconds)) => {
                self.is_exact = false;
                // The column lacks the nanoseconds below its microseconds: let equal microseconds through.
                let operator = match operator {
                    Operator::NotEqual => return None,
                    Operator::Equal => Operator::Equal,
                    Operator::Less | Operator::LessOrEqual => Operator::LessOrEqual,
                    Operator::Greater | Operator::GreaterOrEqual => Operator::GreaterOrEqual,
                };
                Test::Number { column, operator, value: nanoseconds.div_euclid(1000) }
            }
            (Column::Text(_), Value::Integer(_))
            | (Column::Long(_) | Column::Unsigned(_) | Column::Time(_), Value::String(_)) => {
                return self.weaker();
            }
        };
        self.columns.insert(column(field).name());
        Some(test)
    }
}

fn text(value: &str) -> Scalar<StringArray> {
    StringArray::new_scalar(value)
}

/// A field's column, by its type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Text(&'static str),
    /// A u32 in an i32: its upper half is negative.
    Unsigned(&'static str),
    Long(&'static str),
    Time(&'static str),
}

impl Column {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Unsigned(name) | Self::Long(name) | Self::Time(name) => name,
        }
    }
}

pub(crate) fn column(field: Field) -> Column {
    match field {
        Field::Id => Column::Text("id"),
        Field::Role => Column::Text("role"),
        Field::Time => Column::Time("time"),
        Field::Duration => Column::Long("duration_ns"),
        Field::Target => Column::Text("target"),
        Field::Node => Column::Text("node"),
        Field::Namespace => Column::Text("namespace"),
        Field::Workload => Column::Text("workload"),
        Field::Pod => Column::Text("pod"),
        Field::Container => Column::Text("container"),
        Field::SourceIp => Column::Text("source_ip"),
        Field::SourcePort => Column::Unsigned("source_port"),
        Field::DestinationIp => Column::Text("destination_ip"),
        Field::DestinationPort => Column::Unsigned("destination_port"),
        Field::Method => Column::Text("method"),
        Field::Scheme => Column::Text("scheme"),
        Field::Host => Column::Text("host"),
        Field::Path => Column::Text("path"),
        Field::Query => Column::Text("query"),
        Field::Status => Column::Unsigned("status"),
    }
}

//! A condition's predicate as an expression over the table's columns.
//!
//! Nulls behave as SQL's on both sides: a comparison with what is absent is not true. Every translation is
//! exact or weaker, as the condition itself is tested on the rows that are read.

use std::{collections::BTreeSet, sync::Arc};

use deltalake::{
    arrow::{
        array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array},
        datatypes::{DataType, Schema, SchemaRef},
    },
    datafusion::{
        common::{DFSchema, ScalarValue},
        error::DataFusionError,
        logical_expr::{
            Expr, cast, execution_props::ExecutionProps, lit,
            physical_planning_context::PhysicalPlanningContext,
        },
        physical_expr::{PhysicalExpr, create_physical_expr},
        prelude::ident,
    },
};
use tap_expr::{Field, Operator, Predicate, Value};

use crate::schema;

/// Tests rows by the columns that the predicate names.
#[derive(Debug)]
pub(crate) struct RowFilter {
    expression: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    is_exact: bool,
}

impl RowFilter {
    /// `None` where the predicate tells nothing.
    pub(crate) fn new(predicate: &Predicate) -> Result<Option<Self>, DataFusionError> {
        let mut translation = Translation { columns: BTreeSet::new(), is_exact: true };
        let Some(expression) = translation.expression(predicate) else { return Ok(None) };
        let Translation { columns, is_exact } = translation;
        let fields: Vec<_> =
            schema::FILE.fields().iter().filter(|f| columns.contains(f.name().as_str())).collect();
        // Nullable throughout: a file may lack a column that is younger than it.
        let fields: Vec<_> =
            fields.into_iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let planned = DFSchema::try_from(Arc::clone(&schema))?;
        let expression = create_physical_expr(
            &expression,
            &planned,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )?;
        Ok(Some(Self { expression, schema, is_exact }))
    }

    /// The columns that [`Self::mask`] needs.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|field| field.name().as_str())
    }

    /// Whether the mask holds exactly the rows of which the predicate is true.
    pub(crate) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Which rows may meet the condition.
    pub(crate) fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, DataFusionError> {
        let column = |name: &str| batch.column_by_name(name).map(Arc::clone);
        let columns: Vec<ArrayRef> = (self.schema.fields().iter())
            .map(|field| {
                column(field.name()).unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let mask = self.expression.evaluate(&batch)?.into_array(batch.num_rows())?;
        let mask = mask.as_boolean();
        // Null is not true.
        Ok(match mask.nulls() {
            Some(nulls) => BooleanArray::new(mask.values() & nulls.inner(), None),
            None => mask.clone(),
        })
    }
}

struct Translation {
    columns: BTreeSet<&'static str>,
    /// Nothing was left out or made weaker.
    is_exact: bool,
}

impl Translation {
    /// `None` for an expression that is true of every row.
    fn expression(&mut self, predicate: &Predicate) -> Option<Expr> {
        match predicate {
            Predicate::True => None,
            Predicate::And(parts) => parts.iter().filter_map(|part| self.expression(part)).reduce(Expr::and),
            Predicate::Or(parts) => {
                let parts: Option<Vec<_>> = parts.iter().map(|part| self.expression(part)).collect();
                Some(parts?.into_iter().reduce(Expr::or).unwrap_or_else(|| lit(false)))
            }
            Predicate::Compare { field, operator, value } => self.comparison(*field, *operator, value),
            Predicate::StartsWith { field, prefix } => {
                let Column::Text(name) = column(*field) else { return self.weaker() };
                self.columns.insert(name);
                let from = ident(name).gt_eq(lit(prefix.as_str()));
                Some(match successor(prefix) {
                    Some(end) => from.and(ident(name).lt(lit(end))),
                    None => from,
                })
            }
        }
    }

    fn weaker(&mut self) -> Option<Expr> {
        self.is_exact = false;
        None
    }

    fn comparison(&mut self, field: Field, operator: Operator, value: &Value) -> Option<Expr> {
        match (column(field), value) {
            (Column::Text(name), Value::String(text)) => {
                self.columns.insert(name);
                Some(compare(ident(name), operator, lit(text.as_str())))
            }
            (Column::Long(name), Value::Integer(value)) => {
                self.columns.insert(name);
                Some(compare(ident(name), operator, lit(*value)))
            }
            (Column::Unsigned(name), Value::Integer(value)) => {
                self.columns.insert(name);
                let value_of_row = cast(ident(name), DataType::Int64) & lit(i64::from(u32::MAX));
                Some(compare(value_of_row, operator, lit(*value)))
            }
            (Column::Time(name), Value::Integer(nanoseconds)) => {
                self.is_exact = false;
                // The column lacks the nanoseconds below its microseconds: let equal microseconds through.
                let operator = match operator {
                    Operator::NotEqual => return None,
                    Operator::Equal => Operator::Equal,
                    Operator::Less | Operator::LessOrEqual => Operator::LessOrEqual,
                    Operator::Greater | Operator::GreaterOrEqual => Operator::GreaterOrEqual,
                };
                self.columns.insert(name);
                let micros =
                    ScalarValue::TimestampMicrosecond(Some(nanoseconds.div_euclid(1000)), Some("UTC".into()));
                Some(compare(ident(name), operator, lit(micros)))
            }
            (Column::Text(_), Value::Integer(_))
            | (Column::Long(_) | Column::Unsigned(_) | Column::Time(_), Value::String(_)) => self.weaker(),
        }
    }
}

fn compare(column: Expr, operator: Operator, literal: Expr) -> Expr {
    match operator {
        Operator::Equal => column.eq(literal),
        Operator::NotEqual => column.not_eq(literal),
        Operator::Less => column.lt(literal),
        Operator::LessOrEqual => column.lt_eq(literal),
        Operator::Greater => column.gt(literal),
        Operator::GreaterOrEqual => column.gt_eq(literal),
    }
}

/// The least text above everything that starts with the prefix, by bytes.
fn successor(prefix: &str) -> Option<String> {
    let mut head = prefix.to_owned();
    while let Some(last) = head.pop() {
        // The range steps over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            head.push(next);
            return Some(head);
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_ends_the_prefix() {
        assert_eq!(successor("/cart").as_deref(), Some("/caru"));
        assert_eq!(successor("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(successor("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(successor("\u{10ffff}"), None);
        assert_eq!(successor(""), None);
    }
}

//! A condition's predicate as an expression over the table's columns.
//!
//! Nulls behave as SQL's on both sides: a comparison with what is absent is not true. Every translation is
//! exact or weaker, as the condition itself is tested on the rows that are read.

use std::{collections::BTreeSet, sync::Arc};

use deltalake::{
    arrow::{
        array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array},
        datatypes::{Schema, SchemaRef},
    },
    datafusion::{
        common::{DFSchema, ScalarValue},
        error::DataFusionError,
        logical_expr::{
            Expr, execution_props::ExecutionProps, lit, physical_planning_context::PhysicalPlanningContext,
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
}

impl RowFilter {
    /// `None` where the predicate tells nothing.
    pub(crate) fn new(predicate: &Predicate) -> Result<Option<Self>, DataFusionError> {
        let mut columns = BTreeSet::new();
        let Some(expression) = expression(predicate, &mut columns) else { return Ok(None) };
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
        Ok(Some(Self { expression, schema }))
    }

    /// The columns that [`Self::mask`] needs.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|field| field.name().as_str())
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

/// `None` for an expression that is true of every row.
fn expression(predicate: &Predicate, columns: &mut BTreeSet<&'static str>) -> Option<Expr> {
    match predicate {
        Predicate::True => None,
        Predicate::And(parts) => parts.iter().filter_map(|part| expression(part, columns)).reduce(Expr::and),
        Predicate::Or(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(|part| expression(part, columns)).collect();
            Some(parts?.into_iter().reduce(Expr::or).unwrap_or_else(|| lit(false)))
        }
        Predicate::Compare { field, operator, value } => comparison(*field, *operator, value, columns),
        Predicate::StartsWith { field, prefix } => {
            let Column::Text(name) = column(*field) else { return None };
            columns.insert(name);
            let from = ident(name).gt_eq(lit(prefix.as_str()));
            Some(match successor(prefix) {
                Some(end) => from.and(ident(name).lt(lit(end))),
                None => from,
            })
        }
    }
}

fn comparison(
    field: Field,
    operator: Operator,
    value: &Value,
    columns: &mut BTreeSet<&'static str>,
) -> Option<Expr> {
    let mut compare = |name, operator, literal: ScalarValue| {
        columns.insert(name);
        let (column, literal) = (ident(name), lit(literal));
        Some(match operator {
            Operator::Equal => column.eq(literal),
            Operator::NotEqual => column.not_eq(literal),
            Operator::Less => column.lt(literal),
            Operator::LessOrEqual => column.lt_eq(literal),
            Operator::Greater => column.gt(literal),
            Operator::GreaterOrEqual => column.gt_eq(literal),
        })
    };
    match (column(field), value) {
        (Column::Text(name), Value::String(text)) => {
            compare(name, operator, ScalarValue::from(text.as_str()))
        }
        (Column::Long(name), Value::Integer(value)) => compare(name, operator, ScalarValue::from(*value)),
        (Column::Integer(name), Value::Integer(value)) => match i32::try_from(*value) {
            Ok(value) => compare(name, operator, ScalarValue::from(value)),
            Err(_) => out_of_range(operator, *value > 0),
        },
        (Column::Time(name), Value::Integer(nanoseconds)) => {
            // The column lacks the nanoseconds below its microseconds: let equal microseconds through.
            let operator = match operator {
                Operator::NotEqual => return None,
                Operator::Equal => Operator::Equal,
                Operator::Less | Operator::LessOrEqual => Operator::LessOrEqual,
                Operator::Greater | Operator::GreaterOrEqual => Operator::GreaterOrEqual,
            };
            let micros =
                ScalarValue::TimestampMicrosecond(Some(nanoseconds.div_euclid(1000)), Some("UTC".into()));
            compare(name, operator, micros)
        }
        (Column::Text(_), Value::Integer(_)) => None,
        (Column::Long(_) | Column::Integer(_) | Column::Time(_), Value::String(_)) => None,
    }
}

/// A comparison with a number that the column's type can't hold.
fn out_of_range(operator: Operator, above: bool) -> Option<Expr> {
    let may_hold = match operator {
        Operator::Equal => false,
        Operator::NotEqual => true,
        Operator::Less | Operator::LessOrEqual => above,
        Operator::Greater | Operator::GreaterOrEqual => !above,
    };
    if may_hold { None } else { Some(lit(false)) }
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
enum Column {
    Text(&'static str),
    Integer(&'static str),
    Long(&'static str),
    Time(&'static str),
}

fn column(field: Field) -> Column {
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
        Field::SourcePort => Column::Integer("source_port"),
        Field::DestinationIp => Column::Text("destination_ip"),
        Field::DestinationPort => Column::Integer("destination_port"),
        Field::Method => Column::Text("method"),
        Field::Scheme => Column::Text("scheme"),
        Field::Host => Column::Text("host"),
        Field::Path => Column::Text("path"),
        Field::Query => Column::Text("query"),
        Field::Status => Column::Integer("status"),
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

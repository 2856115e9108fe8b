//! Which pages of a data file may hold rows that a predicate is true of, by the file's page index, or by the
//! statistics of its row groups where it has none.

use std::ops::RangeInclusive;

use deltalake::{
    arrow::{
        array::{Array, ArrayRef, AsArray},
        compute::cast,
        datatypes::{DataType, Int64Type, TimestampMicrosecondType},
    },
    parquet::arrow::arrow_reader::{
        ArrowReaderMetadata, RowSelection, RowSelector, statistics::StatisticsConverter,
    },
};
use tap_expr::{Field, Predicate};

use crate::{
    bounds::Bounds,
    predicate::{Column, column},
    schema,
};

/// The rows of pages that may hold one of these times, in microseconds, of which the predicate is true; `None`
/// for all rows.
pub(crate) fn select(
    metadata: &ArrowReaderMetadata,
    predicate: &Predicate,
    times: &RangeInclusive<i64>,
) -> Option<RowSelection> {
    let wanted = Bounds::of_times(*times.start(), *times.end());
    let of_times = pages(metadata, Field::Time, &|bounds| bounds.overlaps(wanted));
    intersection(of_times, pages_of(metadata, predicate))
}

fn pages_of(metadata: &ArrowReaderMetadata, predicate: &Predicate) -> Option<RowSelection> {
    match predicate {
        Predicate::True => None,
        Predicate::And(parts) => parts.iter().map(|part| pages_of(metadata, part)).fold(None, intersection),
        Predicate::Or(parts) => {
            let rows = usize::try_from(metadata.metadata().file_metadata().num_rows()).ok()?;
            let none = RowSelection::from(vec![RowSelector::skip(rows)]);
            parts.iter().try_fold(none, |any, part| Some(any.union(&pages_of(metadata, part)?)))
        }
        Predicate::Compare { field, operator, value } => {
            pages(metadata, *field, &|bounds| bounds.may_compare(*operator, value))
        }
        Predicate::StartsWith { field, prefix } => {
            pages(metadata, *field, &|bounds| bounds.may_start_with(prefix))
        }
    }
}

fn intersection(a: Option<RowSelection>, b: Option<RowSelection>) -> Option<RowSelection> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.intersection(&b)),
        (one, None) | (None, one) => one,
    }
}

/// The rows of the column's pages whose bounds pass the test, or are not known; `None` for all.
fn pages(
    metadata: &ArrowReaderMetadata,
    field: Field,
    test: &dyn Fn(Bounds<'_>) -> bool,
) -> Option<RowSelection> {
    let column = column(field);
    let spans = spans(metadata, column)?;
    let mut selectors = Vec::with_capacity(spans.rows.len());
    for (index, rows) in spans.rows.iter().enumerate() {
        let may_hold = spans.bounds(column, index).is_none_or(test);
        selectors.push(if may_hold { RowSelector::select(*rows) } else { RowSelector::skip(*rows) });
    }
    selectors.iter().any(|selector| selector.skip).then(|| RowSelection::from(selectors))
}

/// Pages or row groups one after the other: how many rows each has, and the ends of its values.
struct Spans {
    rows: Vec<usize>,
    least: ArrayRef,
    greatest: ArrayRef,
}

/// `None` where the file says nothing of the column.
fn spans(metadata: &ArrowReaderMetadata, column: Column) -> Option<Spans> {
    let parquet = metadata.metadata();
    let types = parquet.file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(column.name(), metadata.schema(), types).ok()?;
    let leaf = converter.parquet_column_index()?;
    let groups = parquet.row_groups();
    let indices: Vec<_> = (0..groups.len()).collect();
    let (rows, least, greatest) = match (parquet.column_index(), parquet.offset_index()) {
        (Some(column_index), Some(offset_index)) => {
            let mut rows = Vec::new();
            for (group, offsets) in groups.iter().zip(offset_index) {
                let firsts = offsets.get(leaf)?.page_locations().iter().map(|page| page.first_row_index);
                let ends = firsts.clone().skip(1).chain([group.num_rows()]);
                for (first, end) in firsts.zip(ends) {
                    rows.push(usize::try_from(end - first).ok()?);
                }
            }
            let least = converter.data_page_mins(column_index, offset_index, &indices).ok()?;
            let greatest = converter.data_page_maxes(column_index, offset_index, &indices).ok()?;
            (rows, least, greatest)
        }
        _ => {
            let rows = groups.iter().map(|group| usize::try_from(group.num_rows()));
            let rows = rows.collect::<Result<_, _>>().ok()?;
            (rows, converter.row_group_mins(groups).ok()?, converter.row_group_maxes(groups).ok()?)
        }
    };
    let r#type = match column {
        Column::Text(_) => DataType::Utf8,
        Column::Unsigned(_) | Column::Long(_) => DataType::Int64,
        Column::Time(_) => schema::time_type(),
    };
    let (least, greatest) = (cast(&least, &r#type).ok()?, cast(&greatest, &r#type).ok()?);
    (rows.len() == least.len() && rows.len() == greatest.len()).then_some(Spans { rows, least, greatest })
}

impl Spans {
    fn bounds(&self, column: Column, index: usize) -> Option<Bounds<'_>> {
        let Self { rows: _, least, greatest } = self;
        if least.is_null(index) || greatest.is_null(index) {
            return None;
        }
        Some(match column {
            Column::Text(_) => Bounds::Text(
                least.as_string_opt::<i32>()?.value(index),
                greatest.as_string_opt::<i32>()?.value(index),
            ),
            Column::Unsigned(_) | Column::Long(_) => {
                let integer = |array: &ArrayRef| Some(array.as_primitive_opt::<Int64Type>()?.value(index));
                let (least, greatest) = (integer(least)?, integer(greatest)?);
                // The upper half of an unsigned value is negative, so that the ends are not in its order.
                if matches!(column, Column::Unsigned(_)) && least < 0 {
                    return None;
                }
                Bounds::Integer(least, greatest)
            }
            Column::Time(_) => {
                let micros = |array: &ArrayRef| {
                    Some(array.as_primitive_opt::<TimestampMicrosecondType>()?.value(index))
                };
                Bounds::of_times(micros(least)?, micros(greatest)?)
            }
        })
    }
}

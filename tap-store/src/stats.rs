//! Counts, rates and latencies of the exchanges that match: one pass over the rows, folded into groups.
//!
//! Only the columns that decide, that name the groups and that are counted are read; an exchange is built only where the
//! condition says something that a scan can't test. Files are read by [`rows::READERS`] tasks, batch by batch, and folded here:
//! memory does not depend on the table's size. It is bounded by [`MAX_GROUPS`] groups, and by [`MAX_CELLS`] where there is a
//! step; the exchanges of groups that have no room are counted together, and said to be. Dropping the future ends the tasks
//! within a batch.
//!
//! Buckets take a second pass over the same version of the table: only then is it known which groups are shown, so that
//! each bucket of them is whole. docs/design/0012 says why this is a fold and not a query of an engine.

mod dimension;
mod groups;
mod rows;
mod series;
mod tally;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tap_expr::Condition;
use tap_proto::v1::{StatsOrder, StatsResponse};

pub use self::dimension::{Dimension, UnknownDimension};
use self::{
    groups::{Found, Groups},
    rows::{Matching, Reader},
    series::{Buckets, Series},
};
use crate::{
    Store, StoreError,
    search::{micros_rounded_up, times},
};

/// Groups told apart. A service has hundreds of endpoints, each with a few statuses. With its latencies, a group takes 4 to
/// 13 KiB.
pub const MAX_GROUPS: usize = 8_192;
/// Buckets of all groups and of the total, each with its latencies.
const MAX_CELLS: usize = 8_192;
/// By which exchanges are grouped at once.
pub const MAX_DIMENSIONS: usize = 6;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Of which exchanges, and how to count them.
#[derive(Debug)]
pub struct StatsQuery {
    pub condition: Condition,
    /// start <= time < end.
    pub start: Option<SystemTime>,
    pub end: Option<SystemTime>,
    /// At most [`MAX_DIMENSIONS`].
    pub group_by: Vec<Dimension>,
    /// Whole seconds, one at least.
    pub step: Option<Duration>,
    /// Between 0 and 100.
    pub percentiles: Vec<f64>,
    pub order: StatsOrder,
    /// Groups to give.
    pub limit: usize,
}

/// The time that rates are of, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: i64,
    end: i64,
}

pub(crate) async fn stats(store: &Store, query: StatsQuery) -> Result<StatsResponse, StoreError> {
    let StatsQuery { condition, start, end, group_by, step, percentiles, order, limit } = query;
    let view = store.current().await?;
    let reader = Arc::new(Reader::new(store.files(), condition, times(start, end), &group_by));
    let files = reader.files(&view);
    let (files_read, files_skipped) = (files.len(), view.files.len() - files.len());

    let mut groups = Groups::new(group_by);
    let mut rows = Matching::start(&reader, files.clone());
    while let Some(selected) = rows.next().await? {
        groups.fold(&selected)?;
    }
    let rows_read = rows.read();

    let span = span(start, end, &groups);
    let Found { mut shown, other, other_groups, total, ungrouped, mut keys } =
        groups.finish(order, &percentiles, limit);

    let mut buckets = Vec::new();
    if let Some(step) = step {
        let layout = Buckets::new(span, step, shown.len())?;
        let mut series = Series::new(layout, &shown);
        let mut rows = Matching::start(&reader, files);
        while let Some(selected) = rows.next().await? {
            series.fold(&mut keys, &selected)?;
        }
        buckets = series.finish(&mut shown, &percentiles);
    }
    Ok(StatsResponse {
        groups: shown.into_iter().map(|group| group.message(span, &percentiles)).collect(),
        total: Some(total.summary(span.seconds(), &percentiles)),
        other: (other.exchanges > 0).then(|| other.summary(span.seconds(), &percentiles)),
        other_groups: other_groups as u64,
        ungrouped_exchanges: ungrouped,
        start_time: Some(crate::columns::timestamp(span.start, 0)),
        end_time: Some(crate::columns::timestamp(span.end, 0)),
        buckets,
        rows_read,
        files_read: files_read as u64,
        files_skipped: files_skipped as u64,
    })
}

/// What was asked for; where it was left open, from the first exchange, and to the last one or to now.
fn span(start: Option<SystemTime>, end: Option<SystemTime>, groups: &Groups) -> Span {
    let found = groups.times().unwrap_or((0, 0));
    let first = start.map_or(found.0, micros_rounded_up);
    let last = match (start, end) {
        (_, Some(end)) => micros_rounded_up(end),
        (Some(_), None) => micros_rounded_up(SystemTime::now()).max(found.1),
        (None, None) => found.1,
    };
    Span { start: first, end: last.max(first) }
}

impl Span {
    fn seconds(self) -> f64 {
        self.end.saturating_sub(self.start) as f64 / MICROS_PER_SECOND as f64
    }
}

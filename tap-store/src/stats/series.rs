//! The second pass: the groups that are shown, and the total, in buckets of time.

use std::{collections::HashMap, time::Duration};

use foldhash::fast::RandomState;
use tap_proto::v1::StatsBucket;

use super::{
    MAX_CELLS, MICROS_PER_SECOND, Span,
    groups::{Group, Key, Keys, bucket},
    rows::Selected,
    tally::{CountedColumns, Tally},
};
use crate::StoreError;

/// Which buckets there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    /// Of the first bucket: a multiple of the step.
    start: i64,
    step: i64,
    count: usize,
    span: Span,
}

/// A tally for each bucket of each group, the total's first.
#[derive(Debug)]
pub(super) struct Series {
    buckets: Buckets,
    places: HashMap<Key, usize, RandomState>,
    cells: Vec<Tally>,
}

impl Buckets {
    pub(super) fn new(span: Span, step: Duration, groups: usize) -> Result<Self, StoreError> {
        let seconds = step.as_secs().max(1);
        let step = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(MICROS_PER_SECOND);
        let start = span.start.div_euclid(step).saturating_mul(step);
        let count = span.end.saturating_sub(start).div_euclid(step).saturating_add(1);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count.saturating_mul(groups + 1) > MAX_CELLS {
            return Err(StoreError::InvalidQuery(format!(
                "step: {count} buckets of {groups} groups and the total are too many; {MAX_CELLS} in all are allowed: \
                 take a longer step, fewer groups or a shorter time"
            )));
        }
        Ok(Self { start, step, count, span })
    }

    fn of(&self, time: i64) -> Option<usize> {
        let index = usize::try_from(time.checked_sub(self.start)?.div_euclid(self.step)).ok()?;
        (index < self.count).then_some(index)
    }

    fn start_of(&self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
    }

    /// How much of the bucket is within the span.
    fn seconds(&self, index: usize) -> f64 {
        let start = self.start_of(index);
        let end = start.saturating_add(self.step).min(self.span.end);
        end.saturating_sub(start.max(self.span.start)).max(0) as f64 / MICROS_PER_SECOND as f64
    }
}

impl Series {
    pub(super) fn new(buckets: Buckets, shown: &[Group]) -> Self {
        let places = shown.iter().enumerate().map(|(index, group)| (group.key, index + 1)).collect();
        Self { buckets, places, cells: vec![Tally::default(); buckets.count * (shown.len() + 1)] }
    }

    pub(super) fn fold(&mut self, keys: &mut Keys, selected: &Selected) -> Result<(), StoreError> {
        let counted = CountedColumns::of(&selected.batch).map_err(|source| selected.error(source))?;
        let of_rows = keys.of(selected);
        for (key, &row) in of_rows.into_iter().zip(&selected.rows) {
            let one = counted.at(row);
            let Some(bucket) = self.buckets.of(one.time) else { continue };
            self.cells[bucket].record(&one);
            if let Some(place) = key.and_then(|key| self.places.get(&keys.resolve(key))) {
                self.cells[place * self.buckets.count + bucket].record(&one);
            }
        }
        Ok(())
    }

    /// Gives the groups their buckets; returns the total's.
    pub(super) fn finish(self, shown: &mut [Group], percentiles: &[f64]) -> Vec<StatsBucket> {
        let Self { buckets, places: _, cells } = self;
        let series = |place: usize| -> Vec<StatsBucket> {
            let tallies = cells.iter().skip(place * buckets.count).take(buckets.count).enumerate();
            tallies
                .filter(|(_, tally)| tally.exchanges > 0)
                .map(|(index, tally)| {
                    bucket(buckets.start_of(index), tally, buckets.seconds(index), percentiles)
                })
                .collect()
        };
        for (index, group) in shown.iter_mut().enumerate() {
            group.buckets = series(index + 1);
        }
        series(0)
    }
}

//! The groups under way: values as numbers, a key of numbers for each row, a tally for each key.

use std::{cmp::Reverse, collections::HashMap};

use foldhash::fast::RandomState;
use tap_expr::endpoint::Templates;
use tap_proto::v1::{StatsBucket, StatsGroup, StatsOrder};

use super::{
    Dimension, MAX_DIMENSIONS, MAX_GROUPS, Span,
    dimension::Values,
    rows::Selected,
    tally::{CountedColumns, Tally},
};
use crate::{StoreError, columns};

/// Values of one dimension that are told apart: with more there would be more groups than there may be.
const MAX_VALUES: usize = MAX_GROUPS;
/// Longer values are told apart by their first bytes.
const MAX_VALUE_BYTES: usize = 256;

/// The number of each dimension's value; 0 for the dimensions that there are not.
pub(super) type Key = [u32; MAX_DIMENSIONS];

/// Which values have which number.
#[derive(Debug)]
pub(super) struct Keys {
    dimensions: Vec<(Dimension, Dictionary)>,
    templates: Templates,
}

/// The number of the path of an exchange without one.
const NO_PATH: u32 = u32::MAX;

/// The values of one dimension, numbered as they come.
#[derive(Debug, Default)]
struct Dictionary {
    numbers: HashMap<Box<str>, u32, RandomState>,
    /// The same for values that are numbers themselves.
    numbers_of_integers: HashMap<i64, u32, RandomState>,
    values: Vec<Box<str>>,
}

/// A pass over the rows.
#[derive(Debug)]
pub(super) struct Groups {
    keys: Keys,
    tallies: HashMap<Key, Tally, RandomState>,
    /// Those that there was no room to tell apart.
    ungrouped: Tally,
    /// The first and the last time, in microseconds.
    times: Option<(i64, i64)>,
}

/// What the pass found.
pub(super) struct Found {
    pub(super) shown: Vec<Group>,
    pub(super) other: Tally,
    pub(super) other_groups: usize,
    pub(super) total: Tally,
    pub(super) ungrouped: u64,
    pub(super) keys: Keys,
}

pub(super) struct Group {
    pub(super) key: Key,
    values: Vec<String>,
    tally: Tally,
    pub(super) buckets: Vec<StatsBucket>,
}

impl Keys {
    fn new(dimensions: Vec<Dimension>) -> Self {
        let dimensions = dimensions.into_iter().map(|dimension| (dimension, Dictionary::default())).collect();
        Self { dimensions, templates: Templates::new() }
    }

    /// The keys of the rows selected; `None` where a dimension has no room for the value.
    pub(super) fn of(&mut self, selected: &Selected) -> Vec<Option<Key>> {
        let Self { dimensions, templates } = self;
        let mut keys = vec![Some(Key::default()); selected.rows.len()];
        for (place, (dimension, dictionary)) in dimensions.iter_mut().enumerate().take(MAX_DIMENSIONS) {
            let values = dimension.values(&selected.batch);
            for (key, &row) in keys.iter_mut().zip(&selected.rows) {
                let number = if dimension.is_path_template() {
                    Some(template(templates, &values, row))
                } else {
                    dictionary.number(&values, row)
                };
                match (&mut *key, number) {
                    (Some(key), Some(number)) => key[place] = number,
                    _ => *key = None,
                }
            }
        }
        keys
    }

    /// The key that this one has become: templates that were learned later may have joined several.
    pub(super) fn resolve(&self, mut key: Key) -> Key {
        for (number, (dimension, _)) in key.iter_mut().zip(&self.dimensions) {
            if dimension.is_path_template()
                && let Some(endpoint) = self.templates.endpoint(*number)
            {
                *number = self.templates.resolve(endpoint).number();
            }
        }
        key
    }

    fn values(&self, key: &Key) -> Vec<String> {
        let value = |(number, (dimension, dictionary)): (&u32, &(Dimension, Dictionary))| {
            if dimension.is_path_template() {
                let endpoint = self.templates.endpoint(*number);
                return endpoint.map_or_else(String::new, |endpoint| self.templates.template(endpoint));
            }
            dictionary.values.get(*number as usize).map_or_else(String::new, |value| value.to_string())
        };
        key.iter().zip(&self.dimensions).map(value).collect()
    }
}

fn template(templates: &mut Templates, paths: &Values<'_>, row: usize) -> u32 {
    match &*paths.at(row) {
        "" => NO_PATH,
        path => templates.learn(path).number(),
    }
}

impl Dictionary {
    fn number(&mut self, values: &Values<'_>, row: usize) -> Option<u32> {
        let Some(integer) = values.number(row) else { return self.number_of(&values.at(row)) };
        if let Some(known) = self.numbers_of_integers.get(&integer) {
            return Some(*known);
        }
        let number = self.number_of(&values.at(row))?;
        if self.numbers_of_integers.len() < MAX_VALUES {
            self.numbers_of_integers.insert(integer, number);
        }
        Some(number)
    }

    fn number_of(&mut self, value: &str) -> Option<u32> {
        let value = &value[..value.floor_char_boundary(MAX_VALUE_BYTES)];
        if let Some(known) = self.numbers.get(value) {
            return Some(*known);
        }
        if self.values.len() >= MAX_VALUES {
            return None;
        }
        let number = u32::try_from(self.values.len()).ok()?;
        self.values.push(value.into());
        self.numbers.insert(value.into(), number);
        Some(number)
    }
}

impl Groups {
    pub(super) fn new(dimensions: Vec<Dimension>) -> Self {
        Self {
            keys: Keys::new(dimensions),
            tallies: HashMap::default(),
            ungrouped: Tally::default(),
            times: None,
        }
    }

    pub(super) fn fold(&mut self, selected: &Selected) -> Result<(), StoreError> {
        let counted = CountedColumns::of(&selected.batch).map_err(|source| selected.error(source))?;
        let keys = self.keys.of(selected);
        for (key, &row) in keys.into_iter().zip(&selected.rows) {
            let one = counted.at(row);
            let (first, last) = self.times.unwrap_or((one.time, one.time));
            self.times = Some((first.min(one.time), last.max(one.time)));
            let has_room = self.tallies.len() < MAX_GROUPS;
            let tally = match key {
                Some(key) if has_room => self.tallies.entry(key).or_default(),
                Some(key) => self.tallies.get_mut(&key).unwrap_or(&mut self.ungrouped),
                None => &mut self.ungrouped,
            };
            tally.record(&one);
        }
        Ok(())
    }

    /// Of the first and the last exchange.
    pub(super) fn times(&self) -> Option<(i64, i64)> {
        self.times
    }

    pub(super) fn finish(self, order: StatsOrder, percentiles: &[f64], limit: usize) -> Found {
        let Self { keys, tallies, ungrouped, times: _ } = self;
        let mut total = ungrouped.clone();
        let mut joined: HashMap<Key, Tally, RandomState> = HashMap::default();
        for (key, tally) in tallies {
            total.add(&tally);
            joined.entry(keys.resolve(key)).or_default().add(&tally);
        }
        let ungrouped_exchanges = ungrouped.exchanges;
        let mut other = ungrouped;
        let mut shown: Vec<Group> = Vec::new();
        let mut other_groups = 0;
        if !keys.dimensions.is_empty() {
            shown = joined.into_iter().map(|(key, tally)| Group::new(&keys, key, tally)).collect();
            let highest = percentiles.iter().copied().fold(0.0, f64::max);
            sort(&mut shown, order, highest);
            let rest = shown.split_off(limit.min(shown.len()));
            other_groups = rest.len();
            for group in &rest {
                other.add(&group.tally);
            }
        }
        Found { shown, other, other_groups, total, ungrouped: ungrouped_exchanges, keys }
    }
}

impl Group {
    fn new(keys: &Keys, key: Key, tally: Tally) -> Self {
        Self { values: keys.values(&key), key, tally, buckets: Vec::new() }
    }

    pub(super) fn message(self, span: Span, percentiles: &[f64]) -> StatsGroup {
        let Self { key: _, values, tally, buckets } = self;
        StatsGroup { key: values, summary: Some(tally.summary(span.seconds(), percentiles)), buckets }
    }
}

/// Those of one rank by their values, so that the same query gives the same answer.
fn sort(groups: &mut [Group], order: StatsOrder, percentile: f64) {
    let by_values = |group: &Group| group.values.iter().map(|value| natural(value)).collect::<Vec<_>>();
    groups.sort_by_cached_key(|group| {
        let rank = match order {
            StatsOrder::Unspecified | StatsOrder::Count => group.tally.exchanges,
            StatsOrder::Errors => group.tally.errors,
            StatsOrder::Latency => group.tally.percentile(percentile),
            StatsOrder::Bytes => group.tally.bytes,
            StatsOrder::Key => 0,
        };
        (Reverse(rank), by_values(group))
    });
}

/// Numbers by their value and before texts: ports and statuses.
fn natural(value: &str) -> (bool, u64, String) {
    match value.parse() {
        Ok(number) => (false, number, value.to_owned()),
        Err(_) => (true, 0, value.to_owned()),
    }
}

/// The start of a bucket on the wire.
pub(super) fn bucket(micros: i64, tally: &Tally, seconds: f64, percentiles: &[f64]) -> StatsBucket {
    StatsBucket {
        start_time: Some(columns::timestamp(micros, 0)),
        summary: Some(tally.summary(seconds, percentiles)),
    }
}

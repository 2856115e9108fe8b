//! What all answers of a replay differ in, by endpoint and field: counts, and a few examples of each.
//!
//! Bounded: [`MAX_ENDPOINTS`] endpoints, [`FIELDS`] fields of each and [`MAX_FIELDS`] in all, [`MAX_EXAMPLES`]
//! examples of a field. What has no room is counted under the endpoint `*` or the field `(other fields)`.

mod field;
mod rows;

use std::collections::HashMap;

use tap_expr::endpoint::{Endpoint, OTHER};

use super::difference::{Difference, Differences};
use field::Field;
pub(crate) use rows::Baseline;

/// A service has hundreds of endpoints.
const MAX_ENDPOINTS: usize = 500;
/// Fields of an endpoint, the last of which stands for all others: a set of them is one `u64`.
const FIELDS: usize = 64;
const OTHER_FIELDS: &str = "(other fields)";
/// Fields in all: with their examples some 2 MiB at most, which is what one message of a report may take.
const MAX_FIELDS: usize = 2_000;
/// Examples of one field: to see what it is about.
const MAX_EXAMPLES: usize = 3;
/// Sets of fields that answers differ in, of one endpoint. Answers beyond count as if they differed in a field
/// that is not noise.
const MAX_SETS: usize = 1_024;
/// Methods that are told apart; a hostile client invents more.
const MAX_METHODS: usize = 32;

/// A method by its number, and an endpoint.
type Key = (u8, Endpoint);

/// The findings of one comparison.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    methods: Vec<Box<str>>,
    endpoints: HashMap<Key, Answers>,
    fields: usize,
    dynamic: [u64; super::dynamic::Class::COUNT],
    redacted: u64,
    /// Whether anything was given to [`Self::add_noise`].
    has_noise: bool,
}

/// The answers of one endpoint.
#[derive(Clone, Debug, Default)]
struct Answers {
    answered: u64,
    differed: u64,
    /// Answers of which the noise was seen.
    noise_answered: u64,
    fields: Vec<Field>,
    /// By the fields that they differ in.
    sets: HashMap<u64, u64>,
    /// Answers beyond [`MAX_SETS`].
    beyond_sets: u64,
    latency_sum_us: u64,
    latency_max_us: u64,
}

impl Findings {
    /// One answer, and what it differs in.
    pub(crate) fn add(
        &mut self,
        method: &str,
        endpoint: Endpoint,
        exchange_id: &str,
        differences: &Differences,
        latency_us: u64,
    ) {
        for (sum, count) in self.dynamic.iter_mut().zip(differences.dynamic) {
            *sum += u64::from(count);
        }
        self.redacted += u64::from(differences.redacted);
        let (answers, fields) = self.answers(method, endpoint);
        answers.answered += 1;
        answers.latency_sum_us = answers.latency_sum_us.saturating_add(latency_us);
        answers.latency_max_us = answers.latency_max_us.max(latency_us);
        if differences.list.is_empty() {
            return;
        }
        answers.differed += 1;
        let sequence = answers.answered;
        let mut set = 0;
        for difference in &differences.list {
            let index = answers.field(&difference.field, fields);
            if set & 1 << index == 0 {
                set |= 1 << index;
                answers.fields[index].add(difference, exchange_id, sequence);
            }
        }
        answers.add_set(set, 1);
    }

    /// What the answer of an unchanged server differs in.
    pub(crate) fn add_noise(&mut self, method: &str, endpoint: Endpoint, differences: &Differences) {
        self.has_noise = true;
        let (answers, fields) = self.answers(method, endpoint);
        answers.noise_answered += 1;
        let mut set = 0_u64;
        for Difference { field, .. } in &differences.list {
            let index = answers.field(field, fields);
            if set & 1 << index == 0 {
                set |= 1 << index;
                answers.fields[index].noise += 1;
            }
        }
    }

    fn answers(&mut self, method: &str, endpoint: Endpoint) -> (&mut Answers, &mut usize) {
        let method = self.method(method);
        let mut key = (method, endpoint);
        if self.endpoints.len() >= MAX_ENDPOINTS && !self.endpoints.contains_key(&key) {
            key = (method, OTHER);
        }
        (self.endpoints.entry(key).or_default(), &mut self.fields)
    }

    fn method(&mut self, method: &str) -> u8 {
        let known = self.methods.iter().position(|known| **known == *method);
        let index = known.unwrap_or_else(|| {
            if self.methods.len() < MAX_METHODS {
                let last = self.methods.len() + 1 == MAX_METHODS;
                self.methods.push(if last { "*" } else { method }.into());
            }
            self.methods.len() - 1
        });
        index as u8
    }
}

impl Answers {
    /// The index of a field, which gets a place where there is one; `fields` counts those of all endpoints.
    fn field(&mut self, name: &str, fields: &mut usize) -> usize {
        if let Some(known) = self.fields.iter().position(|field| field.name == name) {
            return known;
        }
        if self.fields.len() < FIELDS - 1 && *fields < MAX_FIELDS {
            *fields += 1;
            self.fields.push(Field::new(name));
            return self.fields.len() - 1;
        }
        match self.fields.iter().position(|field| field.name == OTHER_FIELDS) {
            Some(known) => known,
            None => {
                self.fields.push(Field::new(OTHER_FIELDS));
                self.fields.len() - 1
            }
        }
    }

    fn add_set(&mut self, set: u64, count: u64) {
        if self.sets.len() < MAX_SETS || self.sets.contains_key(&set) {
            *self.sets.entry(set).or_default() += count;
        } else {
            self.beyond_sets += count;
        }
    }

    /// Takes what another endpoint counted that turned out to be this one.
    fn merge(&mut self, other: Self) {
        let Self {
            answered,
            differed,
            noise_answered,
            fields,
            sets,
            beyond_sets,
            latency_sum_us,
            latency_max_us,
        } = other;
        self.answered += answered;
        self.differed += differed;
        self.noise_answered += noise_answered;
        self.beyond_sets += beyond_sets;
        self.latency_sum_us = self.latency_sum_us.saturating_add(latency_sum_us);
        self.latency_max_us = self.latency_max_us.max(latency_max_us);
        let mut unbounded = 0;
        let places: Vec<usize> = fields
            .into_iter()
            .map(|field| {
                let index = self.field(&field.name, &mut unbounded);
                self.fields[index].merge(field);
                index
            })
            .collect();
        for (set, count) in sets {
            let moved = places.iter().enumerate().filter(|(index, _)| set & 1 << index != 0);
            let set = moved.fold(0_u64, |set, (_, place)| set | 1 << place);
            self.add_set(set, count);
        }
    }
}

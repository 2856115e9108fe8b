//! Findings as they stand in a report.

use std::collections::{BTreeMap, HashMap};

use tap_expr::endpoint::Templates;
use tap_proto::v1::{EndpointComparison, FieldDifference, ReplayReport};

use super::{Answers, Findings, Key, field::Field};
use crate::compare::{
    difference::Kind,
    dynamic::{Class, Classes},
    noise::Thresholds,
};

const NOISE_OF_SECONDARY: &str = "secondary";
const NOISE_OF_BASELINE: &str = "baseline";

/// The noise that an earlier replay at an unchanged server showed: answers and differing ones, by method, path
/// and field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baseline(HashMap<(String, String), (u64, HashMap<String, u64>)>);

impl Baseline {
    pub(crate) fn of(report: &ReplayReport) -> Self {
        let endpoints = report.endpoints.iter().map(|endpoint| {
            let fields = endpoint.fields.iter().map(|field| (field.field.clone(), field.differences));
            let key = (endpoint.method.clone(), endpoint.path.clone());
            (key, (endpoint.answered, fields.collect()))
        });
        Self(endpoints.collect())
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|(_, path)| path.as_str())
    }

    /// Of a hundred answers of an endpoint, how many differ in a field; `None` where the endpoint is unknown.
    fn share(&self, method: &str, path: &str, field: &str) -> Option<f64> {
        let (answered, fields) = self.0.get(&(method.to_owned(), path.to_owned()))?;
        let differing = fields.get(field).copied().unwrap_or_default();
        (*answered > 0).then(|| differing as f64 / *answered as f64)
    }
}

impl Findings {
    /// Writes what was found into `report`.
    pub(crate) fn fill(
        &self,
        templates: &Templates,
        thresholds: Thresholds,
        classes: Classes,
        baseline: Option<&Baseline>,
        report: &mut ReplayReport,
    ) {
        let mut merged: HashMap<Key, Answers> = HashMap::new();
        for (&(method, endpoint), answers) in &self.endpoints {
            merged.entry((method, templates.resolve(endpoint))).or_default().merge(answers.clone());
        }
        report.endpoints = merged
            .into_iter()
            .map(|((method, endpoint), answers)| {
                let method = self.methods.get(usize::from(method)).map_or("*", |method| method);
                let path = templates.template(endpoint);
                let noise = Noise { has_secondary: self.has_noise, baseline, method, path: &path };
                answers.row(&noise, thresholds, classes)
            })
            .collect();
        report.endpoints.sort_by(|one, other| {
            let key = |row: &EndpointComparison| (row.mismatches, row.differed, row.answered);
            key(other)
                .cmp(&key(one))
                .then_with(|| (&one.path, &one.method).cmp(&(&other.path, &other.method)))
        });
        report.mismatches = report.endpoints.iter().map(|row| row.mismatches).sum();
        report.dynamic = counts(Class::ALL.map(Class::as_str).into_iter().zip(self.dynamic));
        report.redacted_values = self.redacted;
        let source = match (self.has_noise, baseline) {
            (true, _) => NOISE_OF_SECONDARY,
            (false, Some(_)) => NOISE_OF_BASELINE,
            (false, None) => "",
        };
        report.noise_source = source.to_owned();
        self.fill_headers(report);
    }

    /// Header fields by name: an answer counts once under each, as a whole of all endpoints.
    fn fill_headers(&self, report: &mut ReplayReport) {
        let known = report.mismatched.remove(super::super::OTHER_HEADER);
        if known.is_none() {
            return;
        }
        for row in &report.endpoints {
            for field in row.fields.iter().filter(|field| field.field != super::super::CONTENT_TYPE) {
                // Of cookies, each is a field.
                let Some(header) = field.field.strip_prefix("header.") else { continue };
                let name = header.split(['.', ' ']).next().unwrap_or_default();
                let count = report.mismatched.entry(format!("header.{name}")).or_default();
                *count += field.differences;
            }
        }
    }
}

/// Where the noise of one endpoint is known from.
struct Noise<'a> {
    has_secondary: bool,
    baseline: Option<&'a Baseline>,
    method: &'a str,
    path: &'a str,
}

impl Answers {
    fn row(&self, noise: &Noise<'_>, thresholds: Thresholds, classes: Classes) -> EndpointComparison {
        let answered = self.answered as f64;
        let mut real = 0_u64;
        let mut fields: Vec<FieldDifference> = Vec::new();
        for (index, field) in self.fields.iter().enumerate() {
            let expected_noise = if noise.has_secondary {
                let seen = self.noise_answered.max(1) as f64;
                Some(field.noise as f64 * answered / seen)
            } else {
                noise
                    .baseline
                    .and_then(|baseline| baseline.share(noise.method, noise.path, &field.name))
                    .map(|share| share * answered)
            };
            let learned =
                expected_noise.is_some_and(|noise| !thresholds.differs(field.raw as f64, noise, answered));
            // Where noise was learned, it tells: what an unchanged server answers alike is no counter.
            let counter = expected_noise.is_none()
                && classes.contains(Class::Counter)
                && field.is_counter(self.answered);
            if !learned && !counter {
                real |= 1 << index;
            }
            if field.raw > 0 || field.noise > 0 {
                let reason = if learned {
                    "learned"
                } else if counter {
                    "counter"
                } else {
                    ""
                };
                fields.push(field.row(expected_noise.unwrap_or_default(), reason));
            }
        }
        fields.sort_by(|one, other| {
            (one.is_noise, other.differences, &one.field).cmp(&(
                other.is_noise,
                one.differences,
                &other.field,
            ))
        });
        let mismatches = self.sets.iter().filter(|(set, _)| **set & real != 0).map(|(_, count)| count);
        EndpointComparison {
            method: noise.method.to_owned(),
            path: noise.path.to_owned(),
            answered: self.answered,
            differed: self.differed,
            mismatches: mismatches.sum::<u64>() + self.beyond_sets,
            fields,
            latency_sum_us: self.latency_sum_us,
            latency_max_us: self.latency_max_us,
        }
    }
}

impl Field {
    fn row(&self, noise: f64, reason: &str) -> FieldDifference {
        FieldDifference {
            field: self.name.clone(),
            differences: self.raw,
            noise: noise.round() as u64,
            is_noise: !reason.is_empty(),
            kinds: counts(Kind::ALL.map(Kind::as_str).into_iter().zip(self.kinds)),
            examples: self.examples.clone(),
            noise_reason: reason.to_owned(),
        }
    }
}

fn counts(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counts.filter(|(_, count)| *count > 0).map(|(word, count)| (word.to_owned(), count)).collect()
}

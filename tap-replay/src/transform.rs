//! How requests are changed before they are sent: one document of settings, checked as a whole.
//!
//! In this order: values that a recorded answer had and the live one has otherwise (variables, correlation,
//! cookies), dates, then the rules as they stand in the document. What a change can't do (a body that is no
//! JSON, a variable that no answer had) is counted by reason, and the request is sent without it.

mod correlate;
mod dates;
mod jwt;
mod place;
mod rule;
mod settings;
mod substitution;

use std::{collections::BTreeMap, time::SystemTime};

use tap_expr::Condition;
use tap_proto::v1::Exchange;

pub use self::settings::{Settings, SettingsError};
pub(crate) use self::substitution::Substitution;
use self::{place::Place, rule::Rule};
use crate::{answer::Answer, request::Draft};

/// A reason why a change was left out.
pub(crate) type Problem = &'static str;

const VARIABLE_NOT_FOUND: Problem = "variable_not_found";

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Transform {
    pub(crate) cookies: bool,
    correlate: bool,
    shift_time: bool,
    variables: Vec<Variable>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Variable {
    name: String,
    when: Condition,
    place: Place,
}

/// What a session's answers have told so far.
#[derive(Default)]
pub(crate) struct Learned {
    variables: BTreeMap<String, String>,
    pub(crate) substitution: Substitution,
}

impl std::fmt::Debug for Learned {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Learned({} variables)", self.variables.len())
    }
}

impl Transform {
    /// Whether answers must be kept until they are whole.
    pub(crate) fn learns(&self) -> bool {
        self.correlate || !self.variables.is_empty()
    }

    /// Changes `draft`, the request of `exchange`, as it is to be sent `now`.
    pub(crate) fn apply(
        &self,
        exchange: &Exchange,
        draft: &mut Draft<'_>,
        learned: &Learned,
        now: SystemTime,
        problems: &mut Vec<Problem>,
    ) {
        learned.substitution.put_into(draft);
        let shift = exchange.time.and_then(|recorded| dates::Shift::new(recorded, now));
        if let Some(shift) = shift.as_ref().filter(|_| self.shift_time) {
            dates::put_into(draft, shift);
        }
        for rule in &self.rules {
            if rule.when.matches(exchange) {
                rule.apply(draft, &learned.variables, shift.as_ref(), problems);
            }
        }
    }

    /// Takes from the answer to `exchange` what later requests of the session need.
    pub(crate) fn learn(
        &self,
        exchange: &Exchange,
        answer: &Answer,
        learned: &mut Learned,
        problems: &mut Vec<Problem>,
    ) {
        for variable in &self.variables {
            if !variable.when.matches(exchange) {
                continue;
            }
            let Some(live) = variable.place.of_answer(answer) else {
                problems.push(VARIABLE_NOT_FOUND);
                continue;
            };
            if let Some(recorded) = variable.place.of_recorded(exchange) {
                learned.substitution.add(&recorded, &live);
            }
            learned.variables.insert(variable.name.clone(), live);
        }
        if self.correlate {
            correlate::learn(exchange, answer, &mut learned.substitution);
        }
    }
}

#[cfg(test)]
mod tests;

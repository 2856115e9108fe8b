//! Two documents, member by member and element by element.

use std::collections::HashMap;

use tap_expr::endpoint::is_variable;

use super::{
    array::{Order, align},
    difference::{Differences, Kind},
    document::{Json, Number},
    pattern::{Step, place},
    redacted::Redacted,
    settings::{Rules, Tolerance},
};

/// Compares `left`, what is expected, with `right`. Differences are named below `prefix`.
pub(super) fn compare(
    left: &Json<'_>,
    right: &Json<'_>,
    rules: &Rules,
    redacted: &Redacted<'_>,
    prefix: &str,
    differences: &mut Differences,
) {
    let mut walk = Walk { rules, redacted, prefix, steps: Vec::new(), differences };
    walk.values(left, right);
}

struct Walk<'a, 'c> {
    rules: &'c Rules,
    redacted: &'c Redacted<'c>,
    prefix: &'c str,
    steps: Vec<Step<'a>>,
    differences: &'c mut Differences,
}

impl<'a> Walk<'a, '_> {
    /// Recursion is bounded by the parser's depth.
    fn values(&mut self, left: &'a Json<'a>, right: &'a Json<'a>) {
        if self.differences.is_full() || self.rules.ignores(&self.steps) {
            return;
        }
        match (left, right) {
            (Json::Object(left), Json::Object(right)) => self.objects(left, right),
            (Json::Array(left), Json::Array(right)) => self.arrays(left, right),
            (Json::Null, Json::Null) => {}
            (Json::Bool(one), Json::Bool(other)) if one == other => {}
            (Json::Text(one), Json::Text(other)) if one == other => {}
            (Json::Number(one), Json::Number(other)) if one.equals(*other) => {}
            _ if self.redacted.in_body(&self.steps) && is_replaced_by(left, right) => {
                self.differences.redacted = self.differences.redacted.saturating_add(1);
            }
            (Json::Number(one), Json::Number(other)) => self.numbers(*one, *other),
            (Json::Text(one), Json::Text(other)) => {
                let class = if self.rules.is_exact(&self.steps) {
                    None
                } else {
                    self.rules.classes.common(one, other)
                };
                match class {
                    Some(class) => self.differences.dynamic(class),
                    None => self.differs(Kind::Value, Some(left), Some(right)),
                }
            }
            (Json::Bool(_), Json::Bool(_)) => self.differs(Kind::Value, Some(left), Some(right)),
            _ => {
                let shown = |json: &Json<'_>| match json {
                    Json::Null => "null".to_owned(),
                    json => format!("{} {}", json.type_name(), json.shown()),
                };
                let (left, right) = (shown(left), shown(right));
                self.differences.add(&self.place(), Kind::Type, &left, &right);
            }
        }
    }

    fn numbers(&mut self, left: Number, right: Number) {
        let exact = self.rules.is_exact(&self.steps);
        if !exact && self.rules.tolerance(&self.steps).accepts(left.as_f64(), right.as_f64()) {
            return;
        }
        if let (false, Some(one), Some(other)) = (exact, left.as_i64(), right.as_i64())
            && self.rules.classes.are_times(one, other)
        {
            return self.differences.dynamic(super::dynamic::Class::Timestamp);
        }
        let place = self.place();
        // What must be equal exactly is no counter.
        let numbers = (!exact).then_some((left.as_f64(), right.as_f64()));
        self.differences.add_numbers(&place, Kind::Value, &left.to_string(), &right.to_string(), numbers);
    }

    fn objects(
        &mut self,
        left: &'a [(std::borrow::Cow<'a, str>, Json<'a>)],
        right: &'a [(std::borrow::Cow<'a, str>, Json<'a>)],
    ) {
        // A repeated name belongs to the next of its kind on the other side.
        let mut places: HashMap<&str, Vec<usize>> = HashMap::with_capacity(right.len());
        for (index, (name, _)) in right.iter().enumerate().rev() {
            places.entry(name.as_ref()).or_default().push(index);
        }
        let mut missing = Vec::new();
        for (name, value) in left {
            match places.get_mut(name.as_ref()).and_then(Vec::pop) {
                Some(index) => self.below(Step::Name(name), |walk| walk.values(value, &right[index].1)),
                None => missing.push((name, value)),
            }
        }
        let mut added: Vec<usize> = places.into_values().flatten().collect();
        added.sort_unstable();
        // Names that are ids, one of each side, stand for each other: `{"<id>": {…}}`.
        let mut variable = added
            .iter()
            .copied()
            .filter(|index| is_variable(&right[*index].0))
            .collect::<Vec<_>>()
            .into_iter();
        for (name, value) in missing {
            let partner = if is_variable(name) { variable.next() } else { None };
            match partner {
                Some(index) => {
                    added.retain(|other| *other != index);
                    self.below(Step::Name(name), |walk| walk.values(value, &right[index].1));
                }
                None => self.below(Step::Name(name), |walk| walk.missing(value)),
            }
        }
        for index in added {
            let (name, value) = &right[index];
            self.below(Step::Name(name), |walk| {
                if !walk.rules.ignores(&walk.steps) {
                    walk.differs(Kind::Added, None, Some(value));
                }
            });
        }
    }

    fn missing(&mut self, value: &Json<'_>) {
        if !self.rules.ignores(&self.steps) {
            self.differs(Kind::Missing, Some(value), None);
        }
    }

    fn arrays(&mut self, left: &'a [Json<'a>], right: &'a [Json<'a>]) {
        let order = self.rules.order(&self.steps);
        let alignment = align(left, right, order);
        if alignment.reordered && *order == Order::Auto {
            // A field of its own: where the order is noise, elements are compared all the same.
            let place = format!("{} (order)", self.place());
            self.differences.add(&place, Kind::Order, "", "");
        }
        for (one, other) in alignment.pairs {
            self.below(Step::Element, |walk| match (one, other) {
                (Some(one), Some(other)) => walk.values(&left[one], &right[other]),
                (Some(one), None) => walk.missing(&left[one]),
                (None, Some(other)) if !walk.rules.ignores(&walk.steps) => {
                    walk.differs(Kind::Added, None, Some(&right[other]));
                }
                _ => {}
            });
        }
    }

    fn below(&mut self, step: Step<'a>, compare: impl FnOnce(&mut Self)) {
        self.steps.push(step);
        compare(self);
        self.steps.pop();
    }

    fn differs(&mut self, kind: Kind, left: Option<&Json<'_>>, right: Option<&Json<'_>>) {
        let shown = |json: Option<&Json<'_>>| json.map(|json| json.shown().into_owned()).unwrap_or_default();
        let place = self.place();
        self.differences.add(&place, kind, &shown(left), &shown(right));
    }

    fn place(&self) -> String {
        place(self.prefix, &self.steps)
    }
}

/// Whether redaction may have put `left` in the place of what `right` is: a token has the type of what it
/// stands for, but for what an action makes of it.
fn is_replaced_by(left: &Json<'_>, right: &Json<'_>) -> bool {
    match left {
        // Dropped, or a boolean under `hash`.
        Json::Null => true,
        Json::Bool(_) => matches!(right, Json::Bool(_)),
        // A hashed number is a string.
        Json::Text(_) => matches!(right, Json::Text(_) | Json::Number(_)),
        Json::Number(_) => matches!(right, Json::Number(_)),
        Json::Array(_) | Json::Object(_) => false,
    }
}

impl Tolerance {
    fn accepts(&self, left: f64, right: f64) -> bool {
        let distance = (left - right).abs();
        distance <= self.absolute || distance <= self.relative * left.abs().max(right.abs())
    }
}

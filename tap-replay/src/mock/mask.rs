//! Fields of a body that are not compared: what redaction replaced there, and what settings say changes anyway.
//!
//! A path is written as in the record of a redaction, `$.users[].email`, or as it is usual, `$.users[*].email`,
//! `$['first name']`, `$..requestId`.

use std::str::FromStr;

/// Longer ones are no field of a body that anybody compares.
const MAX_STEPS: usize = 128;

/// A place in a structured body.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    Name(String),
    /// Redaction records names that may be data themselves so.
    AnyName,
    /// Any element of an array.
    Element,
    /// Any number of levels.
    Below,
}

/// Why a path can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no field of a body; $.order.id, $.items[*].time and $..requestId are")]
pub struct FieldPathError(String);

/// What is not compared of one kind of body; sorted, so that equal ones are one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Mask(Vec<FieldPath>);

/// The rests of a mask's paths below some place of a body.
#[derive(Clone, Debug)]
pub(super) struct Active<'m>(Vec<&'m [Step]>);

/// One level down.
#[derive(Clone, Copy)]
pub(super) enum Child<'c> {
    Name(&'c str),
    Element,
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FieldPathError(text.to_owned());
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        if rest.len() == text.len() && !rest.starts_with(['.', '[']) {
            // `order.id`, as in the record of a form.
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(name(&rest[..end]).ok_or_else(wrong)?);
            rest = &rest[end..];
        }
        while !rest.is_empty() {
            if steps.len() >= MAX_STEPS {
                return Err(wrong());
            }
            if let Some(quoted) = rest.strip_prefix("['") {
                let end = quoted.find("']").ok_or_else(wrong)?;
                steps.push(Step::Name(quoted[..end].to_owned()));
                rest = &quoted[end + 2..];
            } else if let Some(index) = rest.strip_prefix('[') {
                let end = index.find(']').ok_or_else(wrong)?;
                let index_is_any = matches!(&index[..end], "" | "*");
                if !index_is_any && !index[..end].bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(wrong());
                }
                steps.push(Step::Element);
                rest = &index[end + 1..];
            } else {
                let below = rest.strip_prefix("..");
                if below.is_some() {
                    steps.push(Step::Below);
                }
                let named = below.or_else(|| rest.strip_prefix('.')).ok_or_else(wrong)?;
                let end = named.find(['.', '[']).unwrap_or(named.len());
                steps.push(name(&named[..end]).ok_or_else(wrong)?);
                rest = &named[end..];
            }
        }
        if steps.is_empty() { Err(wrong()) } else { Ok(Self(steps)) }
    }
}

impl FieldPath {
    /// The field in which a redaction was recorded, `place` being what follows `request.body.`. What lies within
    /// a value (JSON in a string) and what the record cut off count as the whole of what is above them.
    pub(super) fn of_record(place: &str) -> Option<Self> {
        let place = place.trim_end_matches('…');
        let root = place.strip_prefix('$').unwrap_or(place);
        let above = root.find(".$").map_or(root, |within| &root[..within]);
        above.trim_end_matches('.').parse().ok()
    }
}

impl Mask {
    pub(super) fn new(mut paths: Vec<FieldPath>) -> Self {
        paths.sort_unstable();
        paths.dedup();
        Self(paths)
    }

    /// From the root of a body.
    pub(super) fn active(&self) -> Active<'_> {
        Active(self.0.iter().map(|FieldPath(steps)| steps.as_slice()).collect())
    }
}

impl<'m> Active<'m> {
    /// What is left one level down; `None` where the child itself is not compared.
    pub(super) fn descend(&self, child: Child<'_>) -> Option<Self> {
        let mut below = Vec::new();
        for &path in &self.0 {
            let path = match path {
                [Step::Below, rest @ ..] => {
                    below.push(path);
                    rest
                }
                path => path,
            };
            let [first, rest @ ..] = path else { continue };
            if first.is(child) {
                if rest.is_empty() {
                    return None;
                }
                below.push(rest);
            }
        }
        Some(Self(below))
    }
}

impl Step {
    fn is(&self, child: Child<'_>) -> bool {
        match (self, child) {
            (Self::Name(name), Child::Name(child)) => name == child,
            (Self::AnyName, Child::Name(_)) | (Self::Element, Child::Element) => true,
            _ => false,
        }
    }
}

fn name(name: &str) -> Option<Step> {
    match name {
        "" => None,
        "*" => Some(Step::AnyName),
        name => Some(Step::Name(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(path: &str, place: &[Child<'_>]) -> bool {
        let mask = Mask::new(vec![path.parse().unwrap()]);
        let mut active = mask.active();
        for child in place {
            match active.descend(*child) {
                Some(below) => active = below,
                None => return true,
            }
        }
        false
    }

    #[test]
    fn paths_are_read_in_each_spelling() {
        use Child::{Element, Name};
        for path in ["$.a[].b", "$.a[*].b", "$.a[0].b", "a[].b", "$['a'][].b", "$..b", "$.a[].*"] {
            assert!(masked(path, &[Name("a"), Element, Name("b")]), "{path}");
            assert!(!masked(path, &[Name("a"), Element]), "{path}");
        }
        assert!(masked("$.a", &[Name("a"), Element, Name("b")]), "what is below is masked, too");
        assert!(!masked("$.b", &[Name("a"), Name("b")]));
        assert!(masked("$..a.b", &[Name("a"), Name("a"), Name("b")]));
        for wrong in ["", "$", "$.", "$..", "$[", "$[x]", "$['a", "$a..b."] {
            assert!(wrong.parse::<FieldPath>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_record_of_a_redaction_is_a_path() {
        let of = |place: &str| FieldPath::of_record(place);
        assert_eq!(of("$.users[].email"), "$.users[].email".parse().ok());
        assert_eq!(of("password"), "$.password".parse().ok());
        assert_eq!(of("$.payload.$.card"), "$.payload".parse().ok());
        assert_eq!(of("$.a.*"), "$.a.*".parse().ok());
        assert_eq!(of("$.a.b…"), "$.a.b".parse().ok());
        assert_eq!(of("$"), None);
    }
}

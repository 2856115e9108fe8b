//! Places of a JSON document: `$.users[*].name`, `$..nick`, `$['first name']`, `$.items[0]`.
//!
//! A path leads to a value through its names exactly as the document spells them, escapes aside. `..` is any
//! number of levels, `*` any one member or element.

/// Most steps of a path.
const MAX_STEPS: usize = 32;

#[derive(Debug)]
pub(super) struct JsonPath(Vec<Step>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(Vec<u8>),
    Index(u64),
    Any,
    /// Any number of levels.
    Levels,
}

/// The way to a value, as its walker keeps it.
pub(crate) struct JsonPlace<'p> {
    /// From the root down: the level's name, without escapes, or its index.
    pub(crate) level: &'p dyn Fn(usize) -> JsonStep<'p>,
    pub(crate) depth: usize,
    /// The level at which the document begins that the value is in: not 0 where that is the text of a string.
    pub(crate) document: usize,
}

pub(crate) enum JsonStep<'p> {
    Name(std::borrow::Cow<'p, [u8]>),
    Index(u64),
}

impl JsonPath {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rest =
            text.strip_prefix('$').ok_or("column 1: must begin with `$`, as in $.users[*].name")?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let column = text.chars().count() - rest.chars().count() + 1;
            let wrong = |problem: &str| Err(format!("column {column}: {problem}"));
            if let Some(after) = rest.strip_prefix("..") {
                if !after.starts_with(|c: char| c == '*' || c == '[' || is_name_char(c)) {
                    return wrong("`..` needs a name or `*` after it");
                }
                steps.push(Step::Levels);
                if after.starts_with('[') {
                    rest = after;
                    continue;
                }
                rest = name(after, &mut steps);
            } else if let Some(after) = rest.strip_prefix('.') {
                if !after.starts_with(|c: char| c == '*' || is_name_char(c)) {
                    return wrong("`.` needs a name or `*` after it; quote other names: ['first name']");
                }
                rest = name(after, &mut steps);
            } else if let Some(after) = rest.strip_prefix('[') {
                let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
                let (step, after) = match quote {
                    Some(quote) => match after[1..].split_once(quote) {
                        Some((name, after)) => {
                            (Step::Name(name.as_bytes().to_vec()), after.strip_prefix(']'))
                        }
                        None => return wrong("the quote is not closed"),
                    },
                    None => match after.split_once(']') {
                        Some(("*", after)) => (Step::Any, Some(after)),
                        Some((index, after)) => match index.parse() {
                            Ok(index) => (Step::Index(index), Some(after)),
                            Err(_) => return wrong("in brackets stands a number, `*` or a name in quotes"),
                        },
                        None => return wrong("the bracket is not closed"),
                    },
                };
                let Some(after) = after else { return wrong("the bracket is not closed") };
                steps.push(step);
                rest = after;
            } else {
                return wrong("expected `.`, `..` or `[`");
            }
        }
        if steps.len() > MAX_STEPS {
            return Err(format!("has more than {MAX_STEPS} steps"));
        }
        Ok(Self(steps))
    }

    /// Whether the path leads to this place: from the root of the body, through strings that are JSON, or from that
    /// of the document that such a string is.
    pub(super) fn leads_to(&self, place: &JsonPlace<'_>) -> bool {
        self.leads_from(0, place) || place.document > 0 && self.leads_from(place.document, place)
    }

    /// As with a glob, the last `..` alone is tried again: linear in depth for each step.
    fn leads_from(&self, root: usize, place: &JsonPlace<'_>) -> bool {
        let steps = &self.0;
        let (mut step, mut level) = (0, root);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            if step < steps.len() && steps[step] == Step::Levels {
                step += 1;
                retry = Some((step, level));
                continue;
            }
            if level == place.depth && step == steps.len() {
                return true;
            }
            let fits = level < place.depth
                && match (steps.get(step), (place.level)(level)) {
                    (None, _) => false,
                    (Some(Step::Any | Step::Levels), _) => true,
                    (Some(Step::Name(wanted)), JsonStep::Name(name)) => *wanted == *name,
                    (Some(Step::Index(wanted)), JsonStep::Index(index)) => *wanted == index,
                    (Some(Step::Name(_) | Step::Index(_)), _) => false,
                };
            if fits {
                step += 1;
                level += 1;
                continue;
            }
            match &mut retry {
                Some((after, from)) if *from < place.depth => {
                    *from += 1;
                    (step, level) = (*after, *from);
                }
                _ => return false,
            }
        }
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// A name without quotes, or `*`; what follows it.
fn name<'t>(text: &'t str, steps: &mut Vec<Step>) -> &'t str {
    if let Some(rest) = text.strip_prefix('*') {
        steps.push(Step::Any);
        return rest;
    }
    let end = text.find(|c| !is_name_char(c)).unwrap_or(text.len());
    steps.push(Step::Name(text.as_bytes()[..end].to_vec()));
    &text[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(path: &str, to: &[&str]) -> bool {
        let level = |at: usize| match to[at].parse() {
            Ok(index) => JsonStep::Index(index),
            Err(_) => JsonStep::Name(to[at].as_bytes().into()),
        };
        JsonPath::parse(path).unwrap().leads_to(&JsonPlace { level: &level, depth: to.len(), document: 0 })
    }

    #[test]
    fn a_path_leads_to_places() {
        for (path, to, expected) in [
            ("$", &[][..], true),
            ("$", &["a"], false),
            ("$.a", &["a"], true),
            ("$.a", &["a", "b"], false),
            ("$.users[*].name", &["users", "3", "name"], true),
            ("$.users[3].name", &["users", "3", "name"], true),
            ("$.users[4].name", &["users", "3", "name"], false),
            ("$['first name']", &["first name"], true),
            ("$..name", &["name"], true),
            ("$..name", &["a", "0", "name"], true),
            ("$..name", &["a", "name", "b"], false),
            ("$.a..b..c", &["a", "x", "b", "y", "b", "c"], true),
            ("$.a..b..c", &["a", "x", "y", "c"], false),
            ("$.a..*", &["a", "x", "y"], true),
            ("$.a..*", &["a"], false),
            ("$.*", &["a"], true),
        ] {
            assert_eq!(leads(path, to), expected, "{path} {to:?}");
        }
    }

    #[test]
    fn errors_have_a_column() {
        for (path, column) in [("a", 1), ("$a", 2), ("$.a.", 4), ("$.a[x]", 4), ("$['a", 2), ("$..", 2)] {
            let error = JsonPath::parse(path).unwrap_err();
            assert!(error.starts_with(&format!("column {column}: ")), "{path}: {error}");
        }
    }
}

//! Places of a document: `$.items[].price`, as settings name them and as differences are reported.

use tap_expr::endpoint::is_variable;

/// One step of a place under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Name(&'a str),
    Element,
}

/// Which places are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Name(String),
    /// `*`: any name, or any element.
    Any,
    /// `[]`, `[*]` or an index: which element it is does not matter.
    Element,
    /// `..`: any steps, or none.
    Deep,
}

/// Longest pattern, in parts: matching takes their product with a place's depth.
const MAX_PARTS: usize = 64;

impl Pattern {
    /// Reads `$.a.b`, `$.a[].b`, `$..b`, `$.*`, `$['a name']`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut rest = text.trim().strip_prefix('$').ok_or("must begin with `$`")?;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                parts.push(Part::Deep);
                // A name follows without a dot of its own.
                if !after.starts_with('[') {
                    rest = name(after, &mut parts)?;
                    continue;
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                rest = name(after, &mut parts)?;
            } else if let Some(after) = rest.strip_prefix('[') {
                let quote = after.chars().next().filter(|first| matches!(first, '\'' | '"'));
                if let Some(quote) = quote {
                    let (name, after) = after[1..].split_once(quote).ok_or("the quote is not closed")?;
                    parts.push(Part::Name(name.to_owned()));
                    rest = after.strip_prefix(']').ok_or("`]` must follow the quote")?;
                } else {
                    let (index, after) = after.split_once(']').ok_or("`[` is not closed")?;
                    if !(index.is_empty() || index == "*" || index.bytes().all(|byte| byte.is_ascii_digit()))
                    {
                        return Err("between `[` and `]` can be nothing, `*`, an index or a quoted name");
                    }
                    parts.push(Part::Element);
                    rest = after;
                }
            } else {
                return Err("`.` or `[` must follow");
            }
            if parts.len() > MAX_PARTS {
                return Err("has too many parts");
            }
        }
        Ok(Self(parts))
    }

    /// Whether a place below `steps` may be meant.
    pub(super) fn is_below(&self, steps: &[Step<'_>]) -> bool {
        let fits = |(part, step): (&Part, &Step<'_>)| match (part, step) {
            (Part::Name(name), Step::Name(found)) => name == found,
            (Part::Any, _) | (Part::Element, Step::Element) => true,
            _ => false,
        };
        let plain = self.0.iter().take_while(|part| **part != Part::Deep).count();
        let common = plain.min(steps.len());
        self.0[..common].iter().zip(steps).all(fits) && (plain < self.0.len() || steps.len() < plain)
    }

    pub(super) fn matches(&self, steps: &[Step<'_>]) -> bool {
        matches(&self.0, steps)
    }
}

fn name<'a>(rest: &'a str, parts: &mut Vec<Part>) -> Result<&'a str, &'static str> {
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    match &rest[..end] {
        "" => return Err("a name is missing"),
        "*" => parts.push(Part::Any),
        name => parts.push(Part::Name(name.to_owned())),
    }
    Ok(&rest[end..])
}

/// Without recursion, so that several `..` stay cheap: the last one is where a mismatch goes back to.
fn matches(parts: &[Part], steps: &[Step<'_>]) -> bool {
    let (mut part, mut step) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let fits = match (parts.get(part), steps.get(step)) {
            (None, None) => return true,
            (Some(Part::Deep), _) => {
                back = Some((part + 1, step));
                part += 1;
                continue;
            }
            (Some(Part::Name(name)), Some(Step::Name(found))) => name == found,
            (Some(Part::Any), Some(_)) | (Some(Part::Element), Some(Step::Element)) => true,
            _ => false,
        };
        if fits {
            part += 1;
            step += 1;
            continue;
        }
        match &mut back {
            Some((after_deep, from)) if *from < steps.len() => {
                *from += 1;
                (part, step) = (*after_deep, *from);
            }
            _ => return false,
        }
    }
}

/// A place as it is reported. Names that look like ids are `{id}`, so that a field is one whatever they are.
pub(super) fn place(prefix: &str, steps: &[Step<'_>]) -> String {
    let mut place = format!("{prefix}$");
    for step in steps {
        match step {
            Step::Element => place.push_str("[]"),
            Step::Name(name) if is_variable(name) => place.push_str(".{id}"),
            Step::Name(name) => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
                if !name.is_empty() && name.bytes().all(plain) {
                    place.push('.');
                    place.push_str(name);
                } else {
                    place.push_str("['");
                    place.push_str(name);
                    place.push_str("']");
                }
            }
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: &[Step<'_>] = &[Step::Name("items"), Step::Element, Step::Name("price")];

    #[test]
    fn patterns_name_places() {
        for (pattern, matches) in [
            ("$.items[].price", true),
            ("$.items[*].price", true),
            ("$.items[0].price", true),
            ("$..price", true),
            ("$..items..price", true),
            ("$.*.*.price", true),
            ("$['items'][].price", true),
            ("$", false),
            ("$.items", false),
            ("$.items.price", false),
            ("$..items", false),
            ("$.items[].price.cents", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(PRICE), matches, "{pattern}");
        }
        for wrong in [
            "items",
            "$..",
            "$items",
            "$.",
            "$.a.",
            "$[",
            "$['a",
            "$['a'",
            "$[a]",
            &format!("${}", ".a".repeat(100)),
        ] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_read_like_patterns() {
        assert_eq!(place("body.", PRICE), "body.$.items[].price");
        assert_eq!(place("", &[Step::Name("a b"), Step::Name("4711"), Step::Name("c")]), "$['a b'].{id}.c");
    }
}

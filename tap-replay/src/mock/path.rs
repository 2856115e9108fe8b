//! Paths with the parts that change from request to request taken out.

/// A path's template: as a person gave it, or guessed from the looks of its segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate(Vec<String>);

/// Why a template can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no template of a path; /users/{{id}}/orders is")]
pub struct PathTemplateError(String);

const VARIABLE: &str = "{}";
/// Longer runs of letters and digits are no words.
const LONGEST_WORD: usize = 20;

impl std::str::FromStr for PathTemplate {
    type Err = PathTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with('/') || text.contains(['?', '#']) {
            return Err(PathTemplateError(text.to_owned()));
        }
        let segments = text.split('/').map(|segment| {
            let is_variable = segment.starts_with('{') && segment.ends_with('}');
            if is_variable { VARIABLE.to_owned() } else { segment.to_owned() }
        });
        Ok(Self(segments.collect()))
    }
}

impl PathTemplate {
    /// Whether `path` is of this template.
    fn is_of(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        let all = self.0.iter().all(|expected| {
            segments.next().is_some_and(|segment| {
                if expected == VARIABLE { !segment.is_empty() } else { segment == expected }
            })
        });
        all && segments.next().is_none()
    }
}

/// The template of `path`: the first of `given` that it is of; else segments that look like ids, numbers, dates
/// or tokens become `{}`.
pub(super) fn template(path: &str, given: &[PathTemplate]) -> String {
    if let Some(PathTemplate(segments)) = given.iter().find(|template| template.is_of(path)) {
        return segments.join("/");
    }
    let mut template = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            template.push('/');
        }
        template.push_str(if is_variable(segment) { VARIABLE } else { segment });
    }
    template
}

/// How alike two paths are: equal segments from the left, then from the right.
pub(super) fn likeness(left: &str, right: &str) -> usize {
    let (left, right): (Vec<_>, Vec<_>) =
        (left.split('/').skip(1).collect(), right.split('/').skip(1).collect());
    let common = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| {
        pairs.take_while(|(left, right)| left == right && !left.is_empty()).count()
    };
    let from_left = common(&mut left.iter().zip(&right));
    let rest = left.len().min(right.len()) - from_left;
    let from_right = common(&mut left.iter().rev().zip(right.iter().rev()).take(rest));
    from_left + from_right
}

fn is_variable(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let separators = segment.bytes().filter(|byte| b"-_.:~".contains(byte)).count();
    let others = segment.len() - digits - separators;
    // "v2" and "oauth2" are words; "2026-01-31", "12.5" and "42" are not.
    if digits > 0 && others == 0 {
        return true;
    }
    let is_hexadecimal = segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_hexadecimal && digits > 0 && segment.len() >= 8 {
        return true;
    }
    if segment.contains('@') || segment.contains("%40") {
        return true;
    }
    let longest_run = segment.split(['-', '_', '.', '~', ':']).map(str::len).max().unwrap_or_default();
    digits >= 2 && (longest_run > LONGEST_WORD || digits >= 4 && others > 0) || longest_run > 2 * LONGEST_WORD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_taken_out() {
        let guessed = |path: &str| template(path, &[]);
        for (path, expected) in [
            ("/", "/"),
            ("/users/42", "/users/{}"),
            ("/users/42/orders/2026-01-31", "/users/{}/orders/{}"),
            ("/v2/oauth2/token", "/v2/oauth2/token"),
            ("/carts/019aa6b2-5b3e-7c41-9d0e-6f1a2b3c4d5e/items", "/carts/{}/items"),
            ("/commits/f00025c1", "/commits/{}"),
            ("/users/ann%40example.com", "/users/{}"),
            ("/t/tok_9f8a7b6c5d4e3f2a1b0c", "/t/{}"),
            ("/payment-methods/default", "/payment-methods/default"),
            ("/facade/deadbeef", "/facade/deadbeef"),
        ] {
            assert_eq!(guessed(path), expected, "{path}");
        }
    }

    #[test]
    fn a_given_template_comes_first() {
        let given: Vec<PathTemplate> = vec!["/shops/{shop}/index".parse().unwrap()];
        assert_eq!(template("/shops/north/index", &given), "/shops/{}/index");
        assert_eq!(template("/shops/north", &given), "/shops/north");
        assert_eq!(template("/shops//index", &given), "/shops//index");
        assert!("users/{id}".parse::<PathTemplate>().is_err());
    }

    #[test]
    fn paths_are_alike_by_their_segments() {
        assert!(likeness("/cart/1/items", "/cart/2/items") > likeness("/cart/1/items", "/cart/2"));
        assert_eq!(likeness("/a", "/b"), 0);
        assert_eq!(likeness("/a/b", "/a/b"), 2);
        assert_eq!(likeness("/", "/"), 0);
    }
}

//! Templates of paths: `/users/{id}/orders/**`.
//!
//! Segments compare after percent-decoding. `*` is any one segment, `**` at the end any number of them, and what
//! is in braces is any one segment, which the rule is about.

use percent_encoding::percent_decode;

/// Most segments of a template.
const MAX_SEGMENTS: usize = 32;

#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// Ends in `**`.
    open: bool,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    Any,
    Marked,
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("column 1: must begin with `/`, as in /users/{id}".to_owned());
        };
        let mut segments = Vec::new();
        let mut column = 2;
        let mut open = false;
        for part in rest.split('/') {
            if open {
                return Err(format!("column {column}: nothing may follow `**`"));
            }
            let is_marked = part.starts_with('{') && part.ends_with('}') && part.len() >= 2;
            match part {
                "**" => open = true,
                "*" => segments.push(Segment::Any),
                _ if is_marked => segments.push(Segment::Marked),
                _ if part.contains(['{', '}', '*']) => {
                    return Err(format!("column {column}: a segment is a word, `*`, `**` or in braces"));
                }
                _ => segments.push(Segment::Literal(part.to_owned())),
            }
            column += part.chars().count() + 1;
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(format!("has more than {MAX_SEGMENTS} segments"));
        }
        if !segments.iter().any(|segment| matches!(segment, Segment::Marked)) {
            return Err("marks no segment: put the one that the rule is about in braces".to_owned());
        }
        Ok(Self { segments, open })
    }

    /// Whether the path is of this shape, and its segment `index` one of those that are marked.
    pub(super) fn marks(&self, path: &[u8], index: usize) -> bool {
        if !matches!(self.segments.get(index), Some(Segment::Marked)) {
            return false;
        }
        let mut parts = path_parts(path);
        let fits = self.segments.iter().all(|segment| match (segment, parts.next()) {
            (_, None) => false,
            (Segment::Literal(word), Some(part)) => percent_decode(part).eq(word.bytes()),
            (Segment::Any | Segment::Marked, Some(_)) => true,
        });
        fits && (self.open || parts.next().is_none())
    }
}

/// The segments of a path, without its first `/`.
pub(crate) fn path_parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(template: &str, path: &str) -> Vec<usize> {
        let template = Template::parse(template).unwrap();
        (0..8).filter(|index| template.marks(path.as_bytes(), *index)).collect()
    }

    #[test]
    fn a_template_marks_segments() {
        assert_eq!(marked("/users/{id}", "/users/17"), [1]);
        assert_eq!(marked("/users/{id}", "/%75sers/17"), [1]);
        assert!(marked("/users/{id}", "/users/17/orders").is_empty());
        assert_eq!(marked("/users/{id}/**", "/users/17/orders/4"), [1]);
        assert_eq!(marked("/*/{a}/x/{b}", "/t/1/x/2"), [1, 3]);
        assert!(marked("/users/{id}", "/carts/17").is_empty());
    }

    #[test]
    fn errors_have_a_column() {
        assert!(Template::parse("users/{id}").unwrap_err().starts_with("column 1:"));
        assert!(Template::parse("/a/**/{b}").unwrap_err().starts_with("column 7:"));
        assert!(Template::parse("/a/{b}c").unwrap_err().starts_with("column 4:"));
        assert!(Template::parse("/a/b").is_err());
    }
}

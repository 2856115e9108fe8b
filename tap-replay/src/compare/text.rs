//! Two texts: which lines differ, or whether only values that are new with every answer do.

use super::{
    difference::{Differences, Kind},
    dynamic::Classes,
};

/// Compares texts that are not equal, and names a difference `field`.
pub(super) fn compare(left: &str, right: &str, classes: Classes, field: &str, differences: &mut Differences) {
    let equal_at_start = left.lines().zip(right.lines()).take_while(|(left, right)| left == right).count();
    let (left_count, right_count) = (left.lines().count(), right.lines().count());
    if left_count == right_count && dynamic_only(left, right, classes, differences) {
        return;
    }
    let shorter = left_count.min(right_count) - equal_at_start;
    let equal_at_end = left
        .lines()
        .rev()
        .zip(right.lines().rev())
        .take(shorter)
        .take_while(|(left, right)| left == right)
        .count();
    let shown = |text: &str, count: usize| {
        let changed = count - equal_at_start - equal_at_end;
        let Some(line) = text.lines().nth(equal_at_start).filter(|_| changed > 0) else {
            return format!("nothing at line {}", equal_at_start + 1);
        };
        let lines = if changed == 1 { String::new() } else { format!(" and {} more", changed - 1) };
        format!("line {}{lines}: {line}", equal_at_start + 1)
    };
    differences.add(field, Kind::Text, &shown(left, left_count), &shown(right, right_count));
}

/// Whether the texts are equal word by word but for words of one class on both sides, which are counted. Not
/// where nothing at all differs by words: then it is the space between them.
pub(super) fn dynamic_only(left: &str, right: &str, classes: Classes, differences: &mut Differences) -> bool {
    let mut found = Vec::new();
    let (mut left, mut right) = (Words(left), Words(right));
    loop {
        match (left.next(), right.next()) {
            (None, None) => break,
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => match classes.common(one, other) {
                Some(class) => found.push(class),
                None => return false,
            },
            _ => return false,
        }
    }
    let any = !found.is_empty();
    found.into_iter().for_each(|class| differences.dynamic(class));
    any
}

/// The words of a text, and what is between them. A time with a space in it is two words, none of which is
/// a time: dates of that form differ.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let first = self.0.chars().next()?;
        let is_word = |character: char| !character.is_whitespace() && !"\"'<>()[]{},;=&?".contains(character);
        let end = if is_word(first) {
            self.0.find(|character| !is_word(character)).unwrap_or(self.0.len())
        } else {
            first.len_utf8()
        };
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(left: &str, right: &str) -> (Option<(String, String)>, u32) {
        let mut differences = Differences::default();
        compare(left, right, Classes::all(), "body", &mut differences);
        let first = differences.list.first();
        (
            first.map(|first| (first.expected.clone(), first.answered.clone())),
            differences.dynamic.iter().sum(),
        )
    }

    #[test]
    fn the_lines_that_differ_are_told() {
        let told = |left: &str, right: &str| Some((left.to_owned(), right.to_owned()));
        assert_eq!(compared("a\nb\nc", "a\nx\nc").0, told("line 2: b", "line 2: x"));
        assert_eq!(compared("a\nb\nc\nd", "a\nx\nd").0, told("line 2 and 1 more: b", "line 2: x"));
        assert_eq!(compared("a\nc", "a\nb\nc").0, told("nothing at line 2", "line 2: b"));
        assert_eq!(compared("a\na", "a").0, told("line 2: a", "nothing at line 2"));
        assert_eq!(compared("", "a").0, told("nothing at line 1", "line 1: a"));
        assert!(compared("a b", "a  b").0.is_some());
    }

    #[test]
    fn what_is_new_with_every_answer_is_no_difference() {
        let page = |token: &str, time: &str| {
            format!("<form>\n<input name=\"csrf\" value=\"{token}\">\n</form>\n<!-- {time} -->")
        };
        let one = page("p3Xv9Kq2LmZ8tR4wYb6N", "2026-11-21T14:05:00Z");
        let other = page("Zq8Lm2Kp9Xv3tR4wYb6N", "2026-11-21T14:05:07Z");
        assert_eq!(compared(&one, &other), (None, 2));
        assert!(compared(&one, &other.replace("form", "div")).0.is_some());
    }
}

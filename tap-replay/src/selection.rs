//! Which exchanges a replay reads.
//!
//! A request that was tapped at both ends is stored twice, once per role. A replay sends it once: only what a
//! server received is selected, unless the filter itself names `role`.

/// The filter with which exchanges are searched for a replay: `filter`, restricted to inbound exchanges
/// unless it names `role`. Both are CEL conditions; the empty one matches everything.
pub fn filter_for_replay(filter: &str) -> String {
    restricted(filter, r#"role == "inbound""#)
}

/// The same for a mock, which answers as a dependency did: restricted to outbound exchanges.
pub fn filter_for_mock(filter: &str) -> String {
    restricted(filter, r#"role == "outbound""#)
}

fn restricted(filter: &str, role: &str) -> String {
    if names_role(filter) {
        filter.to_owned()
    } else if filter.trim().is_empty() {
        role.to_owned()
    } else {
        // The closing bracket is on a line of its own, past a comment that ends the filter.
        format!("{role} && ({filter}\n)")
    }
}

/// Whether the variable `role` occurs: as an identifier outside string literals and comments that is not a
/// member of something else.
pub(crate) fn names_role(filter: &str) -> bool {
    let mut rest = filter;
    let mut follows_dot = false;
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' || first == '\'' {
            string_literal_length(rest)
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if &rest[..length] == "role" && !follows_dot {
                return true;
            }
            length
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            follows_dot = first == '.';
        }
        rest = &rest[length..];
    }
    false
}

/// Bytes of the string literal at the start of `text`, its quotes included; all of it if it doesn't end.
fn string_literal_length(text: &str) -> usize {
    let triple = &text[..1].repeat(3);
    let quote = if text.starts_with(triple) { triple } else { &text[..1] };
    let mut escaped = false;
    for (position, character) in text.char_indices().skip(quote.len()) {
        if !escaped && text[position..].starts_with(quote) {
            return position + quote.len();
        }
        escaped = character == '\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_without_role_selects_inbound_exchanges() {
        assert_eq!(filter_for_replay(" "), r#"role == "inbound""#);
        assert_eq!(
            filter_for_replay(r#"request.path == "/role""#),
            "role == \"inbound\" && (request.path == \"/role\"\n)"
        );
        for filter in [
            "request.role == 1",
            "roles == 1",
            "x_role",
            r#""\" role""#,
            r#"'role'"#,
            r#"""" " role """"#,
            "true // role",
            "\"unterminated role",
            "\"ends with \\",
        ] {
            assert!(!names_role(filter), "{filter}");
        }
    }

    #[test]
    fn a_mock_answers_as_clients_were_answered() {
        assert_eq!(filter_for_mock(""), r#"role == "outbound""#);
        assert_eq!(filter_for_mock(r#"role == "inbound""#), r#"role == "inbound""#);
    }

    #[test]
    fn a_filter_that_names_role_is_left_alone() {
        for filter in [
            r#"role == "outbound""#,
            r#"request.path == "/é" && role != "inbound""#,
            "(role)",
            "a // x\n|| role",
            r#""" + role"#,
        ] {
            assert_eq!(filter_for_replay(filter), filter);
        }
    }
}

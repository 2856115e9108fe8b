//! Sources that nobody would write: never a panic, never an overflow, never a long time.

use proptest::prelude::*;
use tap_expr::Condition;

use crate::sample::exchange;

/// Parses, and evaluates what parses.
fn survive(source: &str) {
    match Condition::parse(source) {
        Ok(condition) => {
            condition.matches(&exchange());
            condition.predicate();
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && message.len() < 2000, "{message}");
            assert!(!message.contains(['\n', '\r', '\u{1b}']), "{message:?}");
        }
    }
}

#[test]
fn the_deepest_that_passes_the_limits() {
    let within =
        |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(24), close.repeat(24));
    for chain in ["+a", ".a", "<a", "&&a", "||a", "?a:a", "==a", "[0]", ".b()", " in a", "-a", "*a"] {
        let times = 639 / chain.bytes().filter(u8::is_ascii_punctuation).count().max(1);
        let chain = format!("a{}", chain.repeat(times.min(4000 / chain.len())));
        survive(&chain);
        survive(&within("(", &chain[..chain.len().min(500)], ")"));
        survive(&within("[", &chain[..chain.len().min(500)], "]"));
    }
    for prefix in ["!", "-", "! -", "a?a:", "!(", "a(", "{1:", "a{b:", "[1,", ".", "..", "`", "?", "\\"] {
        survive(&prefix.repeat(639 / prefix.len()));
        survive(&format!("{}a", prefix.repeat(639 / prefix.len())));
        survive(&format!("{}a", prefix.repeat(23)));
    }
    survive(&format!("{}true{}", "(".repeat(24), ")".repeat(24)));
    survive(&"request.path.matches('a') && ".repeat(130));
    survive(&"'a\\".repeat(1000));
    survive(&"\"\"\"".repeat(1000));
    survive(&"// \n".repeat(1000));
}

/// Pieces of conditions, right and wrong.
const PIECES: &[&str] = &[
    "request",
    "response",
    ".",
    "method",
    "path",
    "status",
    "headers",
    "body",
    "text",
    "namespace",
    "labels",
    "time",
    "duration",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "==",
    "!=",
    "<",
    ">=",
    "in",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "?",
    ":",
    ",",
    "'a'",
    "\"b\"",
    "r'\\d'",
    "b'x'",
    "'''",
    "1",
    "2u",
    "1.5",
    "-9223372036854775808",
    "9223372036854775808",
    "1e999",
    "0x1f",
    "true",
    "null",
    "has",
    "size",
    "exists",
    "all",
    "map",
    "filter",
    "x",
    "startsWith",
    "matches",
    "timestamp",
    "'2026-01-31T12:00:00Z'",
    "'1h'",
    "//",
    "\n",
    "\t",
    "`",
    "@",
    "#",
    "é",
    "\0",
    "\u{2028}",
    "dyn",
    "type",
    "optional",
    ".?",
    "[?",
    "google.protobuf.Timestamp",
    "{seconds: 1}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pieces_in_any_order(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24), space in any::<bool>()) {
        survive(&pieces.join(if space { " " } else { "" }));
    }

    #[test]
    fn any_text(text in ".{0,200}") {
        survive(&text);
    }
}

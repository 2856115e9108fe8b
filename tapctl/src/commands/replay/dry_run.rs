//! `tapctl replay --dry-run`: what would be sent, before and after the transformation.

use std::io::Write;

use anyhow::Result;
use futures::{Stream, StreamExt as _, pin_mut};
use tap_proto::v1::Exchange;
use tap_replay::{Plan, Preview, preview};

use crate::render::escape;

/// Prints each request with its changed lines marked as in a unified diff; those that would not be sent with their
/// reason. What is learned from answers can't be shown: there are none.
pub(super) async fn run<E>(
    plan: &Plan,
    exchanges: impl Stream<Item = Result<Exchange, E>>,
    out: &mut impl Write,
) -> Result<Option<E>> {
    let mut left = plan.max_requests().unwrap_or(u64::MAX);
    pin_mut!(exchanges);
    while left > 0
        && let Some(exchange) = exchanges.next().await
    {
        let exchange = match exchange {
            Ok(exchange) => exchange,
            Err(error) => return Ok(Some(error)),
        };
        match preview(&exchange, plan) {
            Err(reason) => writeln!(out, "# {} is not sent: {reason}", escape::text(&exchange.id))?,
            Ok(Preview { before, after, problems }) => {
                left -= 1;
                writeln!(out, "# {}", escape::text(&exchange.id))?;
                for (mark, line) in lines(&before, &after) {
                    writeln!(out, "{mark}{}", escape::text(line))?;
                }
                for problem in problems {
                    writeln!(out, "# {problem}")?;
                }
            }
        }
    }
    Ok(None)
}

/// All lines, each unchanged (' '), gone ('-') or new ('+'): of what lies between the common start and end.
fn lines<'a>(before: &'a str, after: &'a str) -> Vec<(char, &'a str)> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let mut lines = Vec::new();
    let mut rest = &after[..];
    for line in before {
        match rest.iter().position(|new| *new == line) {
            Some(position) => {
                lines.extend(rest[..position].iter().map(|new| ('+', *new)));
                lines.push((' ', line));
                rest = &rest[position + 1..];
            }
            None => lines.push(('-', line)),
        }
    }
    lines.extend(rest.iter().map(|new| ('+', *new)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_marked() {
        let lines = lines("GET /a\nHost: x\nA: 1\n\nbody", "GET /b\nHost: x\n\nbody\nmore");
        let text: Vec<String> = lines.iter().map(|(mark, line)| format!("{mark}{line}")).collect();
        assert_eq!(text, ["-GET /a", "+GET /b", " Host: x", "-A: 1", " ", " body", "+more"]);
    }
}

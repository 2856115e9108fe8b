//! What redaction did, or would do: by exchange, rule and place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::{Context as _, Result};
use comfy_table::Cell;
use serde::Serialize;
use tap_flow::{Exchange, Headers};
use tap_redact::Redaction;

use super::{GAP, Style, escape, lines, pad, right, unit};

/// Most exchanges that are named of one rule and place.
const MAX_NAMED: usize = 3;

/// One rule's effect at one place of one exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Effect {
    exchange: String,
    rule: String,
    place: String,
    action: String,
    count: u32,
}

impl Effect {
    pub(crate) fn of(exchange: &str, redaction: &Redaction) -> Self {
        let Redaction { rule, place, action, count, .. } = redaction;
        Self {
            exchange: exchange.to_owned(),
            rule: rule.clone(),
            place: place.clone(),
            action: action.clone(),
            count: *count,
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects(Vec<Effect>);

impl Effects {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// "12 values in 3 exchanges found"
    pub(crate) fn sum(&self, done: &str) -> String {
        let values: u64 = self.0.iter().map(|effect| u64::from(effect.count)).sum();
        let exchanges: BTreeSet<&str> = self.0.iter().map(|effect| effect.exchange.as_str()).collect();
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let (value_count, exchange_count) = (unit::count(values), exchanges.len() as u64);
        format!(
            "{value_count} value{} in {} exchange{} {done}",
            plural(values),
            unit::count(exchange_count),
            plural(exchange_count)
        )
    }

    /// One row each.
    pub(crate) fn table(&self, style: &Style, exchange: &str) -> String {
        if self.is_empty() {
            return String::new();
        }
        let mut table = style.table();
        table.set_header(vec![
            Cell::new(exchange),
            Cell::new("RULE"),
            Cell::new("PLACE"),
            Cell::new("ACTION"),
            right("COUNT"),
        ]);
        for Effect { exchange, rule, place, action, count } in &self.0 {
            let text = |text: &String| Cell::new(escape::text(text));
            table.add_row(vec![
                text(exchange),
                text(rule),
                text(place),
                text(action),
                right(unit::count(u64::from(*count))),
            ]);
        }
        pad(&mut table, GAP);
        lines(&table)
    }

    /// One row for each rule and place, with some of the exchanges.
    pub(crate) fn by_place(&self, style: &Style) -> String {
        let mut places: BTreeMap<(&str, &str), (u64, Vec<&str>)> = BTreeMap::new();
        for Effect { exchange, rule, place, count, .. } in &self.0 {
            let (sum, exchanges) = places.entry((rule, place)).or_default();
            *sum += u64::from(*count);
            exchanges.push(exchange);
        }
        let mut table = style.table();
        table.set_header(vec![
            Cell::new("RULE"),
            Cell::new("PLACE"),
            right("VALUES"),
            right("EXCHANGES"),
            Cell::new("FOR EXAMPLE"),
        ]);
        for ((rule, place), (sum, exchanges)) in places {
            table.add_row(vec![
                Cell::new(escape::text(rule)),
                Cell::new(escape::text(place)),
                right(unit::count(sum)),
                right(unit::count(exchanges.len() as u64)),
                Cell::new(escape::text(&exchanges[..exchanges.len().min(MAX_NAMED)].join(" "))),
            ]);
        }
        pad(&mut table, GAP);
        lines(&table)
    }

    pub(crate) fn json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(&self.0).context("write JSON")?;
        Ok(escape::json(&json) + "\n")
    }

    pub(crate) fn jsonl(&self) -> Result<String> {
        self.0.iter().try_fold(String::new(), |text, effect| {
            let json = serde_json::to_string(effect).context("write JSON")?;
            Ok(text + &escape::json(&json) + "\n")
        })
    }
}

/// What changed in an exchange, before and after: lines that begin with `-` and `+`.
pub(crate) fn changes(name: &str, before: &Exchange, after: &Exchange) -> String {
    let mut text = format!("\n{}\n", escape::text(name));
    let empty = text.len();
    if let (Some(before), Some(after)) = (&before.request, &after.request) {
        change(&mut text, "target", &before.target, &after.target);
        fields(&mut text, &before.headers, &after.headers);
        change(&mut text, "body", &before.body.content, &after.body.content);
        fields(&mut text, &before.trailers, &after.trailers);
    }
    if let (Some(before), Some(after)) = (&before.response, &after.response) {
        fields(&mut text, &before.headers, &after.headers);
        change(&mut text, "body", &before.body.content, &after.body.content);
        fields(&mut text, &before.trailers, &after.trailers);
    }
    if text.len() == empty {
        text.clear();
    }
    text
}

/// Fields that are taken out have no line with `+`.
fn fields(text: &mut String, before: &Headers, after: &Headers) {
    let mut rest = after.iter().peekable();
    for field in before.iter() {
        let name = String::from_utf8_lossy(field.name);
        match rest.next_if(|after| after.name == field.name) {
            Some(after) => change(text, &name, field.value, after.value),
            None => change(text, &name, field.value, b""),
        }
    }
}

fn change(text: &mut String, name: &str, before: &[u8], after: &[u8]) {
    if before == after {
        return;
    }
    let name = escape::text(name);
    for (mark, value) in [('-', before), ('+', after)] {
        if !value.is_empty() {
            let value = escape::lines(&String::from_utf8_lossy(value));
            let _ = writeln!(text, "{mark} {name}: {}", value.replace('\n', "\n    "));
        }
    }
}

//! `tapctl audit`: what detectors find in what is stored, which redaction should have replaced on the node.
//!
//! The exchanges come through the collector's search and go through redaction itself, with every detector and nothing
//! else; what it would replace slipped through. Values are neither printed nor kept.

use std::io::Write;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, pin_mut};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tap_proto::v1::{Order, SearchRequest, SearchResponse};
use tap_redact::{Key, Redactor};

use super::{Session, Verdict};
use crate::{
    cli::{self, Output},
    connect::explain,
    render::redactions::{Effect, Effects},
};

/// The protocol's largest page.
const PAGE: u32 = 1_000;

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Audit) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    let cli::Audit { selection, range, rules, limit } = arguments;
    // With a fixed end, an audit of a live capture comes to one.
    let now = Timestamp::now();
    let search = SearchRequest {
        filter: selection.condition(),
        start_time: range.since.map(|since| since.resolve(now)),
        end_time: Some(range.until.unwrap_or(cli::Moment::At(now)).resolve(now)),
        order: Order::NewestFirst.into(),
        page_size: PAGE,
        ..SearchRequest::default()
    };
    let filter = search.filter.clone();
    // No token is made to be kept: any key will do.
    let redactor = Redactor::for_audit(Key::new(&rand::random::<[u8; 32]>()).context("make a key")?);
    let progress = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {elapsed}  {wide_msg}")
            .context("the progress line's template")?,
    );
    let pages = collector.pages(search);
    pin_mut!(pages);
    let mut effects = Effects::default();
    let mut scanned = 0_u64;
    let limit = if limit == 0 { u64::MAX } else { limit };
    'pages: while let Some(page) = pages.next().await {
        let SearchResponse { exchanges, next_page_token: _ } =
            page.map_err(|status| explain(&status, &filter))?;
        for exchange in exchanges {
            if scanned == limit {
                break 'pages;
            }
            scanned += 1;
            let id = exchange.id.clone();
            let redacted = redactor.redact(tap_formats::stored::exchange(exchange));
            let wanted = |rule: &str| rules.is_empty() || rules.iter().any(|wanted| is_of(rule, wanted));
            for redaction in redacted.redactions().iter().filter(|redaction| wanted(&redaction.rule)) {
                effects.push(Effect::of(&id, redaction));
            }
        }
        progress.set_message(format!("{scanned} exchanges looked at, {}", effects.sum("found")));
        progress.tick();
    }
    progress.finish_and_clear();
    match output {
        Output::Table if effects.is_empty() => {}
        Output::Table => out.write_all(effects.by_place(&style).as_bytes())?,
        Output::Json => out.write_all(effects.json()?.as_bytes())?,
        Output::Jsonl => out.write_all(effects.jsonl()?.as_bytes())?,
    }
    eprintln!("{scanned} exchanges looked at: {}", effects.sum("slipped through"));
    Ok(if effects.is_empty() { Verdict::Good } else { Verdict::Bad })
}

/// Whether a rule, "detector.api_key.aws", is the wanted one or of its family: "api_key".
fn is_of(rule: &str, wanted: &str) -> bool {
    let detector = rule.strip_prefix("detector.").unwrap_or(rule);
    detector == wanted || detector.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
}

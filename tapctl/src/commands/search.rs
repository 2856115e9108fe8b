//! `tapctl search`: the exchanges that match, page by page.

use std::io::Write;

use anyhow::Result;
use futures::{StreamExt as _, pin_mut};
use jiff::Timestamp;
use tap_proto::v1::{Order, SearchRequest, SearchResponse};

use super::{Session, Verdict};
use crate::{
    cli::{self, Output},
    connect::explain,
    render::{json, rows::Rows},
};

/// The protocol's largest page.
const MAX_PAGE: u64 = 1_000;

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Search) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    let cli::Search { selection, range, limit, oldest_first } = arguments;
    let now = Timestamp::now();
    let mut remaining = if limit == 0 { u64::MAX } else { limit };
    let request = SearchRequest {
        filter: selection.condition(),
        start_time: range.since.map(|since| since.resolve(now)),
        end_time: range.until.map(|until| until.resolve(now)),
        order: if oldest_first { Order::OldestFirst } else { Order::NewestFirst }.into(),
        page_size: remaining.min(MAX_PAGE) as u32,
        page_token: String::new(),
        summary: output == Output::Table,
    };
    let filter = request.filter.clone();
    let pages = collector.pages(request);
    pin_mut!(pages);

    let rows = Rows::new(&style);
    let mut list = json::List::new("exchanges");
    let mut found = 0;
    let mut more = false;
    while remaining > 0
        && let Some(page) = pages.next().await
    {
        let SearchResponse { mut exchanges, next_page_token } =
            page.map_err(|status| explain(&status, &filter))?;
        let kept = remaining.min(exchanges.len() as u64);
        more = kept < exchanges.len() as u64 || !next_page_token.is_empty();
        exchanges.truncate(kept as usize);
        remaining -= kept;
        match output {
            Output::Table => {
                if found == 0 && kept > 0 {
                    out.write_all(rows.header().as_bytes())?;
                }
                out.write_all(rows.rows(&exchanges).as_bytes())?;
            }
            Output::Jsonl => {
                for exchange in &exchanges {
                    out.write_all(json::line(exchange)?.as_bytes())?;
                }
            }
            Output::Json => {
                for exchange in &exchanges {
                    out.write_all(list.item(exchange)?.as_bytes())?;
                }
            }
        }
        found += kept;
    }
    match output {
        Output::Json => out.write_all(list.end().as_bytes())?,
        Output::Table if found == 0 => eprintln!("nothing matches"),
        Output::Table if more => eprintln!("there are more; --limit 0 shows all"),
        Output::Table | Output::Jsonl => {}
    }
    Ok(Verdict::Good)
}

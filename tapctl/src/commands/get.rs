//! `tapctl get`: one exchange whole, by its id or the start of it.

use std::io::Write;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, pin_mut};
use tap_proto::v1::{Exchange, GetRequest, Order, SearchRequest};

use super::{Session, Verdict};
use crate::{
    cli::{self, Output},
    connect::{Collector, explain},
    render::{exchange, json},
};

const ID_LENGTH: usize = 36;
/// Characters of an id that give its time in milliseconds, dash included.
const TIME_LENGTH: usize = 13;
/// More than this many of one millisecond are not told apart by hand.
const CANDIDATES: u32 = 10;

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Get) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    let id = if arguments.id.len() == ID_LENGTH {
        arguments.id
    } else {
        complete(&collector, &arguments.id).await?
    };
    let request = collector.request(GetRequest { id });
    let found: Exchange =
        collector.captures().get(request).await.map_err(|status| explain(&status, ""))?.into_inner();
    let text = match output {
        Output::Table => exchange::render(&found, &style),
        Output::Json => json::pretty(&found)?,
        Output::Jsonl => json::line(&found)?,
    };
    out.write_all(text.as_bytes())?;
    Ok(Verdict::Good)
}

/// The id that starts with `prefix`. An id starts with the exchange's time, so one millisecond is searched.
async fn complete(collector: &Collector, prefix: &str) -> Result<String> {
    let digits = prefix[..TIME_LENGTH].replace('-', "");
    let milliseconds = i64::from_str_radix(&digits, 16).context("read the time of the id")?;
    let time = |milliseconds: i64| prost_types::Timestamp {
        seconds: milliseconds.div_euclid(1_000),
        nanos: (milliseconds.rem_euclid(1_000) * 1_000_000) as i32,
    };
    let filter = format!("id.startsWith(\"{prefix}\")");
    let pages = collector.pages(SearchRequest {
        filter: filter.clone(),
        start_time: Some(time(milliseconds)),
        end_time: Some(time(milliseconds + 1)),
        order: Order::OldestFirst.into(),
        page_size: CANDIDATES,
        page_token: String::new(),
        summary: true,
    });
    pin_mut!(pages);
    let mut ids: Vec<String> = Vec::new();
    // A page may be empty and have another one after it.
    while ids.len() < CANDIDATES as usize
        && let Some(page) = pages.next().await
    {
        let page = page.map_err(|status| explain(&status, &filter))?;
        ids.extend(page.exchanges.into_iter().map(|exchange| exchange.id));
    }
    match <[String; 1]>::try_from(ids) {
        Ok([id]) => Ok(id),
        Err(ids) if ids.is_empty() => bail!("no exchange has an id that starts with {prefix}"),
        Err(ids) => bail!("several exchanges have an id that starts with {prefix}:\n  {}", ids.join("\n  ")),
    }
}

//! The recorded exchanges: from files, from the collector, or from the table in its place.

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, pin_mut};
use jiff::Timestamp;
use tap_formats::jsonl::Captures;
use tap_proto::v1::{Exchange, Order, SearchRequest};
use tap_replay::{
    mock::{Condition, Index},
    selection::filter_for_mock,
};

use crate::{
    cli,
    connect::{Source, explain},
};

/// The protocol's largest page: fewer calls.
const PAGE: u32 = 1_000;

/// The condition on exchanges of files, or what is wrong with it. The collector checks its own.
pub(super) fn condition(arguments: &cli::mock::Mock) -> Result<Option<Condition>, String> {
    if arguments.files.is_empty() {
        return Ok(None);
    }
    let condition = Condition::parse(&arguments.selection.condition());
    condition.map(Some).map_err(|error| format!("FILTER: {error}"))
}

pub(super) async fn load(source: &Source, arguments: &cli::mock::Mock, index: Index) -> Result<Index> {
    match condition(arguments).map_err(anyhow::Error::msg)? {
        Some(condition) => {
            let arguments = arguments.clone();
            let loading = tokio::task::spawn_blocking(move || from_files(&arguments, &condition, index));
            loading.await.context("load the files")?
        }
        None => from_collector(source, arguments, index).await,
    }
}

fn from_files(arguments: &cli::mock::Mock, condition: &Condition, mut index: Index) -> Result<Index> {
    let now = Timestamp::now();
    let nanoseconds = |moment: &cli::Moment| {
        let resolved = moment.resolve(now);
        i128::from(resolved.seconds) * 1_000_000_000 + i128::from(resolved.nanos)
    };
    let since = arguments.range.since.as_ref().map(nanoseconds);
    let until = arguments.range.until.as_ref().map(nanoseconds);
    let is_in_range = |exchange: &Exchange| {
        let time = exchange.time.as_ref();
        let time = time.map(|time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos));
        since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && until.is_none_or(|until| time.is_some_and(|time| time < until))
    };
    for file in &arguments.files {
        for exchange in Captures::open(file).with_context(|| format!("open {}", file.display()))? {
            let exchange = exchange.with_context(|| format!("read {}", file.display()))?;
            if is_in_range(&exchange) && condition.matches(&exchange) {
                index.insert(exchange);
            }
        }
    }
    Ok(index)
}

async fn from_collector(source: &Source, arguments: &cli::mock::Mock, mut index: Index) -> Result<Index> {
    let now = Timestamp::now();
    let collector = source.connect().await?;
    let search = SearchRequest {
        filter: filter_for_mock(&arguments.selection.condition()),
        start_time: arguments.range.since.as_ref().map(|since| since.resolve(now)),
        // With a fixed end, a mock beside a tapped client does not chase what it causes.
        end_time: Some(arguments.range.until.clone().unwrap_or(cli::Moment::At(now)).resolve(now)),
        // What finds no room is the oldest.
        order: Order::NewestFirst.into(),
        page_size: PAGE,
        ..SearchRequest::default()
    };
    let filter = search.filter.clone();
    let pages = collector.pages(search);
    pin_mut!(pages);
    while let Some(page) = pages.next().await {
        let page = page.map_err(|status| explain(&status, &filter))?;
        for exchange in page.exchanges {
            if !index.insert(exchange) {
                // Nothing that is left has room either, or only the smallest.
                return Ok(index);
            }
        }
    }
    if index.loaded().taken == 0 {
        bail!(
            "nothing matches {filter:?}\n  A mock answers from what clients received: outbound exchanges, unless the \
             filter names `role`."
        );
    }
    Ok(index)
}

//! Where the exchanges of a replay come from: the collector, page by page, or a file.

use std::{path::PathBuf, time::Duration};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tap_formats::jsonl::Captures;
use tap_proto::v1::{Exchange, Order, SearchRequest, SearchResponse};
use tonic::Status;

use crate::connect::Collector;

/// Read from a file ahead of the engine, which bounds the rest by bytes.
const READ_AHEAD: usize = 64;

/// The selection as a stream, in order of time; the next page is fetched when the last one was taken.
pub(super) fn of_collector(
    collector: &Collector,
    search: SearchRequest,
) -> impl Stream<Item = Result<Exchange, Status>> + Send + use<> {
    let pages = collector.pages(search);
    pages.map_ok(|page: SearchResponse| stream::iter(page.exchanges).map(Ok)).try_flatten()
}

/// The exchanges of a file, in its order. It is read on a thread of its own: a pipe may take its time.
pub(super) fn of_file(path: PathBuf) -> impl Stream<Item = anyhow::Result<Exchange>> + Send + use<> {
    let (exchange_tx, exchange_rx) = tokio::sync::mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || match Captures::open(&path) {
        Ok(captures) => {
            for exchange in captures {
                let exchange =
                    exchange.map_err(|error| anyhow::Error::from(error).context(path.display().to_string()));
                // Nobody wants the rest.
                if exchange_tx.blocking_send(exchange).is_err() {
                    return;
                }
            }
        }
        Err(error) => {
            let error = anyhow::Error::from(error).context(format!("open {}", path.display()));
            let _ = exchange_tx.blocking_send(Err(error));
        }
    });
    stream::unfold(exchange_rx, |mut exchange_rx| async move {
        exchange_rx.recv().await.map(|exchange| (exchange, exchange_rx))
    })
}

/// The recorded time from the first selected exchange to the last, as far as known; none of an empty one.
pub(super) async fn span(collector: &Collector, search: &SearchRequest) -> Result<Option<Duration>, Status> {
    let end = async |order: Order| {
        let request = SearchRequest { order: order.into(), page_size: 1, summary: true, ..search.clone() };
        let first = of_collector(collector, request).boxed().try_next().await?;
        Ok::<_, Status>(first.and_then(|exchange| exchange.time))
    };
    let (Some(first), Some(last)) = (end(Order::OldestFirst).await?, end(Order::NewestFirst).await?) else {
        return Ok(None);
    };
    let seconds = last.seconds.saturating_sub(first.seconds);
    let nanoseconds =
        seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(last.nanos - first.nanos));
    Ok(u64::try_from(nanoseconds).ok().map(Duration::from_nanos))
}

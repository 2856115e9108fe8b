//! Pages of a search, and single exchanges.
//!
//! A page token names the version of the table that the first page saw, the last row that was given out or the time
//! that was reached, and the query. All pages of a search read that one version, so that they are stable under ingest: no row twice,
//! none left out. A token is worth as long as the version is in the log and its files are kept.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::RangeInclusive,
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use tap_proto::v1::Exchange;

use crate::{
    Page, Query, Store, StoreError,
    columns::order_key,
    log::view_of,
    scan::{self, Found, Limits, Merge, Position, Scan},
    view::{DataFile, View},
};

/// A page ends before it exceeds this, unless its first exchange does alone: below gRPC's usual 4 MiB.
pub(crate) const PAGE_BYTES: usize = 3 * 1024 * 1024;

/// Exchanges that are fetched at once: as many as fill a page on average. At least a few, and never so many that
/// only large ones would take much memory.
const MIN_FETCH: usize = 4;
const MAX_FETCH: usize = 256;

/// Files that are looked into at once for one id.
const FILES_AT_ONCE: usize = 4;

/// Versions kept for the searches that page through them.
const PINNED_VIEWS: usize = 32;

pub(crate) async fn search(store: &Store, query: Query) -> Result<Page, StoreError> {
    let goes_on = query.page_token.is_some();
    match page(store, query, Limits::default()).await {
        Err(error) if goes_on && error.is_missing_file() => {
            tracing::debug!(%error, "a file of a page token's version is gone");
            Err(StoreError::InvalidToken("the page token has expired".to_owned()))
        }
        page => page,
    }
}

async fn page(store: &Store, query: Query, limits: Limits) -> Result<Page, StoreError> {
    let query_hash = hash(&query);
    let (view, after) = match query.page_token.as_deref() {
        None => (store.current().await?, None),
        Some(token) => {
            let token: PageToken = token.parse()?;
            token.check(query_hash)?;
            let view = view_at(store, token.version).await?;
            token.check_table(&view)?;
            (view, Some(token.position))
        }
    };
    let next_page = |position: Position| {
        pin(store, &view);
        Some(PageToken::new(position, &view, query_hash).to_string())
    };
    let Query { condition, start, end, order, page_size, page_token: _, summary } = query;
    let page_size = page_size.max(1);

    let scan = Scan::new(Arc::new(condition), order, times(start, end), after);
    let files = store.files();
    // One more tells whether there is another page.
    let Found { rows, paused_at } =
        Merge::new(scan, files.clone(), &view, limits).take(page_size + 1).await?;

    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut bytes = 0;
    let mut rest = rows.as_slice();
    while let Some(first) = rest.first()
        && exchanges.len() < page_size
    {
        let fit = PAGE_BYTES as u64 / scan::exchange_bytes(&files, first).await?.max(1);
        let fit = usize::try_from(fit).unwrap_or(usize::MAX).clamp(MIN_FETCH, MAX_FETCH);
        let fetched;
        (fetched, rest) = rest.split_at(fit.min(rest.len()).min(page_size - exchanges.len()));
        for exchange in scan::fetch(&files, fetched, summary).await? {
            bytes += exchange.encoded_len();
            if let Some(last) = exchanges.last()
                && bytes > PAGE_BYTES
            {
                return Ok(Page { next_page_token: next_page(position_of(last)), exchanges });
            }
            exchanges.push(exchange);
        }
    }
    let last = exchanges.last().filter(|_| !rest.is_empty()).map(position_of);
    let next_page_token = last.or(paused_at).and_then(next_page);
    Ok(Page { exchanges, next_page_token })
}

/// The place after the exchange.
fn position_of(exchange: &Exchange) -> Position {
    let (time, id) = order_key(exchange);
    Position { time, id: Some(id.to_owned()) }
}

pub(crate) async fn get(store: &Store, id: &str) -> Result<Option<Exchange>, StoreError> {
    let view = store.current().await?;
    let scan = Scan::of_id(id);
    let files = store.files();
    let candidates: Vec<_> = scan.files(&view).map(Arc::clone).collect();
    let look = |file: Arc<DataFile>| {
        let (scan, files) = (&scan, &files);
        async move { scan.any(files, &file).await }
    };
    let mut found = stream::iter(candidates).map(look).buffer_unordered(FILES_AT_ONCE).boxed();
    while let Some(row) = found.try_next().await? {
        if let Some(row) = row {
            return Ok(scan::fetch(&files, &[row], false).await?.pop());
        }
    }
    Ok(None)
}

/// start <= time < end, in the table's microseconds.
pub(crate) fn times(start: Option<SystemTime>, end: Option<SystemTime>) -> RangeInclusive<i64> {
    // Rounded up on both sides: the first microsecond not before the instant.
    let first = start.map_or(i64::MIN, micros_rounded_up);
    let last = end.map_or(i64::MAX, |end| micros_rounded_up(end).saturating_sub(1));
    first..=last
}

pub(crate) fn micros_rounded_up(time: SystemTime) -> i64 {
    let micros = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos().div_ceil(1000)),
        Err(before) => i64::try_from(before.duration().as_micros()).map(|micros| -micros),
    };
    micros.unwrap_or(i64::MAX)
}

/// The view of an earlier version: pinned by an earlier page, or loaded from the log.
async fn view_at(store: &Store, version: u64) -> Result<Arc<View>, StoreError> {
    let pinned = store.pinned().iter().find(|view| view.version == version).map(Arc::clone);
    if let Some(view) = pinned {
        return Ok(view);
    }
    let current = store.current().await?;
    if version == current.version {
        return Ok(current);
    }
    if version > current.version {
        return Err(StoreError::InvalidToken("the page token is of another table".to_owned()));
    }
    let table = store.location().load(Some(version)).await.map_err(|error| {
        tracing::debug!(%error, version, "version of a page token");
        StoreError::InvalidToken("the page token has expired; start the search anew".to_owned())
    })?;
    let view = Arc::new(view_of(store.location(), &table)?);
    pin(store, &view);
    Ok(view)
}

fn pin(store: &Store, view: &Arc<View>) {
    let mut pinned = store.pinned();
    if pinned.iter().any(|pinned| pinned.version == view.version) {
        return;
    }
    pinned.push_back(Arc::clone(view));
    if pinned.len() > PINNED_VIEWS {
        pinned.pop_front();
    }
}

/// Tells queries apart; not meant to survive a change of version.
fn hash(query: &Query) -> u64 {
    let Query { condition, start, end, order, page_size: _, page_token: _, summary } = query;
    let mut hasher = DefaultHasher::new();
    // The condition's tree stands for its text.
    format!("{condition:?}").hash(&mut hasher);
    (start, end, *order as i32, summary).hash(&mut hasher);
    hasher.finish()
}

/// Where a search goes on. Its text is opaque to clients.
#[derive(Debug, PartialEq, Eq)]
struct PageToken {
    query: u64,
    table: String,
    version: u64,
    position: Position,
}

impl PageToken {
    fn new(position: Position, view: &View, query: u64) -> Self {
        Self { query, table: view.table_mark().to_owned(), version: view.version, position }
    }

    fn check(&self, query: u64) -> Result<(), StoreError> {
        if self.query == query {
            return Ok(());
        }
        Err(StoreError::InvalidToken(
            "the page token is of another query; send the query unchanged".to_owned(),
        ))
    }

    fn check_table(&self, view: &View) -> Result<(), StoreError> {
        if self.table == view.table_mark() {
            return Ok(());
        }
        Err(StoreError::InvalidToken("the page token is of another table".to_owned()))
    }
}

impl std::fmt::Display for PageToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { query, table, version, position: Position { time, id } } = self;
        write!(f, "p1.{query:016x}.{table}.{version}.{time}")?;
        id.iter().try_for_each(|id| write!(f, ".{id}"))
    }
}

impl FromStr for PageToken {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let parse = || {
            let mut parts = text.splitn(6, '.');
            if parts.next()? != "p1" {
                return None;
            }
            Some(Self {
                query: u64::from_str_radix(parts.next()?, 16).ok()?,
                table: parts.next()?.to_owned(),
                version: parts.next()?.parse().ok()?,
                position: Position { time: parts.next()?.parse().ok()?, id: parts.next().map(str::to_owned) },
            })
        };
        parse().ok_or_else(|| StoreError::InvalidToken("the page token is malformed".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use tap_expr::Condition;
    use tap_proto::v1::{Batch, Order};

    use super::*;
    use crate::AgentEpoch;

    /// Ten exchanges a file, the files' times overlapping, some times alike.
    async fn table(folder: &tempfile::TempDir) -> (Store, Vec<String>) {
        let store = Store::open(&url::Url::from_directory_path(folder.path()).unwrap()).await.unwrap();
        let agent = AgentEpoch { agent: "a".to_owned(), epoch: 1 };
        let mut keys = Vec::new();
        for file in 0..6 {
            let exchange = |number: i64| Exchange {
                id: format!("{:08}", 100 - (number * 6 + file)),
                time: Some(Timestamp { seconds: 1_767_323_045 + file * 4 + number / 2, nanos: 0 }),
                pod: format!("p{}", (number + file) % 3),
                ..Exchange::default()
            };
            let exchanges: Vec<_> = (0..10).map(exchange).collect();
            keys.extend(exchanges.iter().map(|e| (e.time.unwrap().seconds, e.id.clone(), e.pod.clone())));
            let batch = Batch { sequence: file as u64 + 1, exchanges, ledger: None };
            store.append(vec![(agent.clone(), batch)]).await.unwrap();
        }
        keys.sort();
        (store, keys.into_iter().filter(|(_, _, pod)| pod == "p1").map(|(_, id, _)| id).collect())
    }

    #[tokio::test]
    async fn bounds_cost_pages_but_no_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (store, expected) = table(&folder).await;
        let few_keys = Limits { keys: 8, min_file_keys: 1, max_file_keys: 3, ..Limits::default() };
        let little_work = Limits { work_bytes: 1, ..few_keys };
        let at_once = Limits { rows_in_vain: 0, ..little_work };
        // Decided by the columns, and not.
        for condition in ["pod == 'p1'", "pod.endsWith('1')", "pod.endsWith('nothing')"] {
            for (order, limits) in [
                (Order::OldestFirst, Limits::default()),
                (Order::OldestFirst, few_keys),
                (Order::NewestFirst, little_work),
                (Order::OldestFirst, at_once),
                (Order::NewestFirst, at_once),
            ] {
                let mut found = Vec::new();
                let mut page_token = None;
                let mut pages = 0;
                loop {
                    let query = Query {
                        condition: Condition::parse(condition).unwrap(),
                        start: None,
                        end: None,
                        order,
                        page_size: 7,
                        page_token,
                        summary: false,
                    };
                    let page = page(&store, query, limits).await.unwrap();
                    found.extend(page.exchanges.into_iter().map(|exchange| exchange.id));
                    page_token = page.next_page_token;
                    pages += 1;
                    assert!(pages < 100, "{condition} {order:?} {limits:?}");
                    if page_token.is_none() {
                        break;
                    }
                }
                let mut expected = expected.clone();
                if order == Order::NewestFirst {
                    expected.reverse();
                }
                if condition.contains("nothing") {
                    expected.clear();
                }
                assert_eq!(found, expected, "{condition} {order:?} {limits:?}");
                let is_paused = limits.work_bytes == 1;
                assert_eq!(pages > 3, is_paused, "{pages} pages: {condition} {order:?} {limits:?}");
            }
        }
    }
}

//! Pages of a search, and single exchanges.
//!
//! A page token names the version of the table that the first page saw, the last row that was given out, and
//! the query. All pages of a search read that one version, so that they are stable under ingest: no row twice,
//! none left out. A token is worth as long as the version is in the log and its files are kept.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::RangeInclusive,
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tap_expr::{Field, Operator, Predicate, Value};
use tap_proto::v1::{Exchange, Order};

use crate::{
    Page, Query, Store, StoreError,
    columns::{order_key, strip_details},
    log::view_of,
    predicate::RowFilter,
    scan::Scan,
    view::View,
};

/// A page ends before it exceeds this, unless its first exchange does alone: below gRPC's usual 4 MiB.
pub(crate) const PAGE_BYTES: usize = 3 * 1024 * 1024;

/// Versions kept for the searches that page through them.
const PINNED_VIEWS: usize = 32;

pub(crate) async fn search(store: &Store, query: Query) -> Result<Page, StoreError> {
    let query_hash = hash(&query);
    let (view, after) = match query.page_token.as_deref() {
        None => (store.current().await?, None),
        Some(token) => {
            let token: PageToken = token.parse()?;
            token.check(query_hash)?;
            let view = view_at(store, token.version).await?;
            token.check_table(&view)?;
            (view, Some((token.time, token.id)))
        }
    };

    let predicate = query.condition.predicate();
    let filter = RowFilter::new(&predicate).map_err(|source| StoreError::Plan { source: source.into() })?;
    let scan = Scan {
        order: query.order,
        times: times(query.start, query.end),
        filter,
        after,
        // What the predicate does not decide may need the details.
        summary: query.summary && query.condition.predicate_is_exact(),
    };
    let mut chunks = scan.run(store.table_objects(), &view).boxed();

    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut bytes = 0;
    while let Some(chunk) = chunks.try_next().await? {
        for mut exchange in chunk {
            if !query.condition.matches(&exchange) {
                continue;
            }
            if query.summary {
                strip_details(&mut exchange);
            }
            bytes += exchange.encoded_len();
            let is_full = exchanges.len() >= query.page_size.max(1) || bytes > PAGE_BYTES;
            if let Some(last) = exchanges.last()
                && is_full
            {
                let token = PageToken::after(last, &view, query_hash);
                pin(store, &view);
                return Ok(Page { next_page_token: Some(token.to_string()), exchanges });
            }
            exchanges.push(exchange);
        }
    }
    Ok(Page { exchanges, next_page_token: None })
}

pub(crate) async fn get(store: &Store, id: &str) -> Result<Option<Exchange>, StoreError> {
    let view = store.current().await?;
    let mut view = View::clone(&view);
    view.files.retain(|_, file| file.may_hold(id));
    let predicate = Predicate::Compare {
        field: Field::Id,
        operator: Operator::Equal,
        value: Value::String(id.to_owned()),
    };
    let filter = RowFilter::new(&predicate).map_err(|source| StoreError::Plan { source: source.into() })?;
    let scan =
        Scan { order: Order::NewestFirst, times: i64::MIN..=i64::MAX, filter, after: None, summary: false };
    let mut chunks = scan.run(store.table_objects(), &view).boxed();
    Ok(chunks.try_next().await?.into_iter().flatten().next())
}

/// start <= time < end, in the table's microseconds.
fn times(start: Option<SystemTime>, end: Option<SystemTime>) -> RangeInclusive<i64> {
    // Rounded up on both sides: the first microsecond not before the instant.
    let first = start.map_or(i64::MIN, micros_rounded_up);
    let last = end.map_or(i64::MAX, |end| micros_rounded_up(end).saturating_sub(1));
    first..=last
}

fn micros_rounded_up(time: SystemTime) -> i64 {
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
    time: i64,
    id: String,
}

impl PageToken {
    fn after(exchange: &Exchange, view: &View, query: u64) -> Self {
        let (time, id) = order_key(exchange);
        Self { query, table: view.table_mark().to_owned(), version: view.version, time, id: id.to_owned() }
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
        let Self { query, table, version, time, id } = self;
        write!(f, "p1.{query:016x}.{table}.{version}.{time}.{id}")
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
                time: parts.next()?.parse().ok()?,
                id: parts.next()?.to_owned(),
            })
        };
        parse().ok_or_else(|| StoreError::InvalidToken("the page token is malformed".to_owned()))
    }
}

//! The exchanges of a replay, read from the store page by page, oldest first.

use std::time::SystemTime;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tap_proto::v1::{Exchange, Order};
use tap_store::{Query, Store};
use tonic::Status;

use crate::status;

/// The engine reads ahead thousands of exchanges; a page ends earlier where they are large.
const PAGE_SIZE: usize = 1000;

#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) store: Store,
    pub(super) filter: String,
    pub(super) start: Option<SystemTime>,
    pub(super) end: Option<SystemTime>,
}

/// Where the next page begins.
#[derive(Debug)]
enum Next {
    First,
    Token(String),
    End,
}

impl Selection {
    pub(super) fn exchanges(self) -> impl Stream<Item = Result<Exchange, Status>> + Send {
        stream::try_unfold((self, Next::First), |(selection, next)| async move {
            let token = match next {
                Next::First => None,
                Next::Token(token) => Some(token),
                Next::End => return Ok::<_, Status>(None),
            };
            let query = Query {
                condition: status::parse_filter(&selection.filter)?,
                start: selection.start,
                end: selection.end,
                order: Order::OldestFirst,
                page_size: PAGE_SIZE,
                page_token: token,
                summary: false,
            };
            let page = selection.store.search(query).await.map_err(|error| status::from_store(&error))?;
            let next = page.next_page_token.map_or(Next::End, Next::Token);
            Ok(Some((stream::iter(page.exchanges).map(Ok), (selection, next))))
        })
        .try_flatten()
    }
}

//! The rows of every commit, in the order of the log.
//!
//! A tail reads the log itself, so that it sees every writer's commits, each once. A commit that only moves
//! rows between files (a compaction) adds nothing. A resume token names the last commit that was given out
//! whole, or a place within one that came in several pages.

use std::{str::FromStr, sync::Arc, time::Duration};

use deltalake::kernel::Action;
use futures::stream;
use prost::Message;
use tap_expr::Condition;
use tap_proto::v1::Exchange;
use tokio::{sync::watch, time::timeout};

use crate::{
    Store, StoreError, TailPage, TailStream,
    columns::strip_details,
    log::read_commit,
    open_file::OpenFile,
    search::PAGE_BYTES,
    view::{DataFile, View},
};

/// How long another writer's commit may go unseen. This process's own are seen at once.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn tail(
    store: &Store,
    condition: Condition,
    resume_token: Option<String>,
    summary: bool,
) -> Result<TailStream, StoreError> {
    let current = store.current().await?;
    let mark = current.table_mark().to_owned();
    let (version, rows) = match resume_token.as_deref().filter(|token| !token.is_empty()) {
        None => (current.version + 1, 0),
        Some(token) => {
            let token: ResumeToken = token.parse()?;
            if token.table != mark || token.version > current.version + 1 {
                return Err(StoreError::InvalidToken("the resume token is of another table".to_owned()));
            }
            (token.version, token.rows)
        }
    };
    if version <= current.version && read_commit(store.location(), version).await?.is_none() {
        return Err(StoreError::InvalidToken(
            "the resume token has expired: the log begins after it".to_owned(),
        ));
    }
    let views = store.views();
    let tail =
        Tail { store: store.clone(), views, condition, summary, table: mark, version, rows, files: None };
    Ok(Box::pin(stream::try_unfold(tail, |mut tail| async move {
        let page = tail.next_page().await?;
        Ok(Some((page, tail)))
    })))
}

/// A reader of the log.
struct Tail {
    store: Store,
    views: watch::Receiver<Arc<View>>,
    condition: Condition,
    summary: bool,
    table: String,
    /// The commit that is next or being read, and how many of its rows have been handled.
    version: u64,
    rows: usize,
    files: Option<Commit>,
}

/// What is left of a commit.
struct Commit {
    files: std::vec::IntoIter<Arc<DataFile>>,
    exchanges: std::vec::IntoIter<Exchange>,
    /// Rows to pass over, handled before the tail was resumed.
    skip: usize,
}

impl Tail {
    async fn next_page(&mut self) -> Result<TailPage, StoreError> {
        let mut commit = match self.files.take() {
            Some(commit) => commit,
            None => self.next_commit().await?,
        };
        let mut exchanges = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(mut exchange) = commit.exchanges.next() else {
                let Some(file) = commit.files.next() else { break };
                let mut rows = self.read(&file).await?;
                let skipped = commit.skip.min(rows.len());
                commit.skip -= skipped;
                commit.exchanges = rows.split_off(skipped).into_iter();
                continue;
            };
            self.rows += 1;
            if !self.condition.matches(&exchange) {
                continue;
            }
            if self.summary {
                strip_details(&mut exchange);
            }
            bytes += exchange.encoded_len();
            exchanges.push(exchange);
            // One exchange over the page's bound goes with this page: what follows is what counts.
            let next_bytes = commit.exchanges.as_slice().first().map_or(0, Exchange::encoded_len);
            if bytes + next_bytes > PAGE_BYTES {
                self.files = Some(commit);
                return Ok(TailPage { exchanges, resume_token: self.token() });
            }
        }
        self.version += 1;
        self.rows = 0;
        Ok(TailPage { exchanges, resume_token: self.token() })
    }

    fn token(&self) -> String {
        ResumeToken { table: self.table.clone(), version: self.version, rows: self.rows }.to_string()
    }

    async fn read(&self, file: &Arc<DataFile>) -> Result<Vec<Exchange>, StoreError> {
        let summary = self.summary && self.condition.predicate_is_exact();
        let read = async {
            let file = OpenFile::open(self.store.table_objects(), file).await?;
            file.exchanges(None, summary).await
        };
        read.await.map_err(|source| {
            let error = StoreError::Read { path: file.path.to_string(), source };
            if error.is_missing_file() { fallen_behind() } else { error }
        })
    }

    /// Waits for the commit that is next.
    async fn next_commit(&mut self) -> Result<Commit, StoreError> {
        loop {
            let is_behind = self.views.borrow_and_update().version > self.version;
            if let Some(actions) = read_commit(self.store.location(), self.version).await? {
                let added = actions.iter().filter_map(|action| match action {
                    Action::Add(add) if add.data_change => DataFile::from_add(add),
                    _ => None,
                });
                let files: Vec<_> = added.map(Arc::new).collect();
                return Ok(Commit {
                    files: files.into_iter(),
                    exchanges: Vec::new().into_iter(),
                    skip: self.rows,
                });
            }
            if is_behind {
                return Err(fallen_behind());
            }
            // Either way the log is looked at again.
            let _ = timeout(POLL_INTERVAL, self.views.changed()).await;
        }
    }
}

fn fallen_behind() -> StoreError {
    StoreError::InvalidToken(
        "the tail has fallen behind what the table keeps of its past; start it anew".to_owned(),
    )
}

/// The commit to read next, and how many of its rows were handled. Its text is opaque to clients.
#[derive(Debug, PartialEq, Eq)]
struct ResumeToken {
    table: String,
    version: u64,
    rows: usize,
}

impl std::fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, version, rows } = self;
        write!(f, "t1.{table}.{version}.{rows}")
    }
}

impl FromStr for ResumeToken {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let parse = || {
            let mut parts = text.splitn(4, '.');
            if parts.next()? != "t1" {
                return None;
            }
            Some(Self {
                table: parts.next()?.to_owned(),
                version: parts.next()?.parse().ok()?,
                rows: parts.next()?.parse().ok()?,
            })
        };
        parse().ok_or_else(|| StoreError::InvalidToken("the resume token is malformed".to_owned()))
    }
}

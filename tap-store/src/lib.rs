//! The table of exchanges: a Delta Lake table on an `object_store` URL, in a directory or a bucket.
//!
//! Everything durable is here, so that a collector can die at any moment and any number of them can serve one
//! table. Nothing is agreed on outside the table: its log is the only truth (`log`), an agent's batch and the
//! mark that keeps it from being appended again are one commit, and a reader works on one version (`view`).
//!
//! - `<url>/exchanges`: the table, one row per exchange; `docs/table.md` is its contract (`schema`, `columns`).
//! - `<url>/ledger`: the newest ledger of every agent's epoch (`ledger`).
//! - `<url>/expired`: what retention has removed of each (`maintenance`).
//!
//! Searches go through the table in the order of time, as far as the page needs (`scan`, `search`); tails go
//! through its log (`tail`); statistics fold what matches in one pass (`stats`). A store keeps nothing that it could not read again.

#![forbid(unsafe_code)]

mod append;
mod bounds;
mod columns;
mod data_file;
mod error;
mod footers;
mod ledger;
mod location;
mod log;
mod maintenance;
mod open_file;
mod outage;
mod pages;
pub mod parquet;
mod predicate;
mod scan;
mod schema;
mod search;
mod stats;
mod tail;
mod view;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use deltalake::{DeltaTable, TableProperty, kernel::transaction::CommitProperties};
use futures::Stream;
use object_store::ObjectStore;
use tap_expr::Condition;
use tap_proto::v1::{AgentLedger, Batch, Exchange, Ledger, Order, StatsResponse};
use tokio::sync::watch;
use url::Url;

pub use append::Appended;
pub use error::{Cause, StoreError};
pub use ledger::RecentLedgers;
pub use location::{AddressError, StoreOptions, parse_store_url};
pub use maintenance::{Maintained, Retention};
pub use outage::Outage;
pub use stats::{Dimension, MAX_DIMENSIONS, MAX_GROUPS, StatsQuery, UnknownDimension};

use crate::{footers::Footers, location::Location, log::Follower, open_file::Files, view::View};

/// The table. Cheap to clone; every method works on any replica at any time.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    location: Location,
    read_only: bool,
    /// Held for as long as the log is read or a commit is put.
    follower: tokio::sync::Mutex<Follower>,
    /// Held for a whole append: two appends of one process would only be in each other's way.
    appending: tokio::sync::Mutex<()>,
    checkpointing: Arc<tokio::sync::Mutex<()>>,
    maintenance: tokio::sync::Mutex<maintenance::State>,
    /// The newest view that this process knows; wakes the tails.
    views: watch::Sender<Arc<View>>,
    /// Views that searches page through, the oldest first.
    pinned: Mutex<VecDeque<Arc<View>>>,
    newest_ledgers: Mutex<ledger::Newest>,
    /// Of the files that were read lately.
    footers: Arc<Footers>,
}

/// One run of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentEpoch {
    pub agent: String,
    pub epoch: u64,
}

/// The data files that the table names; not those that it did and that a vacuum has not deleted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    pub version: u64,
    pub files: usize,
    pub bytes: u64,
}

/// Which exchanges, in which order.
#[derive(Debug)]
pub struct Query {
    pub condition: Condition,
    /// start <= time < end.
    pub start: Option<SystemTime>,
    pub end: Option<SystemTime>,
    pub order: Order,
    /// At most this many on a page. A page also ends before 3 MiB of exchanges, unless the first is larger, and where
    /// finding more takes long: it may be empty and yet have a page after it.
    pub page_size: usize,
    /// From the page before, with the rest of the query unchanged, but for `page_size`.
    pub page_token: Option<String>,
    /// Leave headers, trailers and the bodies' content out; their sizes stay.
    pub summary: bool,
}

#[derive(Debug)]
pub struct Page {
    pub exchanges: Vec<Exchange>,
    pub next_page_token: Option<String>,
}

/// Matching exchanges of one commit, in its order; a large commit comes in several pages of about 3 MiB.
/// Empty where the token alone moved on.
#[derive(Debug)]
pub struct TailPage {
    pub exchanges: Vec<Exchange>,
    pub resume_token: String,
}

/// Ends with its first error.
pub type TailStream = Pin<Box<dyn Stream<Item = Result<TailPage, StoreError>> + Send>>;

impl Store {
    /// Opens the table, and creates it where there is none.
    pub async fn open(url: &Url) -> Result<Self, StoreError> {
        Self::open_with(url, &StoreOptions::new()).await
    }

    /// The same, with settings that win over the environment's.
    pub async fn open_with(url: &Url, options: &StoreOptions) -> Result<Self, StoreError> {
        let location = Location::new(url, options, true)?;
        if !location.has_table().await?
            && let Err(source) = create(&location).await
        {
            // Another process may have been first.
            if !location.has_table().await? {
                return Err(StoreError::Open { url: url.clone(), source });
            }
        }
        Self::follow(location, false).await
    }

    /// Opens a table that exists, for reading: needs no right but to list and get.
    pub async fn open_read_only(url: &Url) -> Result<Self, StoreError> {
        Self::open_read_only_with(url, &StoreOptions::new()).await
    }

    /// The same, with settings that win over the environment's.
    pub async fn open_read_only_with(url: &Url, options: &StoreOptions) -> Result<Self, StoreError> {
        let location = Location::new(url, options, false)?;
        if !location.has_table().await? {
            return Err(StoreError::NoTable { url: url.clone() });
        }
        Self::follow(location, true).await
    }

    async fn follow(location: Location, read_only: bool) -> Result<Self, StoreError> {
        let mut follower = Follower::open(location.clone()).await?;
        if !read_only {
            add_missing_columns(&location, &mut follower).await?;
        }
        let (views, _) = watch::channel(Arc::clone(follower.view()));
        Ok(Self(Arc::new(Inner {
            location,
            read_only,
            follower: tokio::sync::Mutex::new(follower),
            appending: tokio::sync::Mutex::new(()),
            checkpointing: Arc::default(),
            maintenance: tokio::sync::Mutex::default(),
            views,
            pinned: Mutex::default(),
            newest_ledgers: Mutex::default(),
            footers: Arc::default(),
        })))
    }

    /// Commits the batches and their agents' high-water marks in one commit. Durable when this returns.
    /// Batches at or below their agent's mark are left out: they are in the table. After an error the batches
    /// can be appended again, whatever became of them.
    ///
    /// Sets `agent`, `epoch` and `sequence` of the exchanges; a shared batch in which they are set is not copied.
    pub async fn append<B: Into<Arc<Batch>>>(
        &self,
        batches: Vec<(AgentEpoch, B)>,
    ) -> Result<Appended, StoreError> {
        self.writable()?;
        let batches = batches.into_iter().map(|(agent, batch)| (agent, batch.into())).collect();
        append::append(self, batches).await
    }

    /// The highest sequence of this epoch in the table; 0 for none.
    pub async fn durable_sequence(&self, agent: &AgentEpoch) -> Result<u64, StoreError> {
        let mut follower = self.follower().await;
        follower.catch_up().await?;
        self.publish(&follower);
        follower.mark(agent).await
    }

    /// One page of the exchanges that match, in the order of (time, id).
    pub async fn search(&self, query: Query) -> Result<Page, StoreError> {
        search::search(self, query).await
    }

    /// The exchange of that id; `None` where there is none.
    pub async fn get(&self, id: &str) -> Result<Option<Exchange>, StoreError> {
        search::get(self, id).await
    }

    /// Counts, rates and latencies of the exchanges that match.
    pub async fn stats(&self, query: StatsQuery) -> Result<StatsResponse, StoreError> {
        stats::stats(self, query).await
    }

    /// The exchanges of every commit after `resume_token`, or from now on.
    pub async fn tail(
        &self,
        condition: Condition,
        resume_token: Option<String>,
        summary: bool,
    ) -> Result<TailStream, StoreError> {
        tail::tail(self, condition, resume_token, summary).await
    }

    /// Keeps the newest ledger of an agent's epoch, beside the table: one put of one small object.
    pub async fn put_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        self.writable()?;
        ledger::put(self, ledger).await
    }

    /// The newest ledger of every agent's epoch, with what the table holds of it.
    pub async fn ledgers(&self) -> Result<Vec<AgentLedger>, StoreError> {
        ledger::all(self).await
    }

    /// Does one step of what keeps the table quick and within its bounds, if something is due at `now`. Of several
    /// processes that call this on one table, one works at a time.
    pub async fn maintain(&self, retention: &Retention, now: SystemTime) -> Result<Maintained, StoreError> {
        self.writable()?;
        maintenance::maintain(self, retention, now).await
    }

    /// How large the table is, at the newest version that this process knows.
    pub fn size(&self) -> TableSize {
        let view = Arc::clone(&self.0.views.borrow());
        let bytes = view.files.values().map(|file| file.size).sum();
        TableSize { version: view.version, files: view.files.len(), bytes }
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.0.read_only {
            return Err(StoreError::ReadOnly { url: self.0.location.url.clone() });
        }
        Ok(())
    }

    pub(crate) fn location(&self) -> &Location {
        &self.0.location
    }

    pub(crate) fn table_objects(&self) -> Arc<dyn ObjectStore> {
        self.0.location.table_objects()
    }

    pub(crate) fn files(&self) -> Files {
        Files::new(self.table_objects(), Arc::clone(&self.0.footers))
    }

    pub(crate) async fn follower(&self) -> tokio::sync::MutexGuard<'_, Follower> {
        self.0.follower.lock().await
    }

    pub(crate) async fn appending(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.appending.lock().await
    }

    pub(crate) fn checkpointing(&self) -> &Arc<tokio::sync::Mutex<()>> {
        &self.0.checkpointing
    }

    pub(crate) fn maintenance(&self) -> &tokio::sync::Mutex<maintenance::State> {
        &self.0.maintenance
    }

    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.0.views.subscribe()
    }

    pub(crate) fn pinned(&self) -> MutexGuard<'_, VecDeque<Arc<View>>> {
        self.0.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn newest_ledgers(&self) -> MutexGuard<'_, ledger::Newest> {
        self.0.newest_ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table as it is.
    pub(crate) async fn current(&self) -> Result<Arc<View>, StoreError> {
        let mut follower = self.follower().await;
        follower.catch_up().await?;
        self.publish(&follower);
        Ok(Arc::clone(follower.view()))
    }

    /// Lets this process's readers know of the follower's view.
    pub(crate) fn publish(&self, follower: &Follower) {
        self.0.views.send_if_modified(|view| {
            let is_newer = follower.view().version > view.version;
            if is_newer {
                *view = Arc::clone(follower.view());
            }
            is_newer
        });
    }
}

/// Brings a table that an earlier version made to this version's columns.
async fn add_missing_columns(location: &Location, follower: &mut Follower) -> Result<(), StoreError> {
    let error = |source: Cause| StoreError::Open { url: location.url.clone(), source };
    let missing =
        |follower: &Follower| schema::missing(follower.base()).map_err(|source| error(source.into()));
    let columns = missing(follower)?;
    if columns.is_empty() {
        return Ok(());
    }
    // Of two processes that do this at once, the second may find the columns there and commit them as they are.
    let added = follower
        .base()
        .clone()
        .add_columns()
        .with_fields(columns)
        .with_commit_properties(CommitProperties::default().with_max_retries(0))
        .await;
    if let Ok(table) = &added {
        location.sync_commit(table.version().unwrap_or_default()).await.map_err(error)?;
    }
    follower.catch_up().await?;
    match added {
        // Another process may have been first.
        Err(source) if !missing(follower)?.is_empty() => Err(error(source.into())),
        _ => Ok(()),
    }
}

/// Creates the table as its first commit.
async fn create(location: &Location) -> Result<(), Cause> {
    let statistics_columns = schema::STATISTICS_COLUMNS.join(",");
    DeltaTable::new(Arc::clone(&location.log_store))
        .create()
        .with_table_name(schema::TABLE_NAME)
        .with_comment(schema::TABLE_DESCRIPTION)
        .with_columns(schema::delta_columns())
        .with_partition_columns([schema::PARTITION_COLUMN])
        .with_configuration_property(TableProperty::DataSkippingStatsColumns, Some(statistics_columns))
        .with_configuration_property(
            TableProperty::CheckpointInterval,
            Some(maintenance::CHECKPOINT_INTERVAL.to_string()),
        )
        .with_configuration_property(TableProperty::LogRetentionDuration, Some(maintenance::LOG_RETENTION))
        .with_configuration_property(
            TableProperty::DeletedFileRetentionDuration,
            Some(maintenance::LOG_RETENTION),
        )
        .with_commit_properties(CommitProperties::default().with_max_retries(0))
        .await?;
    location.sync_commit(0).await
}

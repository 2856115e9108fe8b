//! Follows the table's log, and commits to it.
//!
//! The log is the only truth, a sequence of commits of which each is put only if there is none of its version.
//! A follower holds the state at one version: the data files, and per agent epoch the highest sequence that is
//! in the table (its mark, a Delta application transaction in the same commit as the batch's rows). It learns
//! of other writers' commits by reading the next versions until there is none.
//!
//! Exactly once follows from this alone: a commit of version V+1 was made by a writer that knew the marks at
//! V, and left out what they cover. A writer that finds V+1 taken reads it and starts over. A crash at any
//! moment leaves either a commit with rows and marks, or files that no commit names.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use deltalake::{
    DeltaTable,
    kernel::{
        Action, Add, Transaction,
        transaction::{CommitData, TransactionError},
    },
    logstore::{CommitOrBytes, get_actions},
    protocol::{DeltaOperation, SaveMode},
};
use uuid::Uuid;

use crate::{AgentEpoch, Cause, StoreError, location::Location, schema, view::View};

/// Beyond this the follower loads the table anew rather than read commit after commit: cheaper after a long
/// rest, and right also when the commits between are no longer in the log.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// A mark that is not known yet is looked up in the table as it was loaded, which needs the log of that time.
/// Far below the log's retention.
const BASE_MAX_AGE: Duration = Duration::from_secs(600);

/// Where a commit says how many attempts it lost, in its `commitInfo`.
const LOST_KEY: &str = "podtapLost";

/// Commits whose losses are kept for who paces its own by them; of more, the rest is passed over.
const MAX_LOSSES: usize = 1024;

/// What became of a commit.
pub(crate) enum Outcome {
    Committed,
    /// Another writer took the version.
    Conflict,
}

/// The state of the table at the newest version known.
#[derive(Debug)]
pub(crate) struct Follower {
    location: Location,
    view: Arc<View>,
    followed_at: Instant,
    /// The table as it was loaded last, for the marks of that time.
    base: DeltaTable,
    loaded_at: Instant,
    /// By application id: those asked for since the load, and those of every commit since.
    marks: HashMap<String, Option<i64>>,
    /// Attempts that each of the commits lost which were seen since they were asked for.
    losses: Vec<u32>,
}

impl Follower {
    pub(crate) async fn open(location: Location) -> Result<Self, StoreError> {
        let table = location.load(None).await?;
        let view = view_of(&location, &table)?;
        Ok(Self {
            location,
            view: Arc::new(view),
            followed_at: Instant::now(),
            base: table,
            loaded_at: Instant::now(),
            marks: HashMap::new(),
            losses: Vec::new(),
        })
    }

    /// The table as it was loaded last.
    pub(crate) fn base(&self) -> &DeltaTable {
        &self.base
    }

    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Reads what other writers have committed.
    pub(crate) async fn catch_up(&mut self) -> Result<(), StoreError> {
        if self.followed_at.elapsed() > STALE_AFTER {
            return self.load().await;
        }
        loop {
            let version = self.view.version + 1;
            let Some(actions) = read_commit(&self.location, version).await? else {
                self.followed_at = Instant::now();
                return Ok(());
            };
            match self.view.after(version, &actions) {
                Some(view) => self.advance(view, &actions),
                None => self.load().await?,
            }
        }
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        let table = self.location.load(None).await?;
        self.view = Arc::new(view_of(&self.location, &table)?);
        self.base = table;
        self.marks.clear();
        self.loaded_at = Instant::now();
        self.followed_at = self.loaded_at;
        Ok(())
    }

    fn advance(&mut self, view: View, actions: &[Action]) {
        self.view = Arc::new(view);
        for action in actions {
            match action {
                Action::Txn(transaction) => {
                    self.marks.insert(transaction.app_id.clone(), Some(transaction.version));
                }
                Action::CommitInfo(commit) if self.losses.len() < MAX_LOSSES => {
                    let lost = commit.info.get(LOST_KEY).and_then(serde_json::Value::as_u64);
                    self.losses.extend(lost.map(|lost| u32::try_from(lost).unwrap_or(u32::MAX)));
                }
                _ => {}
            }
        }
    }

    /// Of every append's commit that came since this was asked the last time, this process's own among them: how many
    /// attempts it lost. All writers of the table see the same.
    pub(crate) fn take_losses(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.losses)
    }

    /// The highest sequence of the epoch in the table at the view's version; 0 for none.
    pub(crate) async fn mark(&mut self, agent: &AgentEpoch) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.transaction(app_id(agent)).await?.unwrap_or(0)).unwrap_or(0))
    }

    /// The version of an application's newest transaction at the view's version.
    pub(crate) async fn transaction(&mut self, app_id: String) -> Result<Option<i64>, StoreError> {
        let version = match self.marks.get(&app_id) {
            Some(version) => *version,
            None => {
                if self.loaded_at.elapsed() > BASE_MAX_AGE {
                    self.load().await?;
                }
                let at = self.base.version().unwrap_or_default();
                let error = |source: Cause| StoreError::Log { version: at, source };
                let snapshot = self.base.snapshot().map_err(|source| error(source.into()))?;
                let version =
                    snapshot.transaction_version(self.location.log_store.as_ref(), app_id.clone()).await;
                let version = version.map_err(|source| error(source.into()))?;
                *self.marks.entry(app_id).or_insert(version)
            }
        };
        Ok(version)
    }

    /// Commits files and marks as the version after the view's, after so many attempts that were lost.
    pub(crate) async fn commit(
        &mut self,
        files: &[Add],
        marks: &[(AgentEpoch, i64)],
        lost: u32,
    ) -> Result<Outcome, StoreError> {
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![schema::PARTITION_COLUMN.to_owned()]),
            predicate: None,
        };
        let actions = files.iter().cloned().map(Action::Add).collect();
        let transactions = marks.iter().map(|(agent, mark)| Transaction::new(app_id(agent), *mark)).collect();
        let metadata = HashMap::from([(LOST_KEY.to_owned(), lost.into())]);
        self.put_commit(actions, operation, transactions, metadata).await
    }

    /// Commits actions and transactions as the version after the view's.
    pub(crate) async fn commit_actions(
        &mut self,
        actions: Vec<Action>,
        operation: DeltaOperation,
        transactions: Vec<Transaction>,
    ) -> Result<Outcome, StoreError> {
        self.put_commit(actions, operation, transactions, HashMap::new()).await
    }

    /// `metadata` is told in the commit's `commitInfo`.
    async fn put_commit(
        &mut self,
        actions: Vec<Action>,
        operation: DeltaOperation,
        transactions: Vec<Transaction>,
        metadata: HashMap<String, serde_json::Value>,
    ) -> Result<Outcome, StoreError> {
        let version = self.view.version + 1;
        let error = |source: Cause| StoreError::Append { version, source };
        let commit = CommitData::new(actions, operation, metadata, transactions);
        let bytes = commit.get_bytes().map_err(|source| error(source.into()))?;

        let log_store = &self.location.log_store;
        match log_store.write_commit_entry(version, CommitOrBytes::LogBytes(bytes), Uuid::new_v4()).await {
            Ok(()) => {}
            Err(TransactionError::VersionAlreadyExists(_)) => return Ok(Outcome::Conflict),
            Err(source) => return Err(error(source.into())),
        }
        self.location.sync_commit(version).await.map_err(error)?;
        match self.view.after(version, &commit.actions) {
            Some(view) => self.advance(view, &commit.actions),
            None => self.load().await?,
        }
        self.followed_at = Instant::now();
        Ok(Outcome::Committed)
    }
}

/// The actions of one commit; `None` where there is none of that version, yet or any more.
pub(crate) async fn read_commit(
    location: &Location,
    version: u64,
) -> Result<Option<Vec<Action>>, StoreError> {
    let error = |source: Cause| StoreError::Log { version, source };
    let bytes: Option<Bytes> =
        location.log_store.read_commit_entry(version).await.map_err(|source| error(source.into()))?;
    let Some(bytes) = bytes else { return Ok(None) };
    get_actions(version, &bytes).map(Some).map_err(|source| error(source.into()))
}

/// Checks the table and takes the view of it.
pub(crate) fn view_of(location: &Location, table: &DeltaTable) -> Result<View, StoreError> {
    schema::check(table).map_err(|reason| StoreError::OtherSchema { url: location.url.clone(), reason })?;
    View::of(table).map_err(|source| StoreError::Open { url: location.url.clone(), source })
}

/// Names an agent's epoch among the writers of a Delta table.
fn app_id(agent: &AgentEpoch) -> String {
    format!("podtap/{}/{}", agent.agent, agent.epoch)
}

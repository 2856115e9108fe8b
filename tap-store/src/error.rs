//! What can go wrong with the table: the operation, the object it was about, and the cause.

use url::Url;

/// The cause of a [`StoreError`], from whichever layer below.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What was asked of the table could not be done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is not one that a table can be at.
    #[error("{url} can't hold a table: {source}")]
    Location { url: Url, source: Cause },
    /// The location can't be reached, or holds something that can't be read as a table.
    #[error("open the table at {url}: {source}")]
    Open { url: Url, source: Cause },
    /// There is no table, and a read-only store creates none.
    #[error("there is no table at {url}")]
    NoTable { url: Url },
    /// A Delta table, but not one of exchanges: another schema or layout.
    #[error("the table at {url} is not a table of exchanges: {reason}")]
    OtherSchema { url: Url, reason: String },
    /// The transaction log can't be read.
    #[error("read version {version} of the table's log: {source}")]
    Log { version: u64, source: Cause },
    /// Nothing of the batches is in the table, or their commit's outcome is unknown; appending them again is safe.
    #[error("append to the table at version {version}: {source}")]
    Append { version: u64, source: Cause },
    /// Other writers won every attempt; appending the batches again is safe.
    #[error("append to the table: other writers won {attempts} attempts")]
    Contended { attempts: u32 },
    /// A batch that no table can hold.
    #[error("batch {sequence} of {agent}: {reason}")]
    InvalidBatch { agent: String, sequence: u64, reason: &'static str },
    /// A store opened read-only was asked to write.
    #[error("the table at {url} is open read-only")]
    ReadOnly { url: Url },
    /// A data file of the table can't be read.
    #[error("read {path}: {source}")]
    Read { path: String, source: Cause },
    /// A ledger beside the table can't be read or written.
    #[error("{operation} the ledger {path}: {source}")]
    Ledger { operation: &'static str, path: String, source: Cause },
    /// A query that asks for what is not given.
    #[error("{0}")]
    InvalidQuery(String),
    /// A step of maintenance failed; the next one tries again.
    #[error("{operation} the table: {source}")]
    Maintenance { operation: &'static str, source: Cause },
    /// A page or resume token that is malformed, expired, or of another query or table.
    #[error("{0}")]
    InvalidToken(String),
}

impl StoreError {
    /// Whether a data file was to be read that is not there: of a version of the table that is too old.
    pub(crate) fn is_missing_file(&self) -> bool {
        let Self::Read { source, .. } = self else { return false };
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
        while let Some(error) = cause {
            if let Some(object_store::Error::NotFound { .. }) = error.downcast_ref() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

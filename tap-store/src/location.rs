//! Where everything is: `<url>/exchanges` is the Delta table, `<url>/ledger` holds the agents' ledgers.
//!
//! Two folders rather than one inside the other, so that a reader or a vacuum of the table never meets an
//! object that is not the table's.
//!
//! Durability on a local directory is this module's affair: `object_store` does not sync, so what must survive
//! a power failure is synced here, file and folder, before it counts as written. A bucket is durable as it is.

mod address;
mod schemes;

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, Once},
    time::Duration,
};

use deltalake::{
    DeltaTable,
    logstore::{LogStoreRef, StorageConfig, commit_uri_from_version, logstore_for},
};
use object_store::{ObjectStore, RetryConfig, path::Path};
use url::Url;

pub use address::{AddressError, StoreOptions, parse_store_url};

use crate::{Cause, StoreError};

/// A request to a bucket is tried again for as long as a short disturbance lasts. After that the bucket is away, which is
/// a state to tell of, not to wait out in silence.
const RETRIES: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);

/// A location with its object stores.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) url: Url,
    /// Rooted at `url`.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// The log of the table at `<url>/exchanges`.
    pub(crate) log_store: LogStoreRef,
    /// Of the table; `None` on a remote store.
    local_table: Option<PathBuf>,
}

impl Location {
    /// Reaches for nothing but, where `create` is set, the local directory.
    pub(crate) fn new(url: &Url, options: &StoreOptions, create: bool) -> Result<Self, StoreError> {
        let error = |source: Cause| StoreError::Location { url: url.clone(), source };
        register_schemes();
        address::check_settings(url, options).map_err(|source| error(source.into()))?;
        let table_url = child(url, "exchanges");
        let mut local_table = None;
        if url.scheme() == "file" {
            let path = table_url.to_file_path().map_err(|()| error("not an absolute path".into()))?;
            if create {
                std::fs::create_dir_all(&path)
                    .map_err(|source| StoreError::Open { url: url.clone(), source: source.into() })?;
            } else if !path.is_dir() {
                return Err(StoreError::NoTable { url: url.clone() });
            }
            local_table = Some(path);
        }
        let config = StorageConfig {
            retry: RetryConfig {
                max_retries: RETRIES,
                retry_timeout: RETRY_TIMEOUT,
                ..RetryConfig::default()
            },
            raw: options.clone(),
            ..StorageConfig::default()
        };
        let root = logstore_for(url, config.clone()).map_err(|source| error(source.into()))?;
        let log_store = logstore_for(&table_url, config).map_err(|source| error(source.into()))?;
        Ok(Self { url: url.clone(), objects: root.object_store(None), log_store, local_table })
    }

    /// The table at its newest version, or at the one given.
    pub(crate) async fn load(&self, version: Option<u64>) -> Result<DeltaTable, StoreError> {
        let mut table = DeltaTable::new(Arc::clone(&self.log_store));
        let loaded = match version {
            Some(version) => table.load_version(version).await,
            None => table.load().await,
        };
        loaded.map_err(|source| StoreError::Open { url: self.url.clone(), source: source.into() })?;
        Ok(table)
    }

    pub(crate) async fn has_table(&self) -> Result<bool, StoreError> {
        let found = self.log_store.is_delta_table_location().await;
        found.map_err(|source| StoreError::Open { url: self.url.clone(), source: source.into() })
    }

    /// Rooted at the table.
    pub(crate) fn table_objects(&self) -> Arc<dyn ObjectStore> {
        self.log_store.object_store(None)
    }

    /// Whether a put that failed is over: over a network it may still arrive.
    pub(crate) fn failure_is_final(&self) -> bool {
        self.local_table.is_some()
    }

    /// Makes objects of the table survive a power failure.
    pub(crate) async fn sync(&self, objects: Vec<Path>) -> Result<(), Cause> {
        let Some(table) = self.local_table.clone() else { return Ok(()) };
        let sync = move || -> std::io::Result<()> {
            for object in objects {
                let file = table.join(object.as_ref());
                File::open(&file)?.sync_all()?;
                // Up to the table's folder: the object may be the first of its partition.
                for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(&table)) {
                    File::open(folder)?.sync_all()?;
                }
            }
            Ok(())
        };
        Ok(tokio::task::spawn_blocking(sync).await??)
    }

    /// The same of an object beside the table.
    pub(crate) async fn sync_beside(&self, object: &Path) -> Result<(), Cause> {
        let Some(root) = self.local_table.as_deref().and_then(std::path::Path::parent) else { return Ok(()) };
        let file = root.join(object.as_ref());
        let sync = move || -> std::io::Result<()> {
            File::open(&file)?.sync_all()?;
            file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        Ok(tokio::task::spawn_blocking(sync).await??)
    }

    pub(crate) async fn sync_commit(&self, version: u64) -> Result<(), Cause> {
        self.sync(vec![commit_uri_from_version(Some(version))]).await
    }
}

/// Makes the schemes known to `deltalake`. It does so itself when a program starts, unless the linker left that out.
fn register_schemes() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        deltalake::aws::register_handlers(None);
        deltalake::gcp::register_handlers(None);
        deltalake::azure::register_handlers(None);
    });
}

fn child(url: &Url, name: &str) -> Url {
    let mut child = url.clone();
    child.set_path(&format!("{}/{name}", url.path().trim_end_matches('/')));
    child
}

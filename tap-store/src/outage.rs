//! Why a store can't be used, told apart as far as an administrator can act on it.
//!
//! The cause is found in the chain of an error's sources, where the system's and the object store's own errors are. What
//! is not recognised is [`Outage::Failed`], and its text says the rest.

use std::{error::Error, fmt, io};

use object_store::client::{HttpError, HttpErrorKind};
use url::Url;

use crate::StoreError;

/// Where clouds tell a machine its credentials: asked last of all, when no others were found.
const METADATA_SERVICE: &str = "169.254.169.254";

/// A state of a store in which it can't be written, or not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outage {
    /// No space, or no quota, is left.
    DiskFull,
    /// The file system is mounted read-only, which the kernel also does to one that is broken.
    ReadOnly,
    /// The credentials, or the rights of this user, don't suffice.
    Denied,
    /// There are no credentials.
    NoCredentials,
    /// The bucket, the container or the directory is not there.
    Missing,
    /// No connection: the name is not resolved, or nobody answers there.
    Unreachable,
    /// Connected, and no answer in time.
    TimedOut,
    /// Asked too often.
    Throttled,
    /// Other writers win every attempt.
    Contended,
    /// Anything else.
    Failed,
}

impl Outage {
    /// All of them, for a metric that has a series for each.
    pub const ALL: [Self; 10] = [
        Self::DiskFull,
        Self::ReadOnly,
        Self::Denied,
        Self::NoCredentials,
        Self::Missing,
        Self::Unreachable,
        Self::TimedOut,
        Self::Throttled,
        Self::Contended,
        Self::Failed,
    ];

    /// For labels of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Denied => "denied",
            Self::NoCredentials => "no_credentials",
            Self::Missing => "missing",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Throttled => "throttled",
            Self::Contended => "contended",
            Self::Failed => "failed",
        }
    }

    /// What is wrong with the store at `url`, and what to do about it.
    pub fn advice(self, url: &Url) -> String {
        let is_directory = url.scheme() == "file";
        let place = if is_directory { url.path().to_owned() } else { without_secrets(url) };
        match self {
            Self::DiskFull => {
                format!("the disk of {place} is full: free space there, or set a retention")
            }
            Self::ReadOnly => {
                format!(
                    "the file system of {place} is read-only: mount it for writing, and look at the kernel's log"
                )
            }
            Self::Denied if is_directory => {
                format!("this user may not write to {place}: change its owner or its mode")
            }
            Self::Denied => format!(
                "{place} refuses these credentials: check the key and what it may do (docs/stores.md has the rights that are needed)"
            ),
            Self::NoCredentials => {
                format!(
                    "no credentials for {place} were found: docs/stores.md says where they are looked for"
                )
            }
            Self::Missing if is_directory => format!("{place} is gone: mount or make it again"),
            Self::Missing => {
                format!("{place} is not there: make the bucket, or check its name and the endpoint")
            }
            Self::Unreachable => format!(
                "no connection to {place}: check the endpoint, the name resolution and the network's policies"
            ),
            Self::TimedOut => {
                format!("{place} does not answer in time: check its load and the network between")
            }
            Self::Throttled => {
                format!("{place} is asked too often: lengthen commit.interval, or have fewer collectors")
            }
            Self::Contended => {
                format!(
                    "other collectors win every commit to {place}: lengthen commit.interval, or have fewer collectors"
                )
            }
            Self::Failed => format!("{place} can't be used; the error says why"),
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl StoreError {
    /// What kind of trouble this is.
    pub fn outage(&self) -> Outage {
        match self {
            Self::Contended { .. } => Outage::Contended,
            error => of(error),
        }
    }
}

fn of(error: &(dyn Error + 'static)) -> Outage {
    let mut link = Some(error);
    let mut found = None;
    // The deepest cause that is recognised says most.
    while let Some(cause) = link {
        found = of_one(cause).or(found);
        link = cause.source();
    }
    // It is a connection that fails, and what is missing are credentials.
    match found {
        Some(Outage::Unreachable | Outage::TimedOut) if error.to_string().contains(METADATA_SERVICE) => {
            Outage::NoCredentials
        }
        found => found.unwrap_or(Outage::Failed),
    }
}

fn of_one(cause: &(dyn Error + 'static)) -> Option<Outage> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        // Such an error hides another from the chain.
        return match error.get_ref() {
            Some(inner) => Some(of(inner)).filter(|outage| *outage != Outage::Failed),
            None => of_system(error.kind()),
        };
    }
    if let Some(error) = cause.downcast_ref::<HttpError>() {
        return match error.kind() {
            HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Interrupted => {
                Some(Outage::Unreachable)
            }
            HttpErrorKind::Timeout => Some(Outage::TimedOut),
            _ => None,
        };
    }
    match cause.downcast_ref::<object_store::Error>()? {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Some(Outage::Denied)
        }
        object_store::Error::NotFound { .. } => Some(Outage::Missing),
        // What the provider of AWS' credentials answers where there are none.
        object_store::Error::NotSupported { .. } => Some(Outage::NoCredentials),
        object_store::Error::Generic { source, .. } => of_answer(&source.to_string()),
        _ => None,
    }
}

/// By the status of an answer, which is in the error's text alone.
fn of_answer(text: &str) -> Option<Outage> {
    if text.contains("SlowDown") {
        return Some(Outage::Throttled);
    }
    let (_, status) = text.split_once("status code: ")?;
    match status.get(..3)? {
        "401" | "403" => Some(Outage::Denied),
        "404" => Some(Outage::Missing),
        "429" | "503" => Some(Outage::Throttled),
        "507" => Some(Outage::DiskFull),
        _ => None,
    }
}

fn of_system(kind: io::ErrorKind) -> Option<Outage> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Outage::DiskFull),
        io::ErrorKind::ReadOnlyFilesystem => Some(Outage::ReadOnly),
        io::ErrorKind::PermissionDenied => Some(Outage::Denied),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Some(Outage::Missing),
        io::ErrorKind::TimedOut => Some(Outage::TimedOut),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Some(Outage::Unreachable),
        _ => None,
    }
}

/// The URL without what may be a credential.
fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // Fails only for URLs that can't have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(source: impl Error + Send + Sync + 'static) -> StoreError {
        StoreError::Append { version: 7, source: Box::new(source) }
    }

    fn generic(source: impl Error + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(source) }
    }

    #[test]
    fn finds_the_cause_however_deep_it_is() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(append(full).outage(), Outage::DiskFull);
        let wrapped = io::Error::other(generic(io::Error::from_raw_os_error(no_space())));
        assert_eq!(append(wrapped).outage(), Outage::DiskFull);
        let http = generic(HttpError::new(HttpErrorKind::Connect, io::Error::other("dns error")));
        assert_eq!(append(http).outage(), Outage::Unreachable);
        let http = generic(HttpError::new(HttpErrorKind::Timeout, io::Error::other("late")));
        assert_eq!(append(http).outage(), Outage::TimedOut);
        let denied = object_store::Error::PermissionDenied {
            path: "x".to_owned(),
            source: Box::new(io::Error::other("403")),
        };
        assert_eq!(append(denied).outage(), Outage::Denied);
        let answer = io::Error::other("Server returned non-2xx status code: 403 Forbidden: <Code>…");
        assert_eq!(append(generic(answer)).outage(), Outage::Denied);
        assert_eq!(append(io::Error::other("whatever")).outage(), Outage::Failed);
        assert_eq!(StoreError::Contended { attempts: 3 }.outage(), Outage::Contended);
    }

    #[test]
    fn says_that_credentials_are_missing_rather_than_that_nobody_tells_them() {
        let text = format!("error sending request for url (http://{METADATA_SERVICE}/latest/api/token)");
        let http = generic(HttpError::new(HttpErrorKind::Connect, io::Error::other(text)));
        assert_eq!(append(http).outage(), Outage::NoCredentials);
    }

    #[test]
    fn advice_names_the_place_and_no_secret() {
        let bucket = Url::parse("s3://key:secret@captures/prod?token=secret").unwrap();
        let directory = Url::parse("file:///var/lib/podtap").unwrap();
        for outage in Outage::ALL {
            let advice = outage.advice(&bucket);
            assert!(advice.contains("captures/prod") && !advice.contains("secret"), "{advice}");
            assert!(outage.advice(&directory).contains("/var/lib/podtap"));
        }
    }

    /// ENOSPC on Linux.
    fn no_space() -> i32 {
        28
    }
}

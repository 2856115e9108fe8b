//! What may be given as a store: a path, or a URL of one of a few schemes; and the settings that one needs.
//!
//! Credentials and endpoints are not part of the URL: they come from the environment, under the names that the clouds'
//! own tools use. `docs/stores.md` lists them. What can be seen to be missing or contradictory is said before the store is
//! reached for, by the name of the setting.

use std::{collections::HashMap, env};

use url::Url;

use super::schemes::{self, Scheme};

/// Settings by their names in the environment, as `AWS_ENDPOINT_URL`. They win over the environment.
pub type StoreOptions = HashMap<String, String>;

/// Why something can't be a store.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("must not be empty")]
    Empty,
    #[error("not a usable path: {0}")]
    Path(String),
    #[error("not a URL: {0}")]
    Url(url::ParseError),
    #[error("scheme {0:?} is not supported: {known}, or a path", known = schemes::known())]
    Scheme(String),
    #[error("{scheme}:// needs the name of a {container}: {scheme}://{container}/prefix")]
    NoContainer { scheme: &'static str, container: &'static str },
    #[error("a URL must not carry credentials: {0}")]
    Credentials(&'static str),
    #[error("a URL must not have a query or a fragment: settings come from the environment")]
    Query,
    /// A setting that is missing, or can't be as it is.
    #[error("{setting}: {reason}")]
    Setting { setting: &'static str, reason: String },
}

/// The URL of a store, from a path or a URL.
pub fn parse_store_url(text: &str) -> Result<Url, AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    // "a:b" would parse as a URL of scheme "a": only what has "://" is one.
    if !text.contains("://") {
        let path = std::path::absolute(text).map_err(|error| AddressError::Path(error.to_string()))?;
        return Url::from_directory_path(&path)
            .map_err(|()| AddressError::Path("no URL can name it".to_owned()));
    }
    let url = Url::parse(text).map_err(AddressError::Url)?;
    let scheme = Scheme::of(&url)?;
    if scheme == Scheme::File {
        return url
            .to_file_path()
            .map(|_| url)
            .map_err(|()| AddressError::Path("must be file:///directory, without a host".to_owned()));
    }
    if url.host_str().unwrap_or_default().is_empty() {
        return Err(AddressError::NoContainer { scheme: scheme.name(), container: scheme.container() });
    }
    // abfss://container@account.dfs.core.windows.net is the one form in which a name comes before an @.
    let names_container = scheme == Scheme::Azure && url.scheme().starts_with("abfs");
    if url.password().is_some() || !(names_container || url.username().is_empty()) {
        return Err(AddressError::Credentials(scheme.credentials()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(AddressError::Query);
    }
    Ok(url)
}

/// Checks what can be checked of the settings without reaching for the store.
pub(super) fn check_settings(url: &Url, options: &StoreOptions) -> Result<(), AddressError> {
    let lookup = |name: &str| {
        let option = options.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = option.map(|(_, value)| value.clone()).or_else(|| env::var(name).ok());
        value.filter(|value| !value.is_empty())
    };
    schemes::check(Scheme::of(url)?, url, &lookup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_paths_and_urls() {
        for (text, url) in [
            ("/var/lib/podtap", "file:///var/lib/podtap/"),
            ("file:///var/lib/podtap", "file:///var/lib/podtap"),
            ("s3://captures/prod", "s3://captures/prod"),
            ("s3a://captures", "s3a://captures"),
            ("gs://captures/prod", "gs://captures/prod"),
            ("az://captures/prod", "az://captures/prod"),
            (
                "abfss://captures@account.dfs.core.windows.net/prod",
                "abfss://captures@account.dfs.core.windows.net/prod",
            ),
        ] {
            assert_eq!(parse_store_url(text).map(String::from).as_deref(), Ok(url));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, reason) in [
            ("", "must not be empty"),
            ("ftp://host/x", r#"scheme "ftp" is not supported: file, s3, s3a, gs, az, "#),
            ("s3:///prod", "s3:// needs the name of a bucket: s3://bucket/prefix"),
            ("s3://key:secret@captures", "AWS_ACCESS_KEY_ID"),
            ("gs://me@captures", "GOOGLE_SERVICE_ACCOUNT"),
            ("abfss://captures:secret@account.dfs.core.windows.net", "AZURE_STORAGE_ACCOUNT_KEY"),
            ("s3://captures?region=eu", "a query"),
            ("file://host/x", "without a host"),
        ] {
            let error = parse_store_url(text).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("secret"), "{text}: {error}");
        }
    }
}

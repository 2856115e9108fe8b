//! The kinds of stores, and which settings each can't do without.

use url::Url;

use super::address::AddressError;

/// A setting's value, by its name in the environment.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

const SCHEMES: [(&str, Scheme); 9] = [
    ("file", Scheme::File),
    ("s3", Scheme::S3),
    ("s3a", Scheme::S3),
    ("gs", Scheme::Google),
    ("az", Scheme::Azure),
    ("azure", Scheme::Azure),
    ("adl", Scheme::Azure),
    ("abfs", Scheme::Azure),
    ("abfss", Scheme::Azure),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    File,
    S3,
    Google,
    Azure,
}

impl Scheme {
    pub(super) fn of(url: &Url) -> Result<Self, AddressError> {
        let known = SCHEMES.iter().find(|(name, _)| *name == url.scheme());
        known.map(|(_, scheme)| *scheme).ok_or_else(|| AddressError::Scheme(url.scheme().to_owned()))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    /// What a URL's first part names.
    pub(super) fn container(self) -> &'static str {
        match self {
            Self::File => "directory",
            Self::S3 | Self::Google => "bucket",
            Self::Azure => "container",
        }
    }

    /// Where credentials belong.
    pub(super) fn credentials(self) -> &'static str {
        match self {
            Self::File => "a directory needs none",
            Self::S3 => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the pod a role"
            }
            Self::Google => "set GOOGLE_SERVICE_ACCOUNT to a key file, or give the pod an identity",
            Self::Azure => "set AZURE_STORAGE_ACCOUNT_KEY, or give the pod an identity",
        }
    }
}

/// The schemes' names, for a message.
pub(super) fn known() -> String {
    SCHEMES.map(|(name, _)| name).join(", ")
}

pub(super) fn check(scheme: Scheme, url: &Url, lookup: Lookup<'_>) -> Result<(), AddressError> {
    match scheme {
        Scheme::File => Ok(()),
        Scheme::S3 => check_s3(lookup),
        Scheme::Google => check_google(lookup),
        Scheme::Azure => check_azure(url, lookup),
    }
}

fn wrong<T>(setting: &'static str, reason: impl Into<String>) -> Result<T, AddressError> {
    Err(AddressError::Setting { setting, reason: reason.into() })
}

fn check_s3(lookup: Lookup<'_>) -> Result<(), AddressError> {
    match (lookup("AWS_ACCESS_KEY_ID"), lookup("AWS_SECRET_ACCESS_KEY")) {
        (Some(_), None) => {
            return wrong("AWS_SECRET_ACCESS_KEY", "is not set, and AWS_ACCESS_KEY_ID is");
        }
        (None, Some(_)) => {
            return wrong("AWS_ACCESS_KEY_ID", "is not set, and AWS_SECRET_ACCESS_KEY is");
        }
        _ => {}
    }
    if lookup("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() && lookup("AWS_ROLE_ARN").is_none() {
        return wrong("AWS_ROLE_ARN", "is not set, and AWS_WEB_IDENTITY_TOKEN_FILE is");
    }
    if lookup("AWS_CONDITIONAL_PUT").is_some_and(|value| value.eq_ignore_ascii_case("disabled")) {
        return wrong(
            "AWS_CONDITIONAL_PUT",
            "must not be disabled: collectors would overwrite each other's commits",
        );
    }
    let Some(endpoint) = lookup("AWS_ENDPOINT_URL").or_else(|| lookup("AWS_ENDPOINT")) else {
        return Ok(());
    };
    let url = match Url::parse(&endpoint) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => return wrong("AWS_ENDPOINT_URL", "must be a URL, as https://minio.storage:9000"),
    };
    let allowed = lookup("AWS_ALLOW_HTTP").is_some_and(|value| is_true(&value));
    if url.scheme() == "http" && !allowed {
        return wrong("AWS_ALLOW_HTTP", "must be true for an endpoint without TLS");
    }
    // Beside an endpoint of one's own the files of AWS' tools are read on request only.
    if lookup("AWS_PROFILE").is_some()
        && lookup("AWS_ACCESS_KEY_ID").is_none()
        && lookup("AWS_FORCE_CREDENTIAL_LOAD").is_none()
    {
        return wrong("AWS_FORCE_CREDENTIAL_LOAD", "must be true for AWS_PROFILE beside AWS_ENDPOINT_URL");
    }
    Ok(())
}

fn check_google(lookup: Lookup<'_>) -> Result<(), AddressError> {
    for setting in ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_APPLICATION_CREDENTIALS"]
    {
        if let Some(path) = lookup(setting)
            && !std::path::Path::new(&path).is_file()
        {
            return wrong(setting, "names a file that is not there");
        }
    }
    Ok(())
}

fn check_azure(url: &Url, lookup: Lookup<'_>) -> Result<(), AddressError> {
    // abfss://container@account.dfs.core.windows.net names it.
    let names_account = !url.username().is_empty();
    let given = ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"];
    if !names_account && given.iter().all(|setting| lookup(setting).is_none()) {
        return wrong("AZURE_STORAGE_ACCOUNT_NAME", "must be set: the URL names the container alone");
    }
    if lookup("AZURE_STORAGE_CLIENT_SECRET").is_some() && lookup("AZURE_STORAGE_CLIENT_ID").is_none() {
        return wrong("AZURE_STORAGE_CLIENT_ID", "is not set, and AZURE_STORAGE_CLIENT_SECRET is");
    }
    Ok(())
}

fn is_true(text: &str) -> bool {
    ["1", "true", "on", "yes", "y"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str, settings: &[(&str, &str)]) -> Result<(), String> {
        let url = Url::parse(url).unwrap();
        let lookup =
            |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        check(Scheme::of(&url).unwrap(), &url, &lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn names_the_setting_that_is_missing() {
        let s3 = "s3://captures/prod";
        for (url, settings, expected) in [
            (s3, &[("AWS_ACCESS_KEY_ID", "k")][..], "AWS_SECRET_ACCESS_KEY"),
            (s3, &[("AWS_SECRET_ACCESS_KEY", "s")], "AWS_ACCESS_KEY_ID"),
            (s3, &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")], "AWS_ROLE_ARN"),
            (s3, &[("AWS_CONDITIONAL_PUT", "disabled")], "AWS_CONDITIONAL_PUT"),
            (s3, &[("AWS_ENDPOINT_URL", "minio:9000")], "AWS_ENDPOINT_URL"),
            (s3, &[("AWS_ENDPOINT_URL", "http://minio:9000")], "AWS_ALLOW_HTTP"),
            (
                s3,
                &[("AWS_ENDPOINT_URL", "https://minio:9000"), ("AWS_PROFILE", "staging")],
                "AWS_FORCE_CREDENTIAL_LOAD",
            ),
            ("gs://captures", &[("GOOGLE_SERVICE_ACCOUNT", "/nowhere.json")], "GOOGLE_SERVICE_ACCOUNT"),
            ("az://captures/prod", &[], "AZURE_STORAGE_ACCOUNT_NAME"),
        ] {
            let error = checked(url, settings).unwrap_err();
            assert!(error.starts_with(&format!("{expected}: ")), "{settings:?}: {error}");
        }
    }

    #[test]
    fn takes_what_may_come_from_a_role() {
        assert_eq!(checked("s3://captures", &[]), Ok(()));
        let role = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn")];
        assert_eq!(checked("s3://captures", &role), Ok(()));
        let minio = [("AWS_ENDPOINT_URL", "http://minio:9000"), ("AWS_ALLOW_HTTP", "true")];
        assert_eq!(checked("s3://captures", &minio), Ok(()));
        assert_eq!(checked("gs://captures", &[]), Ok(()));
        assert_eq!(checked("abfss://captures@account.dfs.core.windows.net/prod", &[]), Ok(()));
    }
}

//! Which targets replays may be sent at.

use std::{fmt, str::FromStr};

use url::Url;

/// `http://host[:port][/prefix]`, or `https://…`: covers what has the same scheme, host and port, and a path below the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedTarget {
    url: Url,
}

impl FromStr for AllowedTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url =
            Url::parse(text).map_err(|error| format!("must be http://HOST[:PORT][/PREFIX]: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must start with http:// or https://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have credentials".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a query or a fragment".to_owned());
        }
        Ok(Self { url })
    }
}

impl AllowedTarget {
    /// Compares what the URLs mean, not their text: case, default ports and dot segments make no difference.
    pub(crate) fn covers(&self, target: &str) -> bool {
        let Ok(target) = target.parse::<Self>() else { return false };
        let (allowed, target) = (&self.url, target.url);
        let below = |prefix: &str, path: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        allowed.scheme() == target.scheme()
            && allowed.host() == target.host()
            && allowed.port_or_known_default() == target.port_or_known_default()
            && below(allowed.path().trim_end_matches('/'), target.path().trim_end_matches('/'))
    }
}

impl fmt::Display for AllowedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_the_same_origin_below_the_prefix() {
        for (allowed, target) in [
            ("http://staging", "http://STAGING:80/"),
            ("http://staging:8080", "http://staging:8080/any/where"),
            ("http://staging:8080/v2/", "http://staging:8080/v2"),
            ("http://staging:8080/v2", "http://staging:8080/v2/cart"),
            ("http://[::1]:8080", "http://[0:0::1]:8080"),
        ] {
            assert!(allowed.parse::<AllowedTarget>().unwrap().covers(target), "{allowed} {target}");
        }
    }

    #[test]
    fn covers_nothing_else() {
        for (allowed, target) in [
            ("http://staging", "http://staging:8080"),
            ("http://staging", "http://staging.evil.example"),
            ("http://staging", "http://staging@evil.example"),
            ("http://staging:80", "http://staging:80@evil.example/"),
            ("http://staging/v2", "http://staging/v20"),
            ("http://staging/v2", "http://staging/v2/../v1"),
            ("http://staging/v2", "http://staging/v2/%2e%2e/v1"),
            ("http://staging", "ftp://staging"),
            ("http://staging", "https://staging"),
            ("https://staging", "http://staging:443"),
            ("http://staging", "staging"),
        ] {
            assert!(!allowed.parse::<AllowedTarget>().unwrap().covers(target), "{allowed} {target}");
        }
    }
}

//! Where requests go.

use std::fmt;

use url::{Host, Url};

use super::PlanError;

/// Where requests go: an HTTP server, and the prefix before each recorded path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name or an address, without the brackets of an IPv6 address in a URL.
    host: String,
    port: u16,
    is_https: bool,
    /// As in a Host header: without the port where it is the scheme's.
    authority: String,
    /// Empty, or starting and not ending with "/".
    prefix: String,
}

impl Target {
    /// Reads `http://host[:port][/prefix]`, or `https://…`. Refuses credentials, queries and fragments, which would be lost.
    pub fn parse(target: &str) -> Result<Self, PlanError> {
        let refuse =
            |reason: &str| PlanError::Target { target: target.to_owned(), reason: reason.to_owned() };
        if target.is_empty() {
            return Err(refuse("no target given; for example http://127.0.0.1:8080"));
        }
        let url = Url::parse(target).map_err(|error| refuse(&format!("not a URL: {error}")))?;
        let is_https = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(refuse("must start with http:// or https://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            // The error must not repeat a password.
            return Err(PlanError::Target {
                target: url.host_str().unwrap_or_default().to_owned(),
                reason: "must not have credentials".to_owned(),
            });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("must not have a query or a fragment"));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(refuse("has no host")),
        };
        let host_in_url = url.host_str().unwrap_or_default();
        Ok(Self {
            host,
            port: url.port().unwrap_or(if is_https { 443 } else { 80 }),
            is_https,
            authority: url
                .port()
                .map_or_else(|| host_in_url.to_owned(), |port| format!("{host_in_url}:{port}")),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// What a Host header says.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        let target = Target::parse("http://[::1]:8080/v2/").unwrap();
        assert_eq!((target.host(), target.port()), ("::1", 8080));
        assert_eq!(target.authority(), "[::1]:8080");
        assert_eq!(target.prefix(), "/v2");
        assert_eq!(target.to_string(), "http://[::1]:8080/v2");
        assert_eq!(Target::parse("http://shop/").unwrap().authority(), "shop");
        let target = Target::parse("https://shop/").unwrap();
        assert_eq!((target.port(), target.is_https()), (443, true));
        assert_eq!(target.to_string(), "https://shop");
        assert_eq!(Target::parse("https://shop:80").unwrap().authority(), "shop:80");
    }

    #[test]
    fn unusable_targets_are_refused_and_no_password_is_repeated() {
        for target in ["", "shop:8080", "ftp://shop", "http://", "http://shop/?a=b", "http://shop/#x"] {
            assert!(Target::parse(target).is_err(), "{target}");
        }
        let error = Target::parse("http://me:s3cret@shop/").unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

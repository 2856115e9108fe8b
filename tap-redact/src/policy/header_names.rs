//! Header fields by name: which hold secrets, which hold URLs, which hold nothing but protocol.

/// Fields whose whole value is a secret or names a person, beside those whose name contains such a word.
pub(super) const SECRET: &[&str] = &[
    "authentication",
    "authorization",
    "cf-access-jwt-assertion",
    "from",
    "proxy-authorization",
    "sec-websocket-protocol",
    "session-id",
    "x-amz-security-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-api-key",
    "x-auth-request-user",
    "x-auth-user",
    "x-authenticated-user",
    "x-csrf-token",
    "x-forwarded-client-cert",
    "x-forwarded-user",
    "x-goog-api-key",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-goog-iap-jwt-assertion",
    "x-remote-user",
    "x-session",
    "x-ssl-client-cert",
    "x-ssl-client-s-dn",
];

/// Fields that hold a URL.
pub(crate) const URLS: &[&str] = &[
    "content-location",
    "destination",
    "location",
    "origin",
    "referer",
    "referrer",
    "x-envoy-original-path",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Fields of the protocol itself, whose grammar leaves little room for data of a person: no name in them counts, and
/// `strict` allows them. They are searched as any other. Sorted.
const PROTOCOL: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "date",
    "dnt",
    "etag",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-modified",
    "max-forwards",
    "permissions-policy",
    "pragma",
    "priority",
    "range",
    "referrer-policy",
    "retry-after",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "server",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "vary",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
];

/// Whether a field, in lower case, is one of the protocol itself.
pub(crate) fn is_protocol(name: &str) -> bool {
    PROTOCOL.binary_search(&name).is_ok()
}

/// Whether a field, in lower case, embeds URLs in something else.
pub(crate) fn is_embedding(name: &str) -> bool {
    matches!(name, "refresh" | "link")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted() {
        assert!(PROTOCOL.is_sorted());
    }
}

//! Which header fields are compared.

/// Not compared unless `headers.defaults: false`: what belongs to the connection or the framing, to the moment,
/// to the server that happened to answer, or to one request. A `*` at the end stands for any rest.
const DEFAULT_IGNORED: [&str; 48] = [
    // Connection and framing.
    "connection",
    "keep-alive",
    "proxy-*",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    // Recorded bodies are stored decoded.
    "content-encoding",
    "accept-ranges",
    // The moment, and validators that are made of it.
    "date",
    "age",
    "expires",
    "last-modified",
    "etag",
    "retry-after",
    "x-ratelimit-*",
    "ratelimit*",
    // The server and what is in front of it.
    "server",
    "via",
    "alt-svc",
    "nel",
    "report-to",
    "x-powered-by",
    "x-served-by",
    "x-cache*",
    "x-timer",
    "x-envoy-*",
    "x-amz-*",
    "x-amzn-*",
    "x-azure-*",
    "x-goog-*",
    "cf-*",
    "x-vercel-*",
    "fly-*",
    // One request.
    "x-request-id",
    "request-id",
    "x-correlation-id",
    "x-trace-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-*",
    "x-cloud-trace-context",
    "server-timing",
    "x-runtime",
    "x-response-time",
    "podtap-replay",
];

/// Lists of header names; `only` wins over all others.
#[derive(Clone, Debug)]
pub(crate) struct HeaderRules {
    only: Option<Vec<String>>,
    ignore: Vec<String>,
    defaults: bool,
}

impl HeaderRules {
    pub(super) fn new(only: Option<Vec<String>>, ignore: Vec<String>, defaults: bool) -> Self {
        Self { only, ignore, defaults }
    }

    pub(crate) fn compares(&self, name: &str) -> bool {
        if self.ignore.iter().any(|pattern| is(name, pattern)) {
            return false;
        }
        match &self.only {
            Some(only) => only.iter().any(|pattern| is(name, pattern)),
            None => !(self.defaults && DEFAULT_IGNORED.iter().any(|pattern| is(name, pattern))),
        }
    }
}

fn is(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.get(..start.len()).is_some_and(|name| name.eq_ignore_ascii_case(start)),
        None => name.eq_ignore_ascii_case(pattern),
    }
}

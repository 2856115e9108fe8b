//! Where what a mock can't answer is passed on to.

use std::{str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::recording::NOT_COPIED;
use crate::MARKER;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// To the head of the answer; its body may go on for as long as it likes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// An HTTP server, and the host for which it answers; for every host where none is named.
#[derive(Clone)]
pub struct Upstream {
    pub(super) for_host: Option<String>,
    scheme: &'static str,
    host: String,
    port: u16,
    authority: HeaderValue,
    prefix: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why an upstream can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?}: {reason}")]
pub struct UpstreamError {
    url: String,
    reason: &'static str,
}

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("connect")]
    Connect(#[source] std::io::Error),
    #[error("timeout")]
    Timeout(#[from] time::error::Elapsed),
    #[error("exchange")]
    Exchange(#[from] hyper::Error),
    #[error("the request can't be sent on")]
    Unsendable,
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    /// `URL`, or `HOST=URL`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (for_host, url) = match text.split_once('=') {
            Some((host, url)) if !host.contains('/') => (Some(host.to_ascii_lowercase()), url),
            _ => (None, text),
        };
        let wrong = |reason| UpstreamError {
            // Not a password, wherever it stands.
            url: if url.contains('@') { "…".to_owned() } else { url.to_owned() },
            reason,
        };
        let parsed = Url::parse(url).map_err(|_| wrong("no URL; http://127.0.0.1:8080 is one"))?;
        let scheme = match parsed.scheme() {
            "http" => "http",
            "https" => "https",
            _ => return Err(wrong("neither http:// nor https://")),
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("must not have credentials"));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("must not have a query or a fragment"));
        }
        let host = match parsed.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(wrong("has no host")),
        };
        let in_url = parsed.host_str().unwrap_or_default();
        let authority = parsed.port().map_or_else(|| in_url.to_owned(), |port| format!("{in_url}:{port}"));
        let tls = if scheme == "https" {
            let name = ServerName::try_from(host.clone()).map_err(|_| wrong("has no name for TLS"))?;
            Some((TlsConnector::from(Arc::new(tls().map_err(wrong)?)), name))
        } else {
            None
        };
        Ok(Self {
            for_host,
            scheme,
            port: parsed.port_or_known_default().unwrap_or(80),
            authority: HeaderValue::try_from(authority).map_err(|_| wrong("has no host"))?,
            prefix: parsed.path().trim_end_matches('/').to_owned(),
            host,
            tls,
        })
    }
}

impl Upstream {
    pub(super) fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub(super) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Sends a request on, on a connection of its own, and returns the answer as it begins.
    pub(super) async fn send(
        &self,
        head: &http::request::Parts,
        content: Bytes,
        marker: &HeaderValue,
    ) -> Result<Response<Incoming>, Failure> {
        let request = self.request(head, content, marker)?;
        let stream = time::timeout(CONNECT_TIMEOUT, TcpStream::connect((self.host.as_str(), self.port)));
        let stream = stream.await?.map_err(Failure::Connect)?;
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some((connector, name)) => {
                let handshake = time::timeout(CONNECT_TIMEOUT, connector.connect(name.clone(), stream));
                exchange(handshake.await?.map_err(Failure::Connect)?, request).await
            }
        }
    }

    fn request(
        &self,
        head: &http::request::Parts,
        content: Bytes,
        marker: &HeaderValue,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let path = if path == "*" { path.to_owned() } else { format!("{}{path}", self.prefix) };
        let mut request = Request::new(Full::new(content));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = Uri::from(PathAndQuery::try_from(path).map_err(|_| Failure::Unsendable)?);
        let options = connection_options(&head.headers);
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority.clone());
        for (name, value) in &head.headers {
            let ends_here = NOT_COPIED.contains(name)
                || [header::HOST, header::EXPECT, header::ACCEPT_ENCODING].contains(name)
                || options.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()));
            if !ends_here {
                headers.append(name, value.clone());
            }
        }
        // What is recorded is stored decoded.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(HeaderName::from_static(MARKER), marker.clone());
        Ok(request)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { for_host, scheme, authority, prefix, .. } = self;
        let url = format!("{scheme}://{}{prefix}", authority.to_str().unwrap_or_default());
        formatter.debug_struct("Upstream").field("for_host", for_host).field("url", &url).finish()
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    // Ends when the body was read, or dropped; its error is the one that the request or the body gets.
    tokio::spawn(connection);
    Ok(time::timeout(ANSWER_TIMEOUT, sender.send_request(request)).await??)
}

/// The headers that `Connection` names.
pub(super) fn connection_options(headers: &http::HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).collect()
}

/// TLS with the machine's certificate authorities.
fn tls() -> Result<rustls::ClientConfig, &'static str> {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err("this machine has no certificate authorities to check https with");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "TLS can't be used")?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_urls_for_a_host_or_for_all() {
        let upstream: Upstream = "Payments.example=http://127.0.0.1:8080/v2/".parse().unwrap();
        assert_eq!(upstream.for_host.as_deref(), Some("payments.example"));
        assert_eq!((upstream.port, upstream.prefix.as_str()), (8080, "/v2"));
        assert_eq!(upstream.authority, "127.0.0.1:8080");
        assert_eq!("http://[::1]".parse::<Upstream>().unwrap().host, "::1");
        for wrong in ["", "shop", "ftp://x", "http://x/?a=b", "a=b"] {
            assert!(wrong.parse::<Upstream>().is_err(), "{wrong}");
        }
        let error = "http://me:s3cret@x".parse::<Upstream>().unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

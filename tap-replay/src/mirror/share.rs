//! The share of the exchanges that is mirrored ([`tap_expr::share`]): the same in every collector.
//!
//! The keys are read from what redaction left: a header that redaction replaces has another hash than a sample sees before it,
//! and the same wherever the same redaction key is used.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tap_expr::share::{Keyed, Share, ShareKey};
use tap_proto::v1::{Endpoint, Exchange};

/// What decides whether an exchange is in the share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    #[default]
    Connection,
    TraceId,
    Header,
}

/// Checks a share; an error is the setting and what is wrong with it.
pub fn share(percent: f64, by: By, header: Option<&str>) -> Result<Share, (&'static str, String)> {
    let key = match (by, header) {
        (By::Header, Some(name)) => ShareKey::Header(name.to_owned()),
        (By::Header, None) => return Err(("header", "is needed where by is header".to_owned())),
        (_, Some(_)) => return Err(("header", "belongs to by: header".to_owned())),
        (By::Connection, None) => ShareKey::Connection,
        (By::TraceId, None) => ShareKey::TraceId,
    };
    Share::new(percent, key).map_err(|error| (error.setting(), error.to_string()))
}

/// An exchange as it is stored.
#[derive(Debug)]
pub struct AsStored<'e>(pub &'e Exchange);

impl Keyed for AsStored<'_> {
    fn request_header(&self, name: &str) -> Option<&[u8]> {
        let headers = &self.0.request.as_ref()?.headers;
        let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value })
    }

    fn client(&self) -> String {
        let Some(Endpoint { ip, port, .. }) = &self.0.source else { return String::new() };
        match (ip.parse::<IpAddr>(), u16::try_from(*port)) {
            (Ok(ip), Ok(port)) => SocketAddr::new(ip.to_canonical(), port).to_string(),
            _ => format!("{ip}:{port}"),
        }
    }
}

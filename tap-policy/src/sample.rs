//! Sampling: a policy keeps a stable share of what its pods say ([`tap_expr::share`]), by what was captured.

use std::net::SocketAddr;

use tap_expr::share::{Keyed, Share, ShareKey};
use tap_flow::{Exchange, Role};

use crate::resource::{SampleKey, SampleSpec};

/// Checks a sample; an error is the field and what is wrong with it.
pub(crate) fn compile(sample: &SampleSpec) -> Result<Share, (&'static str, String)> {
    let SampleSpec { percent, key, header } = sample;
    let key = match (key, header) {
        (SampleKey::Header, Some(name)) => ShareKey::Header(name.clone()),
        (SampleKey::Header, None) => return Err(("header", "is needed where key is header".to_owned())),
        (_, Some(_)) => return Err(("header", "belongs to key: header".to_owned())),
        (SampleKey::Connection, None) => ShareKey::Connection,
        (SampleKey::TraceId, None) => ShareKey::TraceId,
    };
    Share::new(*percent, key).map_err(|error| (error.setting(), error.to_string()))
}

/// An exchange as it was captured: before redaction, which may change any header.
pub(crate) struct AsCaptured<'e>(pub(crate) &'e Exchange);

impl Keyed for AsCaptured<'_> {
    fn request_header(&self, name: &str) -> Option<&[u8]> {
        self.0.request.as_ref()?.headers.get(name)
    }

    /// With a Service between them, both ends see the client alike too.
    fn client(&self) -> String {
        let address = match self.0.role {
            Role::Inbound => self.0.flow.remote,
            Role::Outbound => self.0.flow.local,
        };
        SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
    }
}

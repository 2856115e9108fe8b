//! Which exchanges a mirror is for, and the request that it sends for one. Pure.

use std::borrow::Cow;

use tap_proto::v1::{self, Exchange, Role};

use super::{
    settings::{HostForm, Rules, Scope},
    share::AsStored,
};
use crate::request::{Outgoing, Refusal, draft};

/// Why an exchange is not meant for a mirror: the setting that says so. In the order of the tests. The words are part of the
/// report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOver {
    Role,
    Method,
    Host,
    Path,
    Filter,
    Percent,
}

impl PassedOver {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Method => "method",
            Self::Host => "host",
            Self::Path => "path",
            Self::Filter => "filter",
            Self::Percent => "percent",
        }
    }
}

impl Rules {
    /// Whether the mirror looks at the exchange at all.
    pub fn considers(&self, exchange: &Exchange) -> bool {
        self.scope.as_ref().is_none_or(|Scope { namespace, policy }| {
            exchange.namespace == *namespace && exchange.mirrors.contains(policy)
        })
    }

    /// Whether the exchange is meant for the mirror. The costly tests come last.
    pub fn select(&self, exchange: &Exchange) -> Result<(), PassedOver> {
        let nothing = v1::Request::default();
        let request = exchange.request.as_ref().unwrap_or(&nothing);
        if !self.any_role && exchange.role() != Role::Inbound {
            return Err(PassedOver::Role);
        }
        if !self.methods.contains(&request.method) {
            return Err(PassedOver::Method);
        }
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| is_host(host, &request.host)) {
            return Err(PassedOver::Host);
        }
        if !self.prefixes.is_empty() && self.prefix(&request.path).is_none() {
            return Err(PassedOver::Path);
        }
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(exchange)) {
            return Err(PassedOver::Filter);
        }
        if !self.share.has(&AsStored(exchange)) {
            return Err(PassedOver::Percent);
        }
        Ok(())
    }

    /// The request to send, or why there is none, as in a replay's report.
    pub(super) fn request(&self, exchange: &Exchange) -> Result<Outgoing, Refusal> {
        let mut draft = draft(exchange, &self.plan)?;
        if self.host == HostForm::Shadow {
            draft.host = Cow::Owned(self.host.of(&draft.host));
        }
        if let Some(rewrite) = &self.rewrite
            && let Some(request) = &exchange.request
            && let Some(prefix) = self.prefix(&request.path)
        {
            let rest = &request.path[prefix.len()..];
            // One slash between the two, as the gateways do it.
            let rewrite = if rest.starts_with('/') { rewrite.trim_end_matches('/') } else { rewrite };
            draft.path = Cow::Owned(format!("{}{rewrite}{rest}", self.plan.target().prefix()));
        }
        draft.encode(&self.plan)
    }

    /// The longest of the prefixes with which the path begins.
    fn prefix(&self, path: &str) -> Option<&str> {
        let matching = self.prefixes.iter().filter(|prefix| path.starts_with(prefix.as_str()));
        matching.max_by_key(|prefix| prefix.len()).map(String::as_str)
    }
}

/// `wanted` is in lower case, as is what is recorded.
fn is_host(wanted: &str, recorded: &str) -> bool {
    recorded == wanted
        || recorded
            .strip_prefix(wanted)
            .and_then(|port| port.strip_prefix(':'))
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

//! What makes requests one session, and the stable choice of sessions.

use std::{fmt, str::FromStr};

use tap_proto::v1::Exchange;

use crate::request::{is_token, value};

/// Longest text of a key: it is hashed for every exchange.
const MAX_NAME_LENGTH: usize = 256;

/// Where the name of a session stands in its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SessionKey {
    /// The recorded connection.
    #[default]
    Connection,
    Cookie(String),
    Header(String),
    Query(String),
    /// The Authorization header.
    Token,
    /// Every request is a session of its own.
    None,
}

/// Which sessions are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Of all, from 0 to 1.
    pub(crate) sample: f64,
    /// Of `shards`, from 0.
    pub(crate) shard: u32,
    pub(crate) shards: u32,
}

/// A key that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session {0:?}: must be connection, cookie:NAME, header:NAME, query:NAME, token or none")]
pub struct SessionKeyError(String);

impl FromStr for SessionKey {
    type Err = SessionKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || SessionKeyError(text.to_owned());
        if let Some((place, name)) = text.split_once(':') {
            if !is_token(name) || name.len() > MAX_NAME_LENGTH {
                return Err(wrong());
            }
            return match place {
                "cookie" => Ok(Self::Cookie(name.to_owned())),
                "header" => Ok(Self::Header(name.to_owned())),
                "query" => Ok(Self::Query(name.to_owned())),
                _ => Err(wrong()),
            };
        }
        match text {
            "" | "connection" => Ok(Self::Connection),
            "token" => Ok(Self::Token),
            "none" => Ok(Self::None),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => formatter.write_str("connection"),
            Self::Cookie(name) => write!(formatter, "cookie:{name}"),
            Self::Header(name) => write!(formatter, "header:{name}"),
            Self::Query(name) => write!(formatter, "query:{name}"),
            Self::Token => formatter.write_str("token"),
            Self::None => formatter.write_str("none"),
        }
    }
}

impl SessionKey {
    /// The session of `exchange` as a hash that is the same everywhere; its connection's where its request has
    /// no such key; `None` where it has neither.
    pub(crate) fn of(&self, exchange: &Exchange) -> Option<u64> {
        let named = match self {
            Self::None => return None,
            Self::Connection => None,
            Self::Cookie(name) => cookie(exchange, name).map(|value| hash(&[b"cookie", value])),
            Self::Header(name) => header(exchange, name).map(|value| hash(&[b"header", value])),
            Self::Token => header(exchange, "authorization").map(|value| hash(&[b"token", value])),
            Self::Query(name) => {
                let query = exchange.request.as_ref().map_or("", |request| request.query.as_str());
                let pair = query.split('&').filter_map(|pair| pair.split_once('='));
                pair.filter(|(given, _)| given == name)
                    .map(|(_, value)| hash(&[b"query", value.as_bytes()]))
                    .next()
            }
        };
        named.or_else(|| connection(exchange))
    }

    /// As [`Self::of`], and the exchange's own id where it has no session: what a choice goes by.
    pub(crate) fn or_exchange(&self, exchange: &Exchange) -> u64 {
        self.of(exchange).unwrap_or_else(|| hash(&[b"id", exchange.id.as_bytes()]))
    }
}

impl Choice {
    /// Why the session is not sent.
    pub(crate) fn leaves_out(&self, session: u64) -> Option<&'static str> {
        // Sample and shard look at different halves, so that one does not bias the other.
        let place = (session >> 32) as f64 / f64::from(u32::MAX);
        if self.sample < 1.0 && place >= self.sample {
            Some("sample")
        } else if (session as u32) % self.shards != self.shard {
            Some("shard")
        } else {
            None
        }
    }
}

fn connection(exchange: &Exchange) -> Option<u64> {
    let Exchange { agent, node, epoch, flow, .. } = exchange;
    // Captures that did not come from an agent have no connections.
    let known = *flow != 0 || !agent.is_empty() || !node.is_empty();
    known.then(|| {
        let whose = if agent.is_empty() { node } else { agent };
        hash(&[b"connection", whose.as_bytes(), &epoch.to_be_bytes(), &flow.to_be_bytes()])
    })
}

fn header<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a [u8]> {
    let headers = &exchange.request.as_ref()?.headers;
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(value)
}

fn cookie<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a [u8]> {
    let headers = exchange.request.iter().flat_map(|request| &request.headers);
    headers
        .filter(|header| header.name.eq_ignore_ascii_case("cookie"))
        .flat_map(|header| header.value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(given, value)| (given == name).then_some(value.as_bytes()))
}

/// FNV-1a over the parts with their lengths, then the finaliser of MurmurHash3, which spreads it over all bits:
/// the same on every machine and in every version.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut byte = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for part in parts {
        (part.len() as u64).to_be_bytes().into_iter().for_each(&mut byte);
        part.iter().copied().for_each(&mut byte);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use tap_proto::v1::{Header, Request};

    use super::*;

    const ALL: Choice = Choice { sample: 1.0, shard: 0, shards: 1 };

    fn exchange(flow: u64, query: &str, headers: &[(&str, &str)]) -> Exchange {
        Exchange {
            agent: "node-1".into(),
            flow,
            request: Some(Request {
                query: query.into(),
                headers: headers
                    .iter()
                    .map(|&(name, value)| Header {
                        name: name.into(),
                        value: value.into(),
                        ..Header::default()
                    })
                    .collect(),
                ..Request::default()
            }),
            ..Exchange::default()
        }
    }

    fn key(key: &str, exchange: &Exchange) -> Option<u64> {
        key.parse::<SessionKey>().unwrap().of(exchange)
    }

    #[test]
    fn a_session_is_named_by_its_key_or_else_its_connection() {
        let one = exchange(1, "a=1&sid=x", &[("Cookie", "a=b; SID=7"), ("AUTHORIZATION", "Bearer t")]);
        let two =
            exchange(2, "sid=x", &[("cookie", "c=d"), ("Cookie", "SID=7"), ("authorization", "Bearer t")]);
        for same in ["cookie:SID", "query:sid", "token", "header:Authorization"] {
            assert_eq!(key(same, &one), key(same, &two), "{same}");
        }
        for different in ["connection", "cookie:sid", "query:SID", "header:x"] {
            assert_ne!(key(different, &one), key(different, &two), "{different}");
            assert!(key(different, &one).is_some());
        }
        assert_eq!(key("none", &one), None);
        assert_eq!(key("connection", &Exchange::default()), None);
    }

    #[test]
    fn keys_are_written_as_they_are_read() {
        for text in ["connection", "cookie:SID", "header:x-session", "query:s", "token", "none"] {
            assert_eq!(text.parse::<SessionKey>().unwrap().to_string(), text);
        }
        for text in ["cookies", "cookie:", "cookie:a b", "header:a:b", "x:y"] {
            assert!(text.parse::<SessionKey>().is_err(), "{text}");
        }
    }

    /// Other agents, mirrors and versions must choose the same: the constants are a promise.
    #[test]
    fn the_hash_stays_what_it_is() {
        assert_eq!(hash(&[]), 0xefd0_1f60_ba99_2926);
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }

    #[test]
    fn shards_share_everything_without_overlap_and_samples_have_their_share() {
        let sessions: Vec<u64> = (0..10_000_u64).map(|n| hash(&[&n.to_be_bytes()])).collect();
        for shards in [1, 2, 3, 7] {
            for &session in &sessions {
                let owners = (0..shards)
                    .filter(|&shard| Choice { sample: 1.0, shard, shards }.leaves_out(session).is_none());
                assert_eq!(owners.count(), 1);
            }
        }
        let kept =
            |choice: Choice| sessions.iter().filter(|&&session| choice.leaves_out(session).is_none()).count();
        let sampled = kept(Choice { sample: 0.1, ..ALL });
        assert!((900..1_100).contains(&sampled), "{sampled}");
        // A sample of a shard is a sample.
        let both = kept(Choice { sample: 0.1, shard: 0, shards: 2 });
        assert!((400..600).contains(&both), "{both}");
        // A larger sample has all of a smaller one.
        assert!(sessions.iter().all(|&session| {
            Choice { sample: 0.1, ..ALL }.leaves_out(session).is_some()
                || Choice { sample: 0.2, ..ALL }.leaves_out(session).is_none()
        }));
    }
}

//! How a mock matches and answers.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use http::{HeaderName, StatusCode};

use super::{FieldPath, PathTemplate};

/// Longest latency that is waited: as for chaos.
const MAX_LATENCY: Duration = crate::chaos::MAX_DELAY;

/// Everything about answers that is not about matching.
#[derive(Clone, Debug)]
pub struct Settings {
    pub session: Session,
    pub sequence: Sequence,
    pub latency: Latency,
    /// Of a miss.
    pub miss_status: StatusCode,
    /// Answer with responses, too, that were not captured whole.
    pub serve_incomplete: bool,
    /// Move dates in headers by the time since the recording.
    pub shift_dates: bool,
}

/// What of a request must be as recorded.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    pub query: QueryMatch,
    /// Parameters that are not compared.
    pub ignore_query: Vec<String>,
    /// Headers that are compared; no others are.
    pub headers: Vec<HeaderName>,
    pub body: BodyMatch,
    /// Fields of structured bodies that are not compared.
    pub ignore_fields: Vec<FieldPath>,
    pub paths: Vec<PathTemplate>,
    /// Only the recorded path itself, no template of it.
    pub exact_paths: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryMatch {
    /// The same parameters with the same values.
    #[default]
    Unordered,
    /// And in the same order.
    Ordered,
    Ignored,
}

/// The least that a body must have in common with the recorded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyMatch {
    /// Nothing.
    Ignored,
    /// Names and types.
    Signature,
    /// All fields of the recorded one, with their values.
    #[default]
    Subset,
    /// The same values, or bytes.
    Equal,
}

/// Requests of one session go through a sequence of answers together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// All of them.
    #[default]
    All,
    Connection,
    Cookie(String),
    Header(HeaderName),
}

/// What comes after the last of several recorded answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sequence {
    /// The last one, again and again.
    #[default]
    Last,
    /// The first one.
    Cycle,
}

/// How long an answer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Latency {
    #[default]
    None,
    /// As long as it took when it was recorded, times this.
    Recorded(f64),
    Fixed(Duration),
}

/// What an index holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub exchanges: usize,
    pub bytes: usize,
}

/// A socket, and the host that answers there, whatever `Host` says; any where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub host: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session: Session::default(),
            sequence: Sequence::default(),
            latency: Latency::default(),
            miss_status: StatusCode::NOT_FOUND,
            serve_incomplete: false,
            shift_dates: false,
        }
    }
}

impl Default for Limits {
    /// Some hundred thousand small answers, and a fraction of a small machine.
    fn default() -> Self {
        Self { exchanges: 200_000, bytes: 256 * 1024 * 1024 }
    }
}

impl Latency {
    /// What is waited before an answer that was recorded to take `recorded`.
    pub(super) fn of(self, recorded: Option<Duration>) -> Duration {
        let latency = match self {
            Self::None => Duration::ZERO,
            Self::Recorded(factor) => {
                let seconds = recorded.unwrap_or_default().as_secs_f64() * factor;
                Duration::from_secs_f64(seconds.clamp(0.0, MAX_LATENCY.as_secs_f64()))
            }
            Self::Fixed(latency) => latency,
        };
        latency.min(MAX_LATENCY)
    }
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "not `none`, `recorded`, `recorded*0.5` nor a duration (200ms)".to_owned();
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(factor) = text.strip_prefix("recorded") {
            let factor = match factor.strip_prefix('*') {
                Some(factor) => factor.parse().map_err(|_| wrong())?,
                None if factor.is_empty() => 1.0,
                None => return Err(wrong()),
            };
            return if (0.0..=1_000.0).contains(&factor) { Ok(Self::Recorded(factor)) } else { Err(wrong()) };
        }
        let span = text.parse::<jiff::SignedDuration>().map_err(|_| wrong())?;
        Duration::try_from(span).map(Self::Fixed).map_err(|_| wrong())
    }
}

impl FromStr for Session {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            None if text == "connection" => Ok(Self::Connection),
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.to_owned())),
            Some(("header", name)) => {
                name.parse().map(Self::Header).map_err(|_| "no name of a header".to_owned())
            }
            _ => Err("not `all`, `connection`, `cookie:NAME` nor `header:NAME`".to_owned()),
        }
    }
}

impl FromStr for Listener {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, host) = match text.split_once('=') {
            Some((address, host)) if !host.is_empty() => (address, Some(host.to_ascii_lowercase())),
            Some(_) => return Err("no host after `=`".to_owned()),
            None => (text, None),
        };
        let address = match address.strip_prefix(':') {
            // Without an address: this machine alone, as for everything else that has no authentication.
            Some(port) => format!("127.0.0.1:{port}"),
            None => address.to_owned(),
        };
        let address = address
            .parse()
            .map_err(|_| "not :PORT nor ADDRESS:PORT, then =HOST where one is meant".to_owned())?;
        Ok(Self { address, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_written() {
        assert_eq!("recorded*0.5".parse(), Ok(Latency::Recorded(0.5)));
        assert_eq!("200ms".parse(), Ok(Latency::Fixed(Duration::from_millis(200))));
        assert_eq!(Latency::Recorded(2.0).of(Some(Duration::from_secs(1))), Duration::from_secs(2));
        assert_eq!(Latency::Recorded(1.0).of(Some(Duration::MAX)), MAX_LATENCY);
        for wrong in ["recorded*", "recorded*-1", "recorded*NaN", "recorded2", "-1s", "fast", ""] {
            assert!(wrong.parse::<Latency>().is_err(), "{wrong}");
        }
        assert_eq!("cookie:sid".parse(), Ok(Session::Cookie("sid".into())));
        assert!("cookie:".parse::<Session>().is_err() && "header:a b".parse::<Session>().is_err());
        let listener: Listener = ":9090=Payments.example".parse().unwrap();
        assert_eq!(
            (listener.address.to_string(), listener.host),
            ("127.0.0.1:9090".into(), Some("payments.example".into()))
        );
        assert_eq!("[::]:80".parse::<Listener>().unwrap().address.port(), 80);
        assert!(":9090=".parse::<Listener>().is_err() && "9090".parse::<Listener>().is_err());
    }
}

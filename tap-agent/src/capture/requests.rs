//! Asking the kernel programs to leave out what nobody needs of a connection.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{Array, MapData};
use tap_common::{
    ASK_SKIP_EGRESS, ASK_SKIP_INGRESS, ASK_VERDICT, Request, VERDICT_GIVEN_UP, VERDICT_HTTP2, VERDICT_OTHER,
    VERDICT_TLS,
};
use tap_flow::{Direction, Protocol, Unneeded};

/// The requests map, shared by the threads of all rings: they ask once for a large body, and for each connection that
/// is no HTTP/1.
#[derive(Clone)]
pub(super) struct Requests(Arc<Mutex<Array<MapData, Request>>>);

impl Requests {
    pub(super) fn new(map: Array<MapData, Request>) -> Self {
        Self(Arc::new(Mutex::new(map)))
    }

    /// Asks the socket with this cookie. What the kernel does not take costs copies, and no more.
    pub(super) fn ask(&self, cookie: u64, unneeded: Unneeded) {
        let Some(request) = request(cookie, unneeded) else { return };
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = map.set(Request::place(cookie), request, 0) {
            tracing::debug!(%error, "cannot ask the kernel programs to leave something out");
        }
    }
}

/// What is asked of a socket, in the words of the programs.
fn request(cookie: u64, unneeded: Unneeded) -> Option<Request> {
    let verdict = |verdict: u32| ASK_VERDICT + u64::from(verdict);
    let (ask, sequence) = match unneeded {
        Unneeded::Nothing => return None,
        Unneeded::Until { direction: Direction::Ingress, sequence } => (ASK_SKIP_INGRESS, sequence),
        Unneeded::Until { direction: Direction::Egress, sequence } => (ASK_SKIP_EGRESS, sequence),
        Unneeded::Rest { protocol: Some(Protocol::Tls) } => (verdict(VERDICT_TLS), 0),
        Unneeded::Rest { protocol: Some(Protocol::Http2) } => (verdict(VERDICT_HTTP2), 0),
        Unneeded::Rest { protocol: Some(Protocol::Other) } => (verdict(VERDICT_OTHER), 0),
        Unneeded::Rest { protocol: None } => (verdict(VERDICT_GIVEN_UP), 0),
    };
    Some(Request::new(cookie, ask, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wish_has_its_word() {
        let cookie = 4711;
        let asked = |unneeded| {
            let request = request(cookie, unneeded).expect("something is asked");
            assert!(request.is_for(cookie));
            (request.ask(), request.sequence())
        };
        for direction in [Direction::Ingress, Direction::Egress] {
            let (ask, sequence) = asked(Unneeded::Until { direction, sequence: 0xdead_beef });
            assert_eq!(ask, if direction == Direction::Ingress { ASK_SKIP_INGRESS } else { ASK_SKIP_EGRESS });
            assert_eq!(sequence, 0xdead_beef);
        }
        for (protocol, verdict) in [
            (Some(Protocol::Tls), VERDICT_TLS),
            (Some(Protocol::Http2), VERDICT_HTTP2),
            (Some(Protocol::Other), VERDICT_OTHER),
            (None, VERDICT_GIVEN_UP),
        ] {
            assert_eq!(asked(Unneeded::Rest { protocol }).0, ASK_VERDICT + u64::from(verdict));
        }
        assert_eq!(request(cookie, Unneeded::Nothing), None);
    }
}

//! What the kernel programs keep of each socket, and what the agent asks them to leave out.

/// Nothing is known yet.
pub const VERDICT_UNKNOWN: u32 = 0;
/// It has carried what starts like an HTTP/1 message. Binding for nobody: all of it is copied.
pub const VERDICT_HTTP1: u32 = 1;
/// From here on: payload is counted and not copied.
pub const VERDICT_TLS: u32 = 2;
pub const VERDICT_HTTP2: u32 = 3;
/// Neither HTTP nor TLS.
pub const VERDICT_OTHER: u32 = 4;
/// The agent can't follow it any more, though it was HTTP/1: upgraded, or framed in a way that can't be known.
pub const VERDICT_GIVEN_UP: u32 = 5;
/// Places for them, a power of two: the verifier knows a mask for a bound.
pub const VERDICTS: usize = 8;
/// Those of which payload is not copied, from [`VERDICT_TLS`] on: a power of two, too.
pub const SKIPPING_VERDICTS: usize = 4;

/// The value of the sockets map: one for each connected socket that has carried payload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    /// The tap that the socket's bytes are counted for.
    pub tap: u64,
    /// The last request of the agent's that was carried out: [`Request::word`].
    pub request: u64,
    /// One of the `VERDICT_` constants.
    pub verdict: u32,
    /// 1 if `egress_start` is known: the socket's own SYN was seen.
    pub began: u32,
    /// The sequence number of the first byte that it sends.
    pub egress_start: u32,
    /// By direction: 1 while there is something to skip.
    pub skips: [u32; 2],
    /// By direction: payload before this sequence number is counted and not copied.
    pub skip_until: [u32; 2],
    pub _pad: u32,
}

/// The value of the requests map: what the agent asks of one socket.
///
/// The map is an array, and a socket's place in it comes of its cookie. Of two sockets in one place the later request wins:
/// one that is lost costs copies that nobody needs, and no more.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// From the low bits up: 32 of a sequence number, 4 of what is asked, 28 that name the socket.
    pub word: u64,
    /// The complement of `word`: a value that is read while it is written doesn't fit.
    pub check: u64,
}

/// Places in the requests map, a power of two: some for each connection that carries large bodies at once.
pub const MAX_REQUESTS: u32 = 16 * 1024;

/// Skip what arrives, up to the sequence number.
pub const ASK_SKIP_INGRESS: u64 = 1;
/// Skip what is sent, up to the sequence number.
pub const ASK_SKIP_EGRESS: u64 = 2;
/// Skip everything: added to a verdict of which payload is not copied.
pub const ASK_VERDICT: u64 = 8;

const ASK_SHIFT: u32 = 32;
const NAME_SHIFT: u32 = 36;
const NAME_BITS: u64 = (1 << 28) - 1;

impl Request {
    /// Asks something of the socket with this cookie. `ask` is one of the `ASK_` constants, the last with a verdict added.
    pub const fn new(cookie: u64, ask: u64, sequence: u32) -> Self {
        let word = Self::name(cookie) << NAME_SHIFT | ask << ASK_SHIFT | sequence as u64;
        Self { word, check: !word }
    }

    /// The socket's place in the map.
    #[inline(always)]
    pub const fn place(cookie: u64) -> u32 {
        cookie as u32 & (MAX_REQUESTS - 1)
    }

    /// Whether it is for the socket with this cookie, provided that it is in its place.
    #[inline(always)]
    pub const fn is_for(&self, cookie: u64) -> bool {
        self.word == !self.check && self.word >> NAME_SHIFT == Self::name(cookie)
    }

    /// What is asked.
    #[inline(always)]
    pub const fn ask(&self) -> u64 {
        self.word >> ASK_SHIFT & 0xf
    }

    #[inline(always)]
    pub const fn sequence(&self) -> u32 {
        self.word as u32
    }

    /// The part of the cookie that its place doesn't tell. Cookies are given out one after another: those of two sockets
    /// would have to be 2⁴² apart to be taken for each other.
    #[inline(always)]
    const fn name(cookie: u64) -> u64 {
        cookie >> MAX_REQUESTS.trailing_zeros() & NAME_BITS
    }
}

const _: () = assert!(size_of::<SocketState>() == 48);
const _: () = assert!(size_of::<Request>() == 16);
const _: () = assert!(MAX_REQUESTS.is_power_of_two());
const _: () = assert!(VERDICT_GIVEN_UP as usize - VERDICT_TLS as usize + 1 == SKIPPING_VERDICTS);
const _: () = assert!(VERDICTS.is_power_of_two() && SKIPPING_VERDICTS.is_power_of_two());

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya requires this promise for map values")]
// SAFETY: `repr(C)`, made of `u64` alone: no padding, every bit pattern is valid.
unsafe impl aya::Pod for Request {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_one_socket() {
        let request = Request::new(0x1234_5678_9abc, ASK_SKIP_EGRESS, 0xffff_fff0);
        assert!(request.is_for(0x1234_5678_9abc));
        assert!(!request.is_for(0x1234_5678_9abc + u64::from(MAX_REQUESTS)), "the same place");
        assert_eq!((request.ask(), request.sequence()), (ASK_SKIP_EGRESS, 0xffff_fff0));
        assert!(Request::place(u64::MAX) < MAX_REQUESTS);
    }

    #[test]
    fn an_empty_or_torn_place_is_for_nobody() {
        assert!(!Request::default().is_for(0));
        let (old, new) = (Request::new(7, ASK_SKIP_EGRESS, 1), Request::new(7, ASK_SKIP_EGRESS, 2));
        assert!(!Request { word: new.word, check: old.check }.is_for(7));
    }

    #[test]
    fn verdicts_fit_in_what_is_asked() {
        for verdict in [VERDICT_TLS, VERDICT_HTTP2, VERDICT_OTHER, VERDICT_GIVEN_UP] {
            let request = Request::new(1, ASK_VERDICT + u64::from(verdict), 0);
            assert_eq!(request.ask() - ASK_VERDICT, u64::from(verdict));
        }
    }
}

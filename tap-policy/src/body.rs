//! What of bodies a policy lets through, applied to an exchange as it goes on the wire.
//!
//! After redaction and not before: a body that was cut can't be read as a whole any more, and redaction would have to drop it.

use tap_proto::v1::{self, body::Content, completeness::State};

/// Why content is absent: the word of the wire contract.
const DROPPED: &str = "policy";
/// Why a message's end was not kept.
const CAUSE: &str = "body_cap";

/// How much of a body is kept; the larger allows more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyPolicy {
    /// That there was one.
    None,
    /// Its size and coding.
    Metadata,
    /// And at most this many bytes of its content.
    UpTo(u64),
}

impl BodyPolicy {
    /// As much as was captured.
    pub const ALL: Self = Self::UpTo(u64::MAX);

    /// Takes from an exchange what the policy does not allow.
    pub fn apply(self, exchange: &mut v1::Exchange) {
        if self == Self::ALL {
            return;
        }
        let v1::Exchange { request, response, .. } = exchange;
        if let Some(request) = request {
            self.apply_to(&mut request.body, &mut request.completeness);
        }
        if let Some(response) = response {
            self.apply_to(&mut response.body, &mut response.completeness);
        }
    }

    fn apply_to(self, body: &mut Option<v1::Body>, completeness: &mut Option<v1::Completeness>) {
        let Some(body) = body else { return };
        match self {
            Self::None => *body = v1::Body { dropped: DROPPED.to_owned(), ..v1::Body::default() },
            Self::Metadata => {
                body.content = None;
                // What redaction has dropped says so itself.
                if body.dropped.is_empty() {
                    body.dropped = DROPPED.to_owned();
                }
            }
            Self::UpTo(max) => {
                let max = usize::try_from(max).unwrap_or(usize::MAX);
                let cut = match &mut body.content {
                    None => 0,
                    Some(Content::Text(text)) => {
                        let end = text.floor_char_boundary(max);
                        let cut = text.len() - end;
                        text.truncate(end);
                        cut
                    }
                    Some(Content::Binary(bytes)) => {
                        let end = bytes.len().min(max);
                        let cut = bytes.len() - end;
                        // A slice would keep the whole in memory.
                        *bytes = bytes[..end].to_vec().into();
                        cut
                    }
                };
                if cut > 0 {
                    if body.content.as_ref().is_some_and(is_empty) {
                        body.content = None;
                    }
                    // Completeness counts bytes of the wire, of which decoded ones tell nothing.
                    let counted = if body.decoded_from.is_empty() { cut as u64 } else { 0 };
                    truncate(completeness, counted, max as u64);
                }
            }
        }
    }
}

fn is_empty(content: &Content) -> bool {
    match content {
        Content::Text(text) => text.is_empty(),
        Content::Binary(bytes) => bytes.is_empty(),
    }
}

/// Notes that `cut` bytes past `end` were taken off.
fn truncate(completeness: &mut Option<v1::Completeness>, cut: u64, end: u64) {
    let Some(completeness) = completeness else { return };
    let truncated = |bytes| v1::Completeness {
        state: State::Truncated.into(),
        offset: 0,
        bytes,
        cause: CAUSE.to_owned(),
    };
    match completeness.state() {
        State::Complete => *completeness = truncated(cut),
        // Unknown stays unknown.
        State::Truncated if completeness.bytes > 0 && cut > 0 => completeness.bytes += cut,
        State::Truncated => completeness.bytes = 0,
        // A hole behind what is kept is no hole in it.
        State::Gap if completeness.offset > end => *completeness = truncated(0),
        State::Gap | State::JoinedMidstream | State::Missing | State::Unspecified => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(body: v1::Body, completeness: v1::Completeness) -> v1::Exchange {
        let (body, completeness) = (Some(body), Some(completeness));
        let response = v1::Response { body, completeness, ..v1::Response::default() };
        v1::Exchange { response: Some(response), ..v1::Exchange::default() }
    }

    fn text(text: &str) -> v1::Body {
        v1::Body {
            content: Some(Content::Text(text.to_owned())),
            size: text.len() as u64,
            ..v1::Body::default()
        }
    }

    fn complete() -> v1::Completeness {
        v1::Completeness { state: State::Complete.into(), ..v1::Completeness::default() }
    }

    fn applied(
        policy: BodyPolicy,
        body: v1::Body,
        completeness: v1::Completeness,
    ) -> (v1::Body, v1::Completeness) {
        let mut exchange = exchange(body, completeness);
        policy.apply(&mut exchange);
        let response = exchange.response.unwrap();
        (response.body.unwrap(), response.completeness.unwrap())
    }

    #[test]
    fn nothing_tells_only_that_there_was_a_body() {
        let (body, completeness) = applied(BodyPolicy::None, text("hello"), complete());
        assert_eq!(body, v1::Body { dropped: "policy".to_owned(), ..v1::Body::default() });
        assert_eq!(completeness, complete());
    }

    #[test]
    fn metadata_keeps_size_and_coding_and_who_dropped_it_first() {
        let gzip = v1::Body { decoded_from: "gzip".to_owned(), ..text("hello") };
        let (body, _) = applied(BodyPolicy::Metadata, gzip, complete());
        assert_eq!((body.content, body.size, body.decoded_from.as_str()), (None, 5, "gzip"));
        assert_eq!(body.dropped, "policy");
        let opaque = v1::Body { dropped: "opaque".to_owned(), size: 9, ..v1::Body::default() };
        assert_eq!(applied(BodyPolicy::Metadata, opaque, complete()).0.dropped, "opaque");
    }

    #[test]
    fn what_is_cut_off_is_said() {
        let (body, completeness) = applied(BodyPolicy::UpTo(3), text("hello"), complete());
        assert_eq!((body.content, body.size), (Some(Content::Text("hel".to_owned())), 5));
        assert_eq!(
            (completeness.state(), completeness.bytes, completeness.cause.as_str()),
            (State::Truncated, 2, "body_cap")
        );
        let (body, completeness) = applied(BodyPolicy::UpTo(5), text("hello"), complete());
        assert_eq!((body, completeness), (text("hello"), complete()));
        assert_eq!(applied(BodyPolicy::UpTo(0), text("hello"), complete()).0.content, None);
    }

    #[test]
    fn text_is_cut_between_characters() {
        let (body, completeness) = applied(BodyPolicy::UpTo(2), text("a\u{20ac}"), complete());
        assert_eq!(body.content, Some(Content::Text("a".to_owned())));
        assert_eq!(completeness.bytes, 3);
    }

    #[test]
    fn what_was_incomplete_before_stays_true() {
        let state = |state: State, offset, bytes| v1::Completeness {
            state: state.into(),
            offset,
            bytes,
            cause: String::new(),
        };
        let of = |completeness| applied(BodyPolicy::UpTo(3), text("hello"), completeness).1;
        assert_eq!(of(state(State::Truncated, 0, 10)).bytes, 12);
        assert_eq!(of(state(State::Truncated, 0, 0)).bytes, 0);
        assert_eq!(of(state(State::Gap, 5, 1)).state(), State::Truncated);
        assert_eq!(of(state(State::Gap, 2, 1)), state(State::Gap, 2, 1));
        assert_eq!(of(state(State::JoinedMidstream, 0, 0)).state(), State::JoinedMidstream);
        let gzip = v1::Body { decoded_from: "gzip".to_owned(), ..text("hello") };
        assert_eq!(applied(BodyPolicy::UpTo(3), gzip, complete()).1.bytes, 0);
    }
}

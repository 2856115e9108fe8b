//! Answers: a recorded response framed anew, or what a miss says.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use serde::Serialize;

use super::{
    MOCK_HEADER,
    index::{BodyLevel, Nearest},
    recording::Recording,
    stats::Reason,
};

/// A head, and the whole body of an answer that is no stream.
pub(super) type Answer = Response<Bytes>;

/// How an answer was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provenance {
    pub(super) by_template: bool,
    pub(super) body: BodyLevel,
    /// The place in the sequence, from 1, and its length.
    pub(super) turn: (u64, usize),
}

/// The body of a miss.
#[derive(Serialize)]
struct Miss<'m> {
    /// Why.
    miss: &'static str,
    method: &'m str,
    host: &'m str,
    path: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<&'m Nearest>,
    advice: &'static str,
}

/// What `recording` says, to a request of `method`.
pub(super) fn hit(recording: &Recording, method: &Method, shift_dates: bool, how: Provenance) -> Answer {
    let mut headers = recording.headers.clone();
    // The server puts today's.
    headers.remove(header::DATE);
    if shift_dates {
        shift(&mut headers, recording.time);
    }
    let may_have_body = !matches!(recording.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut body = recording.body.clone();
    if *method == Method::HEAD {
        let length = if body.is_empty() { recording.announced } else { Some(body.len() as u64) };
        if let Some(length) = length.filter(|_| may_have_body) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        body = Bytes::new();
    }
    headers.insert(MOCK_HEADER, provenance(recording, how));
    let mut answer = Response::new(body);
    *answer.status_mut() = recording.status;
    *answer.headers_mut() = headers;
    answer
}

/// That nothing recorded answers the request.
pub(super) fn miss(
    status: StatusCode,
    reason: Reason,
    (method, host, path): (&str, &str, &str),
    nearest: Option<&Nearest>,
) -> Answer {
    let advice = match reason {
        Reason::NoExchange => "nothing like it was recorded",
        Reason::Differs => "ignore what may differ, or record anew",
        Reason::Incomplete | Reason::BodyDropped => {
            "serve incomplete responses, or record with larger limits"
        }
        Reason::ResponseMissing | Reason::Upgrade | Reason::Unsendable => "what was recorded can't be served",
        Reason::TooLarge => "the request's body is too large to be matched",
    };
    let body = Miss { miss: reason.as_str(), method, host, path, nearest, advice };
    // Strings and lists of them always are JSON.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(MOCK_HEADER, words(&format!("miss; reason={}", reason.as_str())));
    answer
}

/// An answer that says nothing but a status and where it comes from.
pub(super) fn plain(status: StatusCode, origin: &str) -> Answer {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = status;
    answer.headers_mut().insert(MOCK_HEADER, words(origin));
    answer
}

fn provenance(recording: &Recording, how: Provenance) -> HeaderValue {
    let Provenance { by_template, body, turn: (turn, length) } = how;
    let mut text = "hit".to_owned();
    // Ids come from a file that anybody may have written.
    let id = &recording.exchange.id;
    if !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        text += &format!("; id={id}");
    }
    text += if by_template { "; path=template" } else { "; path=exact" };
    text += &format!("; body={}", body.as_str());
    if length > 1 {
        text += &format!("; turn={turn}/{length}");
    }
    if recording.problem.is_some() {
        text += "; incomplete";
    }
    words(&text)
}

pub(super) fn words(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("hit"))
}

/// Moves the dates of caching and cookies by the time since the recording at `time`, in nanoseconds.
fn shift(headers: &mut HeaderMap, time: i128) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = (now.as_nanos() as i128).saturating_sub(time);
    let Ok(since) = u64::try_from(since).map(Duration::from_nanos) else { return };
    for name in [header::EXPIRES, header::LAST_MODIFIED, header::RETRY_AFTER] {
        if let Some(value) = headers.get_mut(&name)
            && let Some(later) = value.to_str().ok().and_then(|date| shifted(date, since))
        {
            *value = later;
        }
    }
    if let header::Entry::Occupied(mut cookies) = headers.entry(header::SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            if let Some(later) = cookie.to_str().ok().and_then(|text| cookie_shifted(text, since)) {
                *cookie = later;
            }
        }
    }
}

fn shifted(date: &str, since: Duration) -> Option<HeaderValue> {
    let date: Timestamp = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    let later = date.checked_add(since).ok()?;
    let text = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&later).ok()?;
    HeaderValue::try_from(text).ok()
}

fn cookie_shifted(cookie: &str, since: Duration) -> Option<HeaderValue> {
    let start = cookie.to_ascii_lowercase().find("expires=")? + "expires=".len();
    let end = cookie[start..].find(';').map_or(cookie.len(), |end| start + end);
    let later = shifted(cookie[start..end].trim(), since)?;
    let text = format!("{}{}{}", &cookie[..start], later.to_str().ok()?, &cookie[end..]);
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_move_and_nothing_else_does() {
        let mut headers = HeaderMap::new();
        headers.insert(header::EXPIRES, HeaderValue::from_static("Tue, 14 Nov 2023 23:13:20 GMT"));
        headers.insert(header::LAST_MODIFIED, HeaderValue::from_static("yesterday"));
        headers.append(
            header::SET_COOKIE,
            HeaderValue::from_static("a=1; Expires=Tue, 14 Nov 2023 23:13:20 GMT; Path=/"),
        );
        headers.append(header::SET_COOKIE, HeaderValue::from_static("b=2"));
        // Recorded at 22:13:20; an hour of validity stays an hour.
        shift(&mut headers, 1_700_000_000_000_000_000);
        let parser = rfc2822::DateTimeParser::new();
        let expires = parser.parse_timestamp(&headers[header::EXPIRES]).unwrap();
        let left = expires.as_second() - Timestamp::now().as_second();
        assert!((3_590..=3_600).contains(&left), "{left}");
        assert_eq!(headers[header::LAST_MODIFIED], "yesterday");
        let cookies: Vec<_> =
            headers.get_all(header::SET_COOKIE).iter().map(|c| c.to_str().unwrap()).collect();
        assert!(cookies[0].starts_with("a=1; Expires=") && cookies[0].ends_with(" GMT; Path=/"));
        assert!(!cookies[0].contains("2023") && cookies[1] == "b=2");
    }
}

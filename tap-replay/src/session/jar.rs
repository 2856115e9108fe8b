//! The cookies that a target has set (RFC 6265), by name.
//!
//! A replay talks to one target: domains and paths are not looked at, and a cookie lasts as long as its session
//! unless the target deletes it.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, header};

use crate::request::Draft;

/// As browsers allow a site.
const MAX_COOKIES: usize = 180;
const MAX_COOKIE_BYTES: usize = 4_096;

/// The cookies of one session.
#[derive(Clone, Default)]
pub(crate) struct Jar {
    cookies: BTreeMap<String, String>,
}

impl std::fmt::Debug for Jar {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Jar({} cookies)", self.cookies.len())
    }
}

impl Jar {
    /// Takes the cookies that an answer sets.
    pub(crate) fn take_from(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(header::SET_COOKIE) {
            let Ok(cookie) = cookie.to_str() else { continue };
            let mut parts = cookie.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let (name, value) = (name.trim(), value.trim());
            let deleted = parts.any(|attribute| {
                let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
                name.trim().eq_ignore_ascii_case("max-age")
                    && value.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0)
            });
            if deleted {
                self.cookies.remove(name);
            } else if name.len() + value.len() <= MAX_COOKIE_BYTES
                && (self.cookies.len() < MAX_COOKIES || self.cookies.contains_key(name))
            {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// The cookie's value, if the target has set it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Puts the target's values in place of recorded ones; returns whether there was one.
    pub(crate) fn put_into(&self, draft: &mut Draft<'_>) -> bool {
        if self.cookies.is_empty() {
            return false;
        }
        let mut changed = false;
        for (name, value) in &mut draft.headers {
            if !name.eq_ignore_ascii_case("cookie") {
                continue;
            }
            let Ok(recorded) = std::str::from_utf8(value) else { continue };
            let pairs: Vec<Cow<'_, str>> = recorded
                .split(';')
                .map(|pair| {
                    let pair = pair.trim();
                    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
                    match self.get(name.trim()) {
                        Some(value) => {
                            changed = true;
                            Cow::Owned(format!("{name}={value}"))
                        }
                        None => Cow::Borrowed(pair),
                    }
                })
                .collect();
            if changed {
                let pairs = pairs.join("; ");
                *value = Cow::Owned(pairs.into_bytes());
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(cookies: &[&str]) -> Jar {
        let mut jar = Jar::default();
        let headers = cookies.iter().map(|cookie| (header::SET_COOKIE, cookie.parse().unwrap())).collect();
        jar.take_from(&headers);
        jar
    }

    #[test]
    fn the_last_value_counts_until_it_is_deleted() {
        let jar =
            jar(&["sid=1; Path=/; HttpOnly", "sid=2", "a=b; Max-Age=60", "c=d", "c=; max-age=0", "broken"]);
        assert_eq!((jar.get("sid"), jar.get("a"), jar.get("c")), (Some("2"), Some("b"), None));
    }

    #[test]
    fn a_jar_is_bounded() {
        let cookies: Vec<String> = (0..1_000).map(|index| format!("c{index}=1")).collect();
        let jar = jar(&cookies.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(jar.cookies.len(), MAX_COOKIES);
    }
}

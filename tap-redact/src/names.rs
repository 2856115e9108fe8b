//! Names of fields that hold what must not leave the node.
//!
//! Names are compared by their letters and digits alone: `cardNumber`, `card_number`, `Card-Number` are one. A
//! path such as `user[email]` or `user.email` counts by its last part too.

use std::{collections::HashMap, sync::LazyLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use foldhash::fast::FixedState;

use crate::Detector;

mod standard;

use standard::{ENDINGS, STANDARD, STEMS};

/// Longest name that is looked at, in letters and digits. What is longer than this is no name of a field, and
/// counts by its end.
const MAX_NAME: usize = 64;

/// A set of names.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    exact: HashMap<Box<[u8]>, Detector, FixedState>,
}

/// What a name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<'n> {
    /// The rule that the name fell under, without what precedes it: "password".
    pub(crate) rule: &'n str,
    /// What a field of this name holds: its tokens are of that format.
    pub(crate) detector: Detector,
}

impl Names {
    /// The standard names and these.
    pub(crate) fn standard_and<'c>(configured: impl Iterator<Item = &'c str>) -> Self {
        let standard =
            STANDARD.iter().flat_map(|(detector, names)| names.iter().map(|name| (*name, *detector)));
        let configured = configured.map(|name| (name, Detector::Identifier));
        let mut exact = HashMap::default();
        for (name, detector) in standard.chain(configured) {
            let mut buffer = [0; MAX_NAME];
            // What a standard name holds is known better.
            exact.entry(normalise(name.as_bytes(), &mut buffer).into()).or_insert(detector);
        }
        Self { exact }
    }

    /// The rule for a field of this name; `None` where it may pass.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&str> {
        self.lookup(name).map(|named| named.rule)
    }

    /// What the name of a field tells; `None` where it may pass.
    pub(crate) fn lookup(&self, name: &[u8]) -> Option<Named<'_>> {
        let mut buffer = [0; MAX_NAME];
        self.lookup_normal(normalise(name, &mut buffer)).or_else(|| {
            let part = last_part(name)?;
            let mut buffer = [0; MAX_NAME];
            self.lookup_normal(normalise(part, &mut buffer))
        })
    }

    fn lookup_normal(&self, name: &[u8]) -> Option<Named<'_>> {
        if let Some((exact, detector)) = self.exact.get_key_value(name) {
            return Some(Named {
                rule: std::str::from_utf8(exact).unwrap_or("configured"),
                detector: *detector,
            });
        }
        if !PARTS.as_ref().is_none_or(|parts| parts.is_match(name)) {
            return None;
        }
        let ending = ENDINGS.iter().find(|(_, ending)| name.ends_with(ending.as_bytes()));
        let is_in = |stem: &str| name.windows(stem.len()).any(|window| window == stem.as_bytes());
        let part = ending.or_else(|| STEMS.iter().find(|(_, stem)| is_in(stem)));
        part.map(|(detector, rule)| Named { rule, detector: *detector })
    }
}

/// All stems and endings at once: most names have none.
static PARTS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let parts = ENDINGS.iter().chain(STEMS).map(|(_, part)| part);
    // They are constants, far below the automaton's limits; without it, each is looked for.
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).prefilter(false).build(parts).ok()
});

/// What a field under this rule holds, as far as the standard names say.
pub(crate) fn holds(rule: &str) -> Option<Detector> {
    static STANDARD_NAMES: LazyLock<Names> = LazyLock::new(|| Names::standard_and(std::iter::empty()));
    STANDARD_NAMES.lookup(rule.as_bytes()).map(|named| named.detector)
}

/// Whether anything is left of a name to compare.
pub(crate) fn is_comparable(name: &str) -> bool {
    !normalise(name.as_bytes(), &mut [0; MAX_NAME]).is_empty()
}

/// Letters and digits in lower case; bytes beyond ASCII as they are.
fn normalise<'b>(name: &[u8], buffer: &'b mut [u8; MAX_NAME]) -> &'b [u8] {
    let mut at = MAX_NAME;
    for byte in name.iter().rev() {
        if !byte.is_ascii_alphanumeric() && byte.is_ascii() {
            continue;
        }
        if at == 0 {
            break;
        }
        at -= 1;
        buffer[at] = byte.to_ascii_lowercase();
    }
    &buffer[at..]
}

/// `email` of `user[email]`, `users[0].email`, `email[]` and `/callback?email`; `None` for a single part.
fn last_part(name: &[u8]) -> Option<&[u8]> {
    let separator = |byte: &u8| b".[]/:$?#!".contains(byte);
    let mut parts = name.split(separator).filter(|part| !part.is_empty());
    let last = parts.next_back()?;
    (last.len() < name.len()).then_some(last)
}

//! Patterns whose search takes a bounded time, whatever the pattern and the text.
//!
//! A lazy DFA goes through text at hundreds of megabytes a second, as long as few of its states are needed. A pattern such as
//! `[ab]*a[ab]{1000}c` needs a new one at nearly every byte; the DFA notices, and gives up. What remains is a simulation of
//! the NFA, whose cost is the length of the text times the number of the pattern's states: 64 KiB can take seconds.
//! It is run only where that is within what the evaluation has left to spend.

use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

use regex::Regex;
use regex_automata::{
    Input, MatchKind,
    hybrid::dfa::{Builder, Cache, Config, DFA},
    nfa::thompson,
    util::{pool::Pool, prefilter::Prefilter, syntax},
};

/// Largest compiled pattern, in bytes: a search runs every pattern on every row.
const MAX_PATTERN_BYTES: usize = 256 << 10;
/// Deepest nesting of groups and the like.
const MAX_NESTING: u32 = 32;
/// States that a lazy DFA keeps, in bytes, for each thread that searches.
const CACHE_BYTES: usize = 256 << 10;
/// The DFA gives up when it has thrown its states away this often, and used each for fewer bytes than that.
const MIN_CLEARS: usize = 3;
const MIN_BYTES_PER_STATE: usize = 10;

/// Bytes that the DFA goes through in one step of the evaluator.
const DFA_BYTES_PER_STEP: usize = 16;
/// The same of the NFA, with a pattern of one state.
const NFA_BYTES_PER_STEP: usize = 16;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pattern(Arc<Compiled>);

struct Compiled {
    dfa: DFA,
    caches: Pool<Cache, NewCache>,
    nfa: Regex,
}

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    Found(bool),
    /// It would take more steps than were allowed.
    TooLong,
}

impl Pattern {
    /// Refused with a reason of one line.
    pub(crate) fn new(source: &str) -> Result<Self, String> {
        let nfa = regex::RegexBuilder::new(source)
            .size_limit(MAX_PATTERN_BYTES)
            .dfa_size_limit(CACHE_BYTES)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
                // The last line says what is wrong; those before it draw a picture.
                error => error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
            })?;
        let too_large = |_| "it is too large when compiled".to_owned();
        let tree = syntax::parse_with(source, &syntax::Config::new().nest_limit(MAX_NESTING))
            .map_err(|_| "it can't be read".to_owned())?;
        // Text without the pattern's beginning is passed over at once.
        let prefilter = Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &tree);
        let config = Config::new()
            .prefilter(prefilter)
            // Beyond ASCII the DFA gives up at once where it meets a border of words.
            .unicode_word_boundary(true)
            .cache_capacity(CACHE_BYTES)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(MIN_CLEARS))
            .minimum_bytes_per_state(Some(MIN_BYTES_PER_STATE));
        let states = thompson::Config::new()
            .nfa_size_limit(Some(MAX_PATTERN_BYTES))
            .which_captures(thompson::WhichCaptures::None);
        let nested = syntax::Config::new().nest_limit(MAX_NESTING);
        let dfa = Builder::new()
            .configure(config)
            .thompson(states)
            .syntax(nested)
            .build(source)
            .map_err(too_large)?;
        let of = dfa.clone();
        let new_cache: NewCache = Box::new(move || of.create_cache());
        let caches = Pool::new(new_cache);
        Ok(Self(Arc::new(Compiled { dfa, caches, nfa })))
    }

    /// Steps that a search through the text takes as a rule.
    pub(crate) fn steps(text: &str) -> u32 {
        u32::try_from(text.len() / DFA_BYTES_PER_STEP).unwrap_or(u32::MAX)
    }

    /// Searches the text. Where [`Self::steps`] do not suffice, `spend` is asked for more.
    pub(crate) fn search(&self, text: &str, spend: impl FnOnce(u32) -> bool) -> Search {
        let Compiled { dfa, caches, nfa } = &*self.0;
        let input = Input::new(text).earliest(true);
        if let Ok(found) = dfa.try_search_fwd(&mut caches.get(), &input) {
            return Search::Found(found.is_some());
        }
        let work = text.len().saturating_mul(dfa.get_nfa().states().len()) / NFA_BYTES_PER_STEP;
        if spend(u32::try_from(work).unwrap_or(u32::MAX)) {
            Search::Found(nfa.is_match(text))
        } else {
            Search::TooLong
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Page tokens tell conditions apart by this.
        f.debug_tuple("Pattern").field(&self.0.nfa.as_str()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters a and b that no short state describes.
    fn noise(length: usize) -> String {
        let mut state = 88_172_645_463_325_252_u64;
        let letter = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state & 1 == 0 { 'a' } else { 'b' }
        };
        (0..length).map(letter).collect()
    }

    #[test]
    fn it_finds_what_the_regex_crate_finds() {
        let texts =
            ["", "a", "/items/42", "Café au lait", "a\nb", "x coupon-1234 y", "ΑΒΓ", "\u{0}\u{10ffff}"];
        for source in [
            "",
            "^$",
            "a",
            r"^/items/\d+$",
            r"\bau\b",
            r"\bcaf",
            "(?i)CAFÉ",
            "(?m)^b$",
            r"\w+-[0-9]{4}",
            "[^a]",
            r"(?i)αβγ",
        ] {
            let (pattern, regex) = (Pattern::new(source).unwrap(), Regex::new(source).unwrap());
            for text in texts {
                let found = pattern.search(text, |_| true);
                assert_eq!(found, Search::Found(regex.is_match(text)), "{source} in {text:?}");
            }
        }
    }

    #[test]
    fn what_would_take_long_is_not_begun() {
        for source in ["[ab]*a[ab]{20}c", "[ab]*a[ab]{1000}c", "(?:[ab]*a[ab]{60}c|[ab]*b[ab]{61}d){1,20}e"] {
            let pattern = Pattern::new(source).unwrap();
            let mut asked = None;
            let found = pattern.search(&noise(65_536), |steps| {
                asked = Some(steps);
                false
            });
            assert_eq!(found, Search::TooLong, "{source}");
            assert!(asked.is_some_and(|steps| steps > 100_000), "{source}: {asked:?}");
            // A short text is searched all the same.
            let short = format!("{}c", noise(if source.contains("1000") { 1_200 } else { 100 }));
            let steps = std::cell::Cell::new(0);
            let regex = Regex::new(source).unwrap();
            let found = pattern.search(&short, |asked| {
                steps.set(asked);
                true
            });
            assert_eq!(found, Search::Found(regex.is_match(&short)), "{source}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_in_a_line() {
        for source in ["(", "a{1000}{1000}", "(a{1000}){1000}", r"\p{Nope}", "[z-a]", &"(".repeat(100)] {
            let reason = Pattern::new(source).unwrap_err();
            assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
        }
    }
}

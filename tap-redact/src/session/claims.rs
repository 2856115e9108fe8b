//! Parts of a text that somebody wants to replace or keep, and who gets what where they overlap.

use std::{iter::Peekable, ops::Range};

use crate::{detect::Detector, policy::RuleName, settings::Action};

/// A part of a text, and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim<'p> {
    pub(crate) range: Range<usize>,
    pub(crate) action: Action,
    pub(crate) rule: RuleName<'p>,
    pub(crate) detector: Option<Detector>,
}

/// Adds claims to those that were there first, which keep what they have: of a new one, what is beside them is
/// taken. Both come in order and without overlaps, and so does the result.
pub(super) fn beside<'p>(first: Vec<Claim<'p>>, later: impl Iterator<Item = Claim<'p>>) -> Vec<Claim<'p>> {
    if first.is_empty() {
        return later.collect();
    }
    let mut merged = Vec::with_capacity(first.len());
    let mut first = first.into_iter().peekable();
    for mut claim in later {
        // One that was there first may reach into this one too.
        let end = merged.last().map_or(0, |taken: &Claim<'p>| taken.range.end);
        claim.range.start = claim.range.start.max(end);
        while let Some(taken) = next_before(&mut first, claim.range.end) {
            if claim.range.start < taken.range.start {
                merged.push(Claim { range: claim.range.start..taken.range.start, ..claim.clone() });
            }
            claim.range.start = claim.range.start.max(taken.range.end);
            merged.push(taken);
        }
        if claim.range.start < claim.range.end {
            merged.push(claim);
        }
    }
    merged.extend(first);
    merged
}

fn next_before<'p>(claims: &mut Peekable<impl Iterator<Item = Claim<'p>>>, end: usize) -> Option<Claim<'p>> {
    claims.next_if(|claim| claim.range.start < end)
}

/// The claims of two policies together: where they overlap, one claim over both, with the stricter action.
pub(super) fn strictest<'p>(one: Vec<Claim<'p>>, other: Vec<Claim<'p>>) -> Vec<Claim<'p>> {
    if one.is_empty() || other.is_empty() {
        return if one.is_empty() { other } else { one };
    }
    let mut all: Vec<Claim<'p>> = one.into_iter().chain(other).collect();
    all.sort_by_key(|claim| claim.range.start);
    let mut merged: Vec<Claim<'p>> = Vec::with_capacity(all.len());
    for claim in all {
        match merged.last_mut() {
            Some(last) if claim.range.start < last.range.end => {
                let range = last.range.start..last.range.end.max(claim.range.end);
                let same = last.range == claim.range;
                if claim.action > last.action {
                    *last = claim;
                }
                // A detector's format fits its own finding alone.
                if !same {
                    last.detector = None;
                }
                last.range = range;
            }
            _ => merged.push(claim),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(range: Range<usize>, action: Action) -> Claim<'static> {
        Claim { range, action, rule: RuleName { kind: "rule", name: "r" }, detector: None }
    }

    fn ranges(claims: &[Claim<'_>]) -> Vec<(usize, usize, Action)> {
        claims.iter().map(|claim| (claim.range.start, claim.range.end, claim.action)).collect()
    }

    #[test]
    fn those_that_were_first_keep_what_they_have() {
        use Action::{Keep, Token};
        let first = vec![claim(5..10, Keep), claim(20..30, Keep)];
        let later = [0..3, 4..7, 8..12, 18..32, 40..41].map(|range| claim(range, Token));
        let merged = beside(first, later.into_iter());
        assert_eq!(
            ranges(&merged),
            [
                (0, 3, Token),
                (4, 5, Token),
                (5, 10, Keep),
                (10, 12, Token),
                (18, 20, Token),
                (20, 30, Keep),
                (30, 32, Token),
                (40, 41, Token)
            ]
        );
    }

    #[test]
    fn the_stricter_of_two_policies_wins() {
        use Action::{Mask, Token};
        let merged = strictest(vec![claim(0..5, Token), claim(9..10, Token)], vec![claim(3..8, Mask)]);
        assert_eq!(ranges(&merged), [(0, 8, Mask), (9, 10, Token)]);
    }
}

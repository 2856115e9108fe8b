//! Whether something of a policy was lost lately. Pure.
//!
//! Counters only grow while an agent runs, and begin anew with it: a rise is news for [`LATELY`], a fall is none.

use std::time::Duration;

use tokio::time::Instant;

/// Long enough that a loss now and then is one change of a status, not one every time.
pub(super) const LATELY: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Losses {
    count: u64,
    risen: Option<Instant>,
}

impl Losses {
    /// `told` is whether the status that is there tells of losses, of which this process has not seen the rise.
    pub(super) fn new(count: u64, told: bool, now: Instant) -> Self {
        Self { count, risen: told.then_some(now) }
    }

    /// Whether there was a rise lately, with what is counted now.
    pub(super) fn are_recent(&mut self, count: u64, now: Instant) -> bool {
        if count > self.count {
            self.risen = Some(now);
        }
        self.count = count;
        self.risen.is_some_and(|risen| now < risen + LATELY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_news_for_a_while_and_a_fall_is_none() {
        let begin = Instant::now();
        let mut losses = Losses::new(5, false, begin);
        assert!(!losses.are_recent(5, begin));
        assert!(losses.are_recent(6, begin));
        // The agent began anew.
        assert!(losses.are_recent(0, begin + LATELY / 2));
        assert!(!losses.are_recent(0, begin + LATELY));
        assert!(losses.are_recent(1, begin + LATELY * 2));
    }

    #[test]
    fn who_takes_over_goes_on_telling_what_was_told() {
        let begin = Instant::now();
        let mut losses = Losses::new(5, true, begin);
        assert!(losses.are_recent(5, begin));
        assert!(!losses.are_recent(5, begin + LATELY));
    }
}

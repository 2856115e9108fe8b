//! When to send, and how often. Pure: time is an argument.
//!
//! Exchanges come in batches, a second's worth at a time; sent as they come, a shadow would see a burst a second where
//! production saw a steady stream. So each is sent a fixed delay after its own time, and the delay is the least at which
//! nothing is late: the longest way that any exchange had of late. It is a playout buffer, as for sound over a network.

use std::time::Duration;

/// A longer way is no way but a backlog: of a collector that was away, or a clock that is wrong. It is not waited for.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A way that was long is forgotten after one to two of these.
const WINDOW: Duration = Duration::from_secs(10);

/// Decides how long after its time an exchange is sent.
#[derive(Debug, Default)]
pub struct Playout {
    /// The longest ways of this window and of the one before.
    longest: [Duration; 2],
    /// When this window began, since the epoch.
    began: Duration,
}

/// At most so many a second, with as many at once.
#[derive(Debug)]
pub struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Duration,
}

impl Playout {
    /// How long to wait with an exchange of `time` that came at `now`, both since the epoch.
    pub fn wait(&mut self, time: Duration, now: Duration) -> Duration {
        // A clock ahead of this one makes a way of nothing.
        let way = now.saturating_sub(time);
        if way > LONGEST_DELAY {
            return Duration::ZERO;
        }
        // Before `began`: this clock was set back.
        let since = now.checked_sub(self.began);
        if since.is_none_or(|since| since >= WINDOW) {
            let is_next = since.is_some_and(|since| since < 2 * WINDOW);
            self.longest = [Duration::ZERO, if is_next { self.longest[0] } else { Duration::ZERO }];
            self.began = now;
        }
        self.longest[0] = self.longest[0].max(way);
        let delay = self.longest[0].max(self.longest[1]);
        // The time of a clock ahead is no reason to wait longer than the delay.
        (time + delay).saturating_sub(now).min(delay)
    }
}

impl Bucket {
    /// `rate` is in requests a second, and positive.
    pub fn new(rate: f64, now: Duration) -> Self {
        Self { rate, tokens: rate.max(1.0), filled: now }
    }

    /// Whether one more may be sent at `now`, since the epoch.
    pub fn take(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate).min(self.rate.max(1.0));
        self.filled = now;
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }
}

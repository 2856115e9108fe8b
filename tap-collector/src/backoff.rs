//! The pause before an operation is tried again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// How long a store that came back may stay unnoticed.
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from attempt to attempt, up to a bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST);
    }
}

//! A link of a given bandwidth that several bodies share.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What goes over it queues: each piece takes its time after the one before it.
#[derive(Debug)]
pub(crate) struct Link {
    bytes_per_second: u64,
    /// When all that was accepted will have gone over.
    free_at: Mutex<Option<Instant>>,
}

impl Link {
    /// `bytes_per_second` is not zero.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, free_at: Mutex::new(None) }
    }

    /// Accepts `bytes` and returns when they will have gone over.
    pub(super) fn accept(&self, bytes: usize, now: Instant) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.map_or(now, |free_at| free_at.max(now));
        let done = start + taking(bytes, self.bytes_per_second);
        *free_at = Some(done);
        done
    }

    pub(super) fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }
}

/// How long `bytes` take at this rate.
pub(super) fn taking(bytes: usize, bytes_per_second: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_one_another_and_idle_time_is_not_saved() {
        let link = Link::new(1_000);
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(link.accept(100, start), after(100));
        assert_eq!(link.accept(50, start), after(150));
        assert_eq!(link.accept(100, after(1_000)), after(1_100));
    }
}

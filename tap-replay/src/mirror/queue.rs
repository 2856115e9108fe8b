//! What waits for its time to be sent: bounded in number and in bytes, in the order of the times.
//!
//! What finds no room is refused at once: nobody waits for a mirror.

use std::{cmp::Reverse, collections::BinaryHeap};

use tokio::time::Instant;

/// Ten seconds of 400 requests a second; a mirror that lags further behind drops.
pub const MAX_WAITING: usize = 4_096;
/// Of all that waits for one mirror.
pub const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// The queue of one mirror.
#[derive(Debug)]
pub struct Queue<T> {
    /// The one that is due first is the greatest.
    heap: BinaryHeap<Waiting<T>>,
    bytes: usize,
    pushed: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    /// And of those due at once, the one that came first.
    order: Reverse<(Instant, u64)>,
    bytes: usize,
    item: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), bytes: 0, pushed: 0 }
    }
}

impl<T> Queue<T> {
    /// Takes an item of that many bytes, or gives it back where there is no room.
    pub fn push(&mut self, due: Instant, bytes: usize, item: T) -> Result<(), T> {
        if self.heap.len() >= MAX_WAITING || self.bytes.saturating_add(bytes) > MAX_WAITING_BYTES {
            return Err(item);
        }
        self.pushed += 1;
        self.bytes += bytes;
        self.heap.push(Waiting { order: Reverse((due, self.pushed)), bytes, item });
        Ok(())
    }

    /// When the next is due.
    pub fn due(&self) -> Option<Instant> {
        self.heap.peek().map(|Waiting { order: Reverse((due, _)), .. }| *due)
    }

    /// The next, if it is due.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        self.due().filter(|due| *due <= now)?;
        let Waiting { bytes, item, .. } = self.heap.pop()?;
        self.bytes -= bytes;
        Some(item)
    }

    /// Empties the queue; returns how many there were.
    pub fn clear(&mut self) -> usize {
        let waiting = self.heap.len();
        *self = Self { pushed: self.pushed, ..Self::default() };
        waiting
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

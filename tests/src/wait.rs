//! Waiting for a condition, never for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long a condition may take on a slow and busy machine; nothing is asserted about it.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// Asks `probe` until it gives a value. What it said last is in the error.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() > deadline => {
                bail!("{what}: not within {} s; last seen: {seen}", PATIENCE.as_secs());
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

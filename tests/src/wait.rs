//! Waiting for a condition, never for a time.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long a condition may take on a slow and busy machine; nothing is asserted about it.
pub const PATIENCE: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Asks `probe` until it gives a value. What it said last is in the error.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        check_interrupted()?;
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() > deadline => {
                bail!("{what}: not within {} s; last seen: {seen}", PATIENCE.as_secs());
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Ends every wait with an error, so that guards are dropped in order. For a handler of Ctrl-C.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Fails after [`interrupt`].
pub fn check_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

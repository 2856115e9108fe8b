//! The clocks: kernel programs and timers count on CLOCK_BOOTTIME, users read wall-clock time.

use std::time::Duration;

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime},
};

/// Nanoseconds on CLOCK_BOOTTIME, the clock of `bpf_ktime_get_boot_ns`.
pub fn boottime() -> u64 {
    nanos(ClockId::CLOCK_BOOTTIME)
}

/// The wall-clock time of instants on CLOCK_BOOTTIME, as of when it was sampled.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// CLOCK_REALTIME − CLOCK_BOOTTIME, in nanoseconds.
    offset: i128,
}

impl WallClock {
    /// Samples both clocks. Sample again about once a second: the wall clock is slewed and set.
    pub fn sample() -> Self {
        Self { offset: i128::from(nanos(ClockId::CLOCK_REALTIME)) - i128::from(boottime()) }
    }

    /// With a given offset.
    pub fn with_offset(offset: i128) -> Self {
        Self { offset }
    }

    /// Nanoseconds since the Unix epoch.
    pub fn wall(&self, boottime: u64) -> u64 {
        u64::try_from(i128::from(boottime) + self.offset).unwrap_or(0)
    }
}

fn nanos(clock: ClockId) -> u64 {
    // Both clocks exist on every kernel that runs the agent, and neither is before its origin.
    let time = clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0));
    u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_present_is_the_wall_clocks_present() {
        let clock = WallClock::sample();
        let by_boottime = clock.wall(boottime());
        let by_system = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        assert!(by_system.abs_diff(by_boottime) < 1_000_000_000);
    }
}

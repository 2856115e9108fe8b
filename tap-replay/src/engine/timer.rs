//! Waits that end when they should: the runtime's own timer fires up to a millisecond late.

use std::time::Duration;

use tokio::time::{self, Instant};

/// Below it the runtime's timer is not asked.
const COARSE: Duration = Duration::from_millis(1);

#[cfg(target_os = "linux")]
mod precise {
    //! A timer of the kernel that the runtime polls like a socket: within some 50 µs.

    use std::{
        io,
        os::fd::{AsFd as _, AsRawFd, RawFd},
        time::Duration,
    };

    use nix::sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    };
    use tokio::io::unix::AsyncFd;

    #[derive(Debug)]
    pub(super) struct Precise(AsyncFd<Descriptor>);

    #[derive(Debug)]
    struct Descriptor(TimerFd);

    impl AsRawFd for Descriptor {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    impl Precise {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(io::Error::from)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe for descriptors that can be replaced; this one can't"
            )]
            AsyncFd::new(Descriptor(timer)).map(Self)
        }

        /// Sleeps for `duration`, which is not zero.
        pub(super) async fn sleep(&self, duration: Duration) -> io::Result<()> {
            let once = Expiration::OneShot(TimeSpec::from_duration(duration));
            self.0.get_ref().0.set(once, TimerSetTimeFlags::empty()).map_err(io::Error::from)?;
            loop {
                let mut ready = self.0.readable().await?;
                // Setting it has emptied it: what is readable may be an earlier expiration.
                let fired = ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from));
                if let Ok(fired) = fired {
                    return fired;
                }
            }
        }
    }
}

/// One sleeper's timer.
#[derive(Debug)]
pub(super) struct Timer {
    #[cfg(target_os = "linux")]
    precise: Option<precise::Precise>,
}

impl Timer {
    /// Within a runtime. Where the kernel has no more timers, the runtime's own will do.
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            precise: precise::Precise::new().ok(),
        }
    }

    pub(super) async fn sleep_until(&mut self, deadline: Instant) {
        #[cfg(target_os = "linux")]
        if let Some(precise) = &self.precise {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || precise.sleep(left).await.is_ok() {
                return;
            }
        }
        time::sleep_until(deadline.checked_sub(COARSE).unwrap_or(deadline)).await;
        while Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
    }
}

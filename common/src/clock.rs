//! Injectable time. This is the only file that reads the system clock.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use crate::domain::Timestamp;

/// The longest uninterrupted sleep. Longer waits consist of several sleeps, so that a jump of the clock is noticed
/// soon.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A source of wall-clock time. Slots are instants of wall-clock time, so that all processes agree on them.
#[async_trait]
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// The current instant on the monotonic clock, which nobody can set.
    fn steady(&self) -> Instant {
        Instant::now()
    }

    /// Waits until `due`, or returns earlier. Callers must check the time again afterwards.
    async fn wait(&self, due: Timestamp) {
        sleep(due.since(self.now()).min(LONGEST_SLEEP)).await;
    }

    /// Moves the clock forward to this instant without waiting. Only the clock of a recording does this.
    fn skip_to(&self, _past: Timestamp) {}
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::EPOCH.plus(since_1970)
    }
}

/// The clock of a recording. It only advances when a task waits for a later instant, possibly much faster than real
/// time. A task that waits for an instant after the end of the recording waits forever.
#[derive(Debug)]
pub struct ReplayClock {
    now: Mutex<Timestamp>,
    end: Timestamp,
    /// How many times faster than real time; `None` means as fast as possible.
    speed: Option<u32>,
}

impl ReplayClock {
    /// Creates a clock that runs from the first instant of a recording to its last.
    pub fn new(first: Timestamp, last: Timestamp, speed: Option<u32>) -> Self {
        Self { now: Mutex::new(first), end: last, speed }
    }

    fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

#[async_trait]
impl Clock for ReplayClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self, due: Timestamp) {
        if due > self.end {
            tracing::info!(event = "recording_ended", end = %self.end, "reached the end of the recording");
            std::future::pending::<()>().await;
        }
        match self.speed {
            Some(speed) => sleep(due.since(self.now()) / speed.max(1)).await,
            None => tokio::task::yield_now().await,
        }
        self.set(due);
    }

    fn skip_to(&self, past: Timestamp) {
        self.set(past.max(self.now()));
    }
}

/// A clock for tests that only moves when it is set.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
    steady: Mutex<Instant>,
}

impl ManualClock {
    /// Creates a clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { now: Mutex::new(now), steady: Mutex::new(Instant::now()) }
    }

    /// Moves the wall clock forward or back. The monotonic clock stands still.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves the monotonic clock forward.
    pub fn pass(&self, time: Duration) {
        *self.steady.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn steady(&self) -> Instant {
        *self.steady.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

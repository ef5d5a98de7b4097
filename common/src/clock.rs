//! Time, injected: the only file that reads the system clock.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use tokio::time::sleep;

use crate::domain::Timestamp;

/// Sleeping goes in steps of this, so that a clock that jumps is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Tells the wall-clock time. Slots are named by it, so that every process agrees on them.
#[async_trait]
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The instant now.
    fn now(&self) -> Timestamp;

    /// Waits until `due`, or for a part of the time until then.
    async fn wait(&self, due: Timestamp) {
        sleep(due.since(self.now()).min(LONGEST_SLEEP)).await;
    }

    /// What happened up to this instant is past. The time of a recording goes on from there; a real clock
    /// needs not be told.
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

/// The time of a recording. It stands still until somebody waits for a later instant, passes many times faster
/// than real time, and ends.
#[derive(Debug)]
pub struct ReplayClock {
    now: Mutex<Timestamp>,
    end: Timestamp,
    /// How many times faster than real time; nothing: as fast as whoever waits.
    speed: Option<u32>,
}

impl ReplayClock {
    /// The time from the first instant of a recording to its last.
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
            tracing::info!(end = %self.end, "the recording is over");
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

/// A clock that is set by hand, for tests of everything that takes a [`Clock`].
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves the clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

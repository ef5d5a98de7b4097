//! A grid of slots.

use std::time::Duration;

use anyhow::{Context, ensure};

/// Divides time into slots of equal length. As in Tickwell, slots begin at multiples of the interval since the unix
/// epoch. Slots are numbered: the market began in slot 0, and earlier slots have negative numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotGrid {
    interval_ms: i64,
    first_slot_ms: i64,
}

impl SlotGrid {
    /// A grid whose slot 0 is the one that contains `start_ms` (unix time in milliseconds).
    ///
    /// # Errors
    ///
    /// Fails if the interval is not a positive whole number of milliseconds.
    pub fn starting_at(start_ms: i64, interval: Duration) -> anyhow::Result<Self> {
        let interval_ms = i64::try_from(interval.as_millis()).context("the interval is too long")?;
        ensure!(interval_ms > 0, "the interval is shorter than a millisecond");
        ensure!(
            interval.subsec_nanos().is_multiple_of(1_000_000),
            "the interval is not in whole milliseconds"
        );
        Ok(Self { interval_ms, first_slot_ms: start_ms - start_ms.rem_euclid(interval_ms) })
    }

    /// The length of a slot in milliseconds.
    #[must_use]
    pub const fn interval_ms(&self) -> i64 {
        self.interval_ms
    }

    /// When slot 0 begins, unix time in milliseconds.
    #[must_use]
    pub const fn first_slot_ms(&self) -> i64 {
        self.first_slot_ms
    }

    /// When the slot that contains `time_ms` begins, unix time in milliseconds.
    #[must_use]
    pub const fn slot_start_ms(&self, time_ms: i64) -> i64 {
        time_ms - time_ms.rem_euclid(self.interval_ms)
    }

    /// The number of the slot that contains `time_ms`.
    #[must_use]
    pub const fn index(&self, time_ms: i64) -> i64 {
        (time_ms - self.first_slot_ms).div_euclid(self.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_begin_at_multiples_of_the_interval_wherever_the_market_began() {
        let grid = SlotGrid::starting_at(25_999, Duration::from_secs(10)).unwrap();
        assert_eq!((grid.interval_ms(), grid.first_slot_ms()), (10_000, 20_000));
        for (time_ms, start_ms, index) in [
            (20_000, 20_000, 0),
            (29_999, 20_000, 0),
            (30_000, 30_000, 1),
            (129_999, 120_000, 10),
            (19_999, 10_000, -1),
            (-1, -10_000, -3),
        ] {
            assert_eq!((grid.slot_start_ms(time_ms), grid.index(time_ms)), (start_ms, index), "{time_ms}");
        }
    }

    #[test]
    fn an_interval_is_in_whole_milliseconds() {
        for wrong in [Duration::ZERO, Duration::from_micros(500), Duration::from_micros(1_500), Duration::MAX]
        {
            assert!(SlotGrid::starting_at(0, wrong).is_err(), "{wrong:?}");
        }
    }
}

//! Slots: the instants for which there are prices.

use std::{fmt, str::FromStr, time::Duration};

use super::{Span, SpanError, Timestamp};

/// The interval between slots, from 100 ms to one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interval(Span);

/// Why a text is not a valid interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// The text is not a duration.
    #[error(transparent)]
    NotSpan(#[from] SpanError),
    /// The duration is shorter than 100 ms or longer than a day.
    #[error("an interval must be at least 100ms and at most 1d")]
    OutOfRange,
}

/// An instant that is a whole number of intervals after 1970-01-01T00:00:00Z. So all processes agree on the slots of an
/// interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(Timestamp);

impl Interval {
    /// A minute.
    pub const MINUTE: Self = Self(Span::from_seconds(60));
    const MIN_MILLIS: u64 = 100;
    const MAX_MILLIS: u64 = 86_400_000;

    /// Creates an interval from a span.
    pub fn new(span: Span) -> Result<Self, IntervalError> {
        if (Self::MIN_MILLIS..=Self::MAX_MILLIS).contains(&span.millis()) {
            Ok(Self(span))
        } else {
            Err(IntervalError::OutOfRange)
        }
    }

    /// The newest slot that is not after `instant`.
    pub fn slot_at(self, instant: Timestamp) -> Slot {
        Slot(instant.minus(Duration::from_millis(self.millis_past_slot(instant))))
    }

    /// The slot at exactly `instant`, if there is one.
    pub fn slot(self, instant: Timestamp) -> Option<Slot> {
        (self.millis_past_slot(instant) == 0).then_some(Slot(instant))
    }

    /// The first slot after `instant`. `instant` can be any time, for example a slot of another interval.
    pub fn after(self, instant: Timestamp) -> Slot {
        Slot(self.slot_at(instant).start().plus(self.duration()))
    }

    /// The slot one interval before `slot`, which must be a slot of this interval.
    pub fn before(self, slot: Slot) -> Slot {
        Slot(slot.start().minus(self.duration()))
    }

    /// The first and the last slot strictly between two others; `None` if there is no slot between them.
    pub fn between(self, one: Slot, other: Slot) -> Option<(Slot, Slot)> {
        let (first, last) = (self.after(one.start()), self.before(other));
        (first <= last).then_some((first, last))
    }

    /// The interval as a span.
    pub fn span(self) -> Span {
        self.0
    }

    /// The interval in milliseconds.
    pub fn millis(self) -> u64 {
        self.0.millis()
    }

    /// The interval as the standard library's type.
    pub fn duration(self) -> Duration {
        self.0.duration()
    }

    fn millis_past_slot(self, instant: Timestamp) -> u64 {
        // The conversion cannot fail, because timestamps are never negative.
        u64::try_from(instant.unix_millis()).unwrap_or(0) % self.millis()
    }
}

impl Slot {
    /// The instant of the slot.
    pub fn start(self) -> Timestamp {
        self.0
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text.parse()?)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_multiples_of_the_interval() {
        let interval: Interval = "10s".parse().unwrap();
        let instant: Timestamp = "2026-11-21T00:00:19.999Z".parse().unwrap();
        let slot = interval.slot_at(instant);
        assert_eq!(slot.to_string(), "2026-11-21T00:00:10.000Z");
        assert_eq!(interval.slot(slot.start()), Some(slot));
        assert_eq!(interval.slot(instant), None);
        assert_eq!(interval.after(slot.start()).to_string(), "2026-11-21T00:00:20.000Z");
        assert_eq!(interval.before(interval.after(slot.start())), slot);
    }

    #[test]
    fn slots_of_another_interval_continue_without_overlap() {
        let slot: Timestamp = "2026-11-21T00:00:10Z".parse().unwrap();
        let coarse: Interval = "1m".parse().unwrap();
        assert_eq!(coarse.after(slot).to_string(), "2026-11-21T00:01:00.000Z");
        let fine: Interval = "3s".parse().unwrap();
        assert_eq!(fine.after(slot).to_string(), "2026-11-21T00:00:12.000Z");
    }

    #[test]
    fn intervals_have_bounds() {
        for text in ["99ms", "25h", "0s"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }
}

//! Rate limits of sources, and whether the settings stay within them.

use std::{fmt, time::Duration};

use common::domain::{Interval, Span};

use super::patience::guaranteed_time;

const MINUTE_MILLIS: u128 = 60_000;

/// The longest interval that an error message recommends, in seconds.
const LONGEST_RECOMMENDED: u16 = 3_600;

/// A rate limit: a number of requests in a time span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many requests are allowed.
    pub requests: u32,
    /// The time span in which they are allowed.
    pub span: Span,
    /// How many requests may be sent at once, if that is documented.
    pub burst: Option<u32>,
    /// Whether the source documents the limit. Otherwise users have reported it.
    pub is_documented: bool,
}

/// Requests per minute, rounded up to a tenth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMinute {
    tenths: u128,
}

/// A request rate above a source's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// The rate that follows from the settings.
    pub asked: PerMinute,
    /// The rate that is allowed.
    pub allowed: PerMinute,
    /// Whether the source documents the limit.
    pub is_documented: bool,
    /// The shortest interval that stays within the limit, if there is one.
    pub at_least: Option<Interval>,
}

/// The error if a slot's requests cannot all be sent in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// How long after the first request the last one may be sent.
    pub delay: Duration,
    /// The time that a source is guaranteed for its response: the primaries' part of the poll time.
    pub left: Duration,
    /// An interval that is long enough, if there is one.
    pub at_least: Option<Interval>,
    /// How many requests would be in time.
    pub at_most: usize,
}

impl Limit {
    /// A documented limit without a burst.
    pub const fn new(requests: u32, seconds: u16) -> Self {
        Self { requests, span: Span::from_seconds(seconds), burst: None, is_documented: true }
    }

    /// Marks the limit as reported by users rather than documented.
    pub const fn undocumented(self) -> Self {
        Self { is_documented: false, ..self }
    }

    /// Allows `burst` requests at once. Requests beyond it are spread out at the pace of the limit.
    pub const fn with_burst(self, burst: u32) -> Self {
        Self { burst: Some(burst), ..self }
    }

    /// The limit as requests per minute.
    pub fn per_minute(self) -> PerMinute {
        PerMinute::of(self.requests.into(), self.span.millis())
    }

    /// Whether this many requests every interval stay within the limit.
    pub fn check(self, requests: usize, interval: Interval) -> Result<(), Excess> {
        let asked = wide(requests) * u128::from(self.span.millis());
        let allowed = u128::from(self.requests) * u128::from(interval.millis());
        if asked <= allowed {
            return Ok(());
        }
        // The shortest interval that is long enough, rounded up to whole milliseconds.
        let millis = asked.div_ceil(u128::from(self.requests.max(1)));
        let span = u64::try_from(millis).ok().and_then(Span::from_millis);
        Err(Excess {
            asked: PerMinute::of(wide(requests), interval.millis()),
            allowed: self.per_minute(),
            is_documented: self.is_documented,
            at_least: span.and_then(|span| Interval::new(span).ok()),
        })
    }

    /// Whether this many requests every interval can all be sent before the slot's deadline.
    pub fn check_pace(self, requests: usize, interval: Interval) -> Result<(), Late> {
        if self.is_in_time(requests, interval) {
            return Ok(());
        }
        let fits = |requests, interval| {
            self.is_in_time(requests, interval) && self.check(requests, interval).is_ok()
        };
        // The time to respond is capped. So if none of these intervals is long enough, longer ones are not either.
        let longer =
            (1..=LONGEST_RECOMMENDED).map(Span::from_seconds).filter_map(|span| Interval::new(span).ok());
        Err(Late {
            delay: self.delay(requests.saturating_sub(1)),
            left: guaranteed_time(interval),
            at_least: longer.filter(|longer| *longer > interval).find(|longer| fits(requests, *longer)),
            at_most: (1..requests).rev().find(|fewer| fits(*fewer, interval)).unwrap_or(0),
        })
    }

    fn is_in_time(self, requests: usize, interval: Interval) -> bool {
        let delay = self.delay(requests.saturating_sub(1));
        delay.is_zero() || delay < guaranteed_time(interval)
    }

    /// The share of the limit that is used up by this many requests per interval, in percent, rounded up.
    pub fn share(self, requests: usize, interval: Interval) -> u128 {
        let asked = wide(requests) * u128::from(self.span.millis()) * 100;
        asked.div_ceil(u128::from(self.requests.max(1)) * u128::from(interval.millis()))
    }

    /// How long after the first request the request with this zero-based number may be sent. Requests within
    /// the burst are sent at once, later ones at the pace of the limit.
    pub fn delay(self, number: usize) -> Duration {
        let Some(burst) = self.burst else { return Duration::ZERO };
        let late = (wide(number) + 1).saturating_sub(burst.into());
        let millis = (late * u128::from(self.span.millis())).div_ceil(u128::from(self.requests.max(1)));
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

impl PerMinute {
    /// `requests` in `millis` milliseconds.
    fn of(requests: u128, millis: u64) -> Self {
        Self { tenths: (requests * MINUTE_MILLIS * 10).div_ceil(u128::from(millis.max(1))) }
    }

    /// `requests` in every interval.
    pub fn every(requests: usize, interval: Interval) -> Self {
        Self::of(wide(requests), interval.millis())
    }
}

impl fmt::Display for PerMinute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenth) = (self.tenths / 10, self.tenths % 10);
        let text = if tenth == 0 { whole.to_string() } else { format!("{whole}.{tenth}") };
        formatter.pad(&text)
    }
}

/// Converts a count to a type in which no product here overflows: counts fit in 64 bits, and times in 48.
fn wide(count: usize) -> u128 {
    u128::try_from(count).unwrap_or(u64::MAX.into()).min(u64::MAX.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(text: &str) -> Interval {
        text.parse().unwrap()
    }

    #[test]
    fn an_excess_reports_the_rates_and_a_sufficient_interval() {
        let coinbase = Limit::new(10, 1).with_burst(15);
        let excess = coinbase.check(50, interval("1s")).unwrap_err();
        assert_eq!((excess.asked.to_string(), excess.allowed.to_string()), ("3000".into(), "600".into()));
        assert_eq!(excess.at_least, Some(interval("5s")));
        assert_eq!(coinbase.check(50, interval("5s")), Ok(()));
        assert_eq!(coinbase.share(50, interval("10s")), 50);
        assert_eq!(PerMinute::every(1, interval("7s")).to_string(), "8.6");
    }

    #[test]
    fn a_burst_is_sent_at_once_and_the_rest_at_the_pace_of_the_limit() {
        let limit = Limit::new(10, 1).with_burst(15);
        let millis = |number| limit.delay(number).as_millis();
        assert_eq!([millis(0), millis(14), millis(15), millis(16), millis(49)], [0, 0, 100, 200, 3_500]);
        assert_eq!(Limit::new(1, 1).delay(1_000).as_millis(), 0);
    }

    #[test]
    fn requests_that_would_be_too_late_are_refused() {
        let coinbase = Limit::new(10, 1).with_burst(15);
        let ten = interval("10s");
        assert_eq!(coinbase.check_pace(34, ten), Ok(()));
        let late = coinbase.check_pace(35, ten).unwrap_err();
        assert_eq!((late.delay.as_millis(), late.left.as_millis()), (2_000, 2_000));
        assert_eq!((late.at_least, late.at_most), (None, 34));
        let late = coinbase.check_pace(30, interval("3s")).unwrap_err();
        assert_eq!((late.delay.as_millis(), late.left.as_millis()), (1_500, 750));
        assert_eq!((late.at_least, late.at_most), (Some(interval("7s")), 22));
        assert_eq!(
            coinbase.check_pace(15, interval("100ms")),
            Ok(()),
            "requests within the burst are never late"
        );
        assert_eq!(Limit::new(1, 600).check_pace(1_000, ten), Ok(()), "a limit without a burst sets no pace");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let limit =
            Limit { requests: 1, span: "3660d".parse().unwrap(), burst: Some(1), is_documented: true };
        let excess = limit.check(usize::MAX, interval("100ms")).unwrap_err();
        assert_eq!(excess.at_least, None);
        let none = Limit { requests: 0, ..limit };
        assert!(none.check(1, interval("1d")).is_err());
        let _ = (none.share(usize::MAX, interval("100ms")), none.delay(usize::MAX));
    }

    proptest! {
        #[test]
        fn recommendations_are_in_time_and_within_the_limit(
            per in 1_u32..100,
            seconds in 1_u16..20,
            burst in 1_u32..50,
            requests in 1_usize..100,
            millis in 100_u64..10_000,
        ) {
            let limit = Limit::new(per, seconds).with_burst(burst);
            let interval = Interval::new(Span::from_millis(millis).unwrap()).unwrap();
            let fits = |requests, interval| {
                limit.check_pace(requests, interval).is_ok() && limit.check(requests, interval).is_ok()
            };
            match limit.check_pace(requests, interval) {
                // If all requests can be sent in time, that is also true for the interval that `check` recommends.
                Ok(()) => if let Err(Excess { at_least: Some(enough), .. }) = limit.check(requests, interval) {
                    prop_assert!(fits(requests, enough));
                },
                Err(Late { at_least, at_most, .. }) => {
                    prop_assert!(at_least.is_none_or(|enough| fits(requests, enough)));
                    prop_assert!(at_most == 0 || fits(at_most, interval));
                    prop_assert!(at_most < requests && !fits(at_most + 1, interval));
                }
            }
        }

        #[test]
        fn the_recommended_interval_passes_and_one_step_shorter_does_not(
            // Most of these exceed the limit, so that there is something to recommend.
            per in 1_u32..100,
            seconds in 1_u16..600,
            requests in 1_usize..200,
            millis in 100_u64..10_000,
        ) {
            let limit = Limit::new(per, seconds);
            let of = |millis| Interval::new(Span::from_millis(millis)?).ok();
            if let Err(Excess { at_least: Some(enough), .. }) = limit.check(requests, of(millis).unwrap()) {
                prop_assert!(limit.check(requests, enough).is_ok());
                prop_assert!(limit.share(requests, enough) <= 100);
                if let Some(shorter) = of(enough.millis() - 1) {
                    prop_assert!(limit.check(requests, shorter).is_err());
                    prop_assert!(limit.share(requests, shorter) > 100);
                }
            }
        }
    }
}

//! How often a source may be asked, by its own documentation, and what the settings would ask of it.

use std::{fmt, time::Duration};

use common::domain::{Interval, Span};

use super::patience::surely_left;

const MINUTE_MILLIS: u128 = 60_000;

/// The longest interval that is recommended, in whole seconds.
const LONGEST_TRIED: u16 = 3_600;

/// A limit: so many requests in so long a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many requests.
    pub requests: u32,
    /// In how long a time.
    pub span: Span,
    /// How many may come at once, where that is documented.
    pub burst: Option<u32>,
    /// Whether it stands in the source's own documentation; else it is what others report.
    pub is_documented: bool,
}

/// Requests in a minute, rounded up to a tenth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMinute {
    tenths: u128,
}

/// More than a source allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// What the settings ask for.
    pub asked: PerMinute,
    /// What is allowed.
    pub allowed: PerMinute,
    /// Whether the source says so itself.
    pub is_documented: bool,
    /// The shortest interval that would do, if one does.
    pub at_least: Option<Interval>,
}

/// Requests of a slot that cannot all be sent in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// How long after the first request the last one may be sent.
    pub delay: Duration,
    /// How long a source can count on for answering.
    pub left: Duration,
    /// An interval that is long enough, if one is.
    pub at_least: Option<Interval>,
    /// How many requests would do.
    pub at_most: usize,
}

impl Limit {
    /// So many requests in so many seconds.
    pub(super) const fn new(requests: u32, seconds: u16) -> Self {
        Self { requests, span: Span::from_seconds(seconds), burst: None, is_documented: true }
    }

    /// The same, but not by the source's own documentation.
    pub(super) const fn undocumented(self) -> Self {
        Self { is_documented: false, ..self }
    }

    /// The same with so many at once.
    pub(super) const fn at_once(self, burst: u32) -> Self {
        Self { burst: Some(burst), ..self }
    }

    /// The limit as requests in a minute.
    pub fn per_minute(self) -> PerMinute {
        PerMinute::of(self.requests.into(), self.span.millis())
    }

    /// Whether so many requests every interval stay within the limit.
    pub fn check(self, requests: usize, interval: Interval) -> Result<(), Excess> {
        let asked = wide(requests) * u128::from(self.span.millis());
        let allowed = u128::from(self.requests) * u128::from(interval.millis());
        if asked <= allowed {
            return Ok(());
        }
        // An interval of this many milliseconds, rounded up, is the first that is long enough.
        let millis = asked.div_ceil(u128::from(self.requests.max(1)));
        let span = u64::try_from(millis).ok().and_then(Span::from_millis);
        Err(Excess {
            asked: PerMinute::of(wide(requests), interval.millis()),
            allowed: self.per_minute(),
            is_documented: self.is_documented,
            at_least: span.and_then(|span| Interval::new(span).ok()),
        })
    }

    /// Whether so many requests every interval can all be sent before their answers are due.
    pub fn check_pace(self, requests: usize, interval: Interval) -> Result<(), Late> {
        if self.is_in_time(requests, interval) {
            return Ok(());
        }
        let fits = |requests, interval| {
            self.is_in_time(requests, interval) && self.check(requests, interval).is_ok()
        };
        // Longer intervals leave no more time from some length on: one of these is long enough, or none is.
        let longer = (1..=LONGEST_TRIED).map(Span::from_seconds).filter_map(|span| Interval::new(span).ok());
        Err(Late {
            delay: self.delay(requests.saturating_sub(1)),
            left: surely_left(interval),
            at_least: longer.filter(|longer| *longer > interval).find(|longer| fits(requests, *longer)),
            at_most: (1..requests).rev().find(|fewer| fits(*fewer, interval)).unwrap_or(0),
        })
    }

    fn is_in_time(self, requests: usize, interval: Interval) -> bool {
        let delay = self.delay(requests.saturating_sub(1));
        delay.is_zero() || delay < surely_left(interval)
    }

    /// The share of the limit that so many requests every interval take, in per cent, rounded up.
    pub fn share(self, requests: usize, interval: Interval) -> u128 {
        let asked = wide(requests) * u128::from(self.span.millis()) * 100;
        asked.div_ceil(u128::from(self.requests.max(1)) * u128::from(interval.millis()))
    }

    /// How long after the first request the one with this number, counted from zero, may be sent: at once
    /// within the burst, then one at a time as the limit lets them through.
    pub fn delay(self, number: usize) -> Duration {
        let Some(burst) = self.burst else { return Duration::ZERO };
        let late = (wide(number) + 1).saturating_sub(burst.into());
        let millis = (late * u128::from(self.span.millis())).div_ceil(u128::from(self.requests.max(1)));
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

impl PerMinute {
    /// So many requests in so many milliseconds.
    fn of(requests: u128, millis: u64) -> Self {
        Self { tenths: (requests * MINUTE_MILLIS * 10).div_ceil(u128::from(millis.max(1))) }
    }

    /// So many requests every interval.
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

/// Wide enough that no product here overflows: counts fit 64 bits, times 48.
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
    fn the_numbers_are_said() {
        let coinbase = Limit::new(10, 1).at_once(15);
        let excess = coinbase.check(50, interval("1s")).unwrap_err();
        assert_eq!((excess.asked.to_string(), excess.allowed.to_string()), ("3000".into(), "600".into()));
        assert_eq!(excess.at_least, Some(interval("5s")));
        assert_eq!(coinbase.check(50, interval("5s")), Ok(()));
        assert_eq!(coinbase.share(50, interval("10s")), 50);
        assert_eq!(PerMinute::every(1, interval("7s")).to_string(), "8.6");
    }

    #[test]
    fn a_burst_goes_out_at_once_and_the_rest_at_the_limit_pace() {
        let limit = Limit::new(10, 1).at_once(15);
        let millis = |number| limit.delay(number).as_millis();
        assert_eq!([millis(0), millis(14), millis(15), millis(16), millis(49)], [0, 0, 100, 200, 3_500]);
        assert_eq!(Limit::new(1, 1).delay(1_000).as_millis(), 0);
    }

    #[test]
    fn requests_that_could_only_be_late_are_refused() {
        let coinbase = Limit::new(10, 1).at_once(15);
        let ten = interval("10s");
        assert_eq!(coinbase.check_pace(34, ten), Ok(()));
        let late = coinbase.check_pace(35, ten).unwrap_err();
        assert_eq!((late.delay.as_millis(), late.left.as_millis()), (2_000, 2_000));
        assert_eq!((late.at_least, late.at_most), (None, 34));
        let late = coinbase.check_pace(30, interval("3s")).unwrap_err();
        assert_eq!((late.delay.as_millis(), late.left.as_millis()), (1_500, 750));
        assert_eq!((late.at_least, late.at_most), (Some(interval("7s")), 22));
        assert_eq!(coinbase.check_pace(15, interval("100ms")), Ok(()), "all at once are never late");
        assert_eq!(Limit::new(1, 600).check_pace(1_000, ten), Ok(()), "there is no pace without a burst");
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
        fn what_is_recommended_to_be_in_time_is_allowed_too(
            per in 1_u32..100,
            seconds in 1_u16..20,
            burst in 1_u32..50,
            requests in 1_usize..100,
            millis in 100_u64..10_000,
        ) {
            let limit = Limit::new(per, seconds).at_once(burst);
            let interval = Interval::new(Span::from_millis(millis).unwrap()).unwrap();
            let fits = |requests, interval| {
                limit.check_pace(requests, interval).is_ok() && limit.check(requests, interval).is_ok()
            };
            match limit.check_pace(requests, interval) {
                // Then what the limit itself recommends is in time as well.
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
            // Mostly too much, so that there is something to recommend.
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

//! Rate limits of sources, and whether the settings stay within them.

use std::{fmt, time::Duration};

use common::domain::{Interval, Span};

use super::patience::guaranteed_time;

const MINUTE_MILLIS: u128 = 60_000;

/// A month of 31 days.
const MONTH_MILLIS: u128 = 31 * 24 * 60 * MINUTE_MILLIS;

/// How many of a month's requests are kept for lists of markets.
const LISTS_PER_MONTH: u32 = 100;

/// No source is sent more requests than this in a slot, even if its limit is higher.
const MOST_REQUESTS: usize = 1_000;

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
    /// How many requests are allowed in a month, if that is limited.
    pub per_month: Option<u32>,
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

/// More requests than a source's monthly limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthlyExcess {
    /// How many requests a month of 31 days makes.
    pub asked: u128,
    /// How many are allowed for prices.
    pub allowed: u32,
    /// The shortest interval that stays within the limit, if there is one.
    pub at_least: Option<Interval>,
}

impl Limit {
    /// A documented limit without a burst.
    pub const fn new(requests: u32, seconds: u16) -> Self {
        Self {
            requests,
            span: Span::from_seconds(seconds),
            burst: None,
            is_documented: true,
            per_month: None,
        }
    }

    /// Marks the limit as reported by users rather than documented.
    pub const fn undocumented(self) -> Self {
        Self { is_documented: false, ..self }
    }

    /// Allows `burst` requests at once. Requests beyond it are spread out at the pace of the limit.
    pub const fn with_burst(self, burst: u32) -> Self {
        Self { burst: Some(burst), ..self }
    }

    /// Allows only `requests` in a month.
    pub const fn with_month(self, requests: u32) -> Self {
        Self { per_month: Some(requests), ..self }
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

    /// Whether this many requests every interval stay within the limit of a month, if there is one.
    pub fn check_month(self, requests: usize, interval: Interval) -> Result<(), MonthlyExcess> {
        let Some(allowed) = self.per_month else { return Ok(()) };
        let allowed = allowed.saturating_sub(LISTS_PER_MONTH);
        let asked = (wide(requests) * MONTH_MILLIS).div_ceil(u128::from(interval.millis()).max(1));
        if asked <= allowed.into() {
            return Ok(());
        }
        let seconds = (wide(requests) * MONTH_MILLIS / 1_000).div_ceil(u128::from(allowed.max(1)));
        let span =
            u64::try_from(seconds).ok().and_then(|seconds| Span::from_millis(seconds.saturating_mul(1_000)));
        Err(MonthlyExcess { asked, allowed, at_least: span.and_then(|span| Interval::new(span).ok()) })
    }

    /// How many requests can be sent in a slot: within the limit, and early enough for a response. At least one.
    pub fn most(self, interval: Interval) -> usize {
        let by_rate =
            u128::from(self.requests) * u128::from(interval.millis()) / u128::from(self.span.millis()).max(1);
        let by_rate = usize::try_from(by_rate).unwrap_or(usize::MAX).min(MOST_REQUESTS);
        (1..=by_rate).rev().find(|count| self.is_in_time(*count, interval)).unwrap_or(1)
    }

    fn is_in_time(self, requests: usize, interval: Interval) -> bool {
        let delay = self.delay(requests.saturating_sub(1));
        delay.is_zero() || delay < guaranteed_time(interval)
    }

    /// The pause between further requests, beside this many in every interval: as short as the limit allows, but at most
    /// ten times as long as without the others.
    pub fn pause_beside(self, requests: usize, interval: Interval) -> Duration {
        let spare = 100_u128.saturating_sub(self.share(requests, interval)).max(10);
        let pause = u128::from(self.span.millis()) * 100 / (u128::from(self.requests.max(1)) * spare);
        Duration::from_millis(u64::try_from(pause).unwrap_or(u64::MAX).saturating_add(1))
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
    fn no_more_requests_are_sent_than_the_limit_and_the_time_allow() {
        let coinbase = Limit::new(10, 1).with_burst(15);
        assert_eq!(coinbase.most(interval("10s")), 34, "the 35th would be sent two seconds after the first");
        assert_eq!(coinbase.most(interval("100ms")), 1);
        assert_eq!(Limit::new(120, 60).with_burst(5).most(interval("10s")), 8);
        assert_eq!(Limit::new(1, 1).most(interval("10s")), 10, "a limit without a burst sets no pace");
        assert_eq!(Limit::new(1, 600).most(interval("10s")), 1);
    }

    #[test]
    fn a_monthly_limit_counts_31_days() {
        let limit = Limit::new(100, 60).with_month(10_000);
        let excess = limit.check_month(1, interval("10s")).unwrap_err();
        assert_eq!((excess.asked, excess.allowed), (267_840, 9_900));
        assert_eq!(excess.at_least, Some(interval("271s")));
        assert!(limit.check_month(1, interval("271s")).is_ok());
        assert!(limit.check_month(1, interval("270s")).is_err());
        assert!(Limit::new(100, 60).check_month(1, interval("1s")).is_ok());
    }

    #[test]
    fn extremes_do_not_overflow() {
        let limit = Limit {
            requests: 1,
            span: "3660d".parse().unwrap(),
            burst: Some(1),
            is_documented: true,
            per_month: Some(0),
        };
        assert!(limit.check_month(usize::MAX, interval("100ms")).is_err());
        assert_eq!(limit.most(interval("100ms")), 1);
        let excess = limit.check(usize::MAX, interval("100ms")).unwrap_err();
        assert_eq!(excess.at_least, None);
        let none = Limit { requests: 0, ..limit };
        assert!(none.check(1, interval("1d")).is_err());
        let _ = (none.share(usize::MAX, interval("100ms")), none.delay(usize::MAX));
    }

    proptest! {
        #[test]
        fn as_many_requests_as_possible_are_in_time_and_within_the_limit(
            per in 1_u32..100,
            seconds in 1_u16..20,
            burst in 1_u32..50,
            millis in 100_u64..10_000,
        ) {
            let limit = Limit::new(per, seconds).with_burst(burst);
            let interval = Interval::new(Span::from_millis(millis).unwrap()).unwrap();
            let fits = |requests| limit.is_in_time(requests, interval) && limit.check(requests, interval).is_ok();
            let most = limit.most(interval);
            prop_assert!(fits(most) || most == 1);
            prop_assert!(!fits(most + 1));
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

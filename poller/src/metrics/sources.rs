//! The metrics of sources, and of how their quotes become the price of the newest slot.

use std::time::Duration;

use common::{
    domain::{Body, Failure, Judged, Pair, Price, SourceName, Verdict, Words},
    metrics::{Define, DefineError, count},
};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry};
use rust_decimal::prelude::ToPrimitive;

use crate::source::LeftOut;

/// Why a source may not be asked for a pair although it serves the pair.
const LEFT_OUT: [Failure; 2] = [Failure::Unlisted, Failure::Halted];

/// Metrics of sources. Clones share their values.
#[derive(Debug, Clone)]
pub struct Sources {
    quotes: IntCounterVec,
    failures: IntCounterVec,
    duration: HistogramVec,
    resting: IntGaugeVec,
    left_out: IntGaugeVec,
    age: GaugeVec,
    deviation: GaugeVec,
    used: IntGaugeVec,
    required: IntGaugeVec,
    configured: IntGaugeVec,
}

impl Sources {
    pub(super) fn new(registry: &Registry) -> Result<Self, DefineError> {
        let define = Define(registry);
        Ok(Self {
            quotes: define.counters(
                "tickwell_source_quotes_total",
                "Quotes (one per source, pair and slot) by verdict; the share of `used` says how much a source contributes",
                &["source", "verdict"],
            )?,
            failures: define.counters(
                "tickwell_source_failures_total",
                "Quotes that are missing (one per source, pair and slot), by reason",
                &["source", "reason"],
            )?,
            duration: define.durations(
                "tickwell_source_duration_seconds",
                "Time until a source has returned everything that it was asked for in a slot, or until the deadline",
                &["source"],
            )?,
            resting: define.gauges(
                "tickwell_source_resting",
                "1 while the source is not asked, because of earlier failures or because it asked to wait",
                &["source"],
            )?,
            left_out: define.gauges(
                "tickwell_source_left_out_pairs",
                "Pairs that the source is not asked for, because its list of markets lacks them or it refuses them (unlisted), or because they are not traded (halted)",
                &["source", "reason"],
            )?,
            age: define.fractions(
                "tickwell_source_quote_age_seconds",
                "Age of the source's newest quote by the source's own time, when it arrived; absent if the source gives no time or returned no quote",
                &["source", "pair"],
            )?,
            deviation: define.fractions(
                "tickwell_source_deviation_ratio",
                "How far the source's newest quote is above (positive) or below (negative) the agreed price, as a share of that price",
                &["source", "pair"],
            )?,
            used: define.gauges(
                "tickwell_price_sources",
                "Sources from whose quotes the price of the newest slot was computed; 0 if there is no price",
                &["pair"],
            )?,
            required: define.gauges(
                "tickwell_price_sources_required",
                "How many sources must agree on a price (min_sources)",
                &["pair"],
            )?,
            configured: define.gauges(
                "tickwell_price_sources_configured",
                "Primary sources in the settings, which are asked for the pair in every slot",
                &["pair"],
            )?,
        })
    }

    /// Creates all series of a source that count something, with the value 0.
    pub fn expect_source(&self, source: SourceName) {
        let source = source.as_str();
        self.duration.with_label_values(&[source]);
        self.resting.with_label_values(&[source]);
        for reason in LEFT_OUT {
            self.left_out.with_label_values(&[source, reason.as_str()]);
        }
        for failure in Failure::ALL {
            self.failures.with_label_values(&[source, failure.as_str()]);
        }
        for verdict in Verdict::ON_QUOTES {
            self.quotes.with_label_values(&[source, verdict.as_str()]);
        }
    }

    /// Sets how many primary sources a pair has, and how many sources must agree.
    pub fn expect_pair(&self, pair: Pair, required: u32, configured: usize) {
        let pair = pair.to_string();
        self.required.with_label_values(&[&pair]).set(required.into());
        self.configured.with_label_values(&[&pair]).set(count(configured));
    }

    /// Sets whether a source is resting, which means that it is not asked for a while.
    pub fn resting(&self, source: SourceName, rests: bool) {
        self.resting.with_label_values(&[source.as_str()]).set(rests.into());
    }

    /// Sets how many pairs a source is not asked for.
    pub fn left_out(&self, source: SourceName, left_out: &LeftOut) {
        for reason in LEFT_OUT {
            let pairs = left_out.pairs.values().filter(|found| **found == reason).count();
            self.left_out.with_label_values(&[source.as_str(), reason.as_str()]).set(count(pairs));
        }
    }

    /// Records how long a source took in one slot.
    pub fn asked(&self, source: SourceName, took: Duration) {
        self.duration.with_label_values(&[source.as_str()]).observe(took.as_secs_f64());
    }

    /// Records what became of a pair's quotes in one slot.
    pub fn observe(&self, pair: Pair, body: &Body) {
        let agreed = if let Body::Tick(tick) = body { Some(tick.price) } else { None };
        let quotes = body.evidence().map(|evidence| evidence.quotes.as_slice()).unwrap_or_default();
        let pair = pair.to_string();
        for judged in quotes {
            self.judged(&pair, judged, agreed);
        }
        let used = quotes.iter().filter(|judged| judged.verdict == Verdict::Used).count();
        self.used.with_label_values(&[&pair]).set(count(used));
    }

    fn judged(&self, pair: &str, judged: &Judged, agreed: Option<Price>) {
        let source = judged.source.as_str();
        match judged.verdict {
            Verdict::Failed(failure) => self.failures.with_label_values(&[source, failure.as_str()]).inc(),
            verdict => self.quotes.with_label_values(&[source, verdict.as_str()]).inc(),
        }
        let age = judged.observation.and_then(|observation| {
            Some(observation.observed_at.since(observation.source_time?).as_secs_f64())
        });
        set(&self.age, &[source, pair], age);
        let deviation = judged.observation.zip(agreed);
        let deviation = deviation.and_then(|(observation, agreed)| deviation_of(observation.price, agreed));
        set(&self.deviation, &[source, pair], deviation);
    }

    /// Removes what is known about the newest slot, because a standby polls none.
    pub fn stand_by(&self) {
        self.age.reset();
        self.deviation.reset();
        self.used.reset();
    }
}

/// Sets a gauge, or removes it if there is no value.
fn set(gauges: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauges.with_label_values(labels).set(value),
        // Fails if the gauge does not exist, which is what is wanted.
        None => drop(gauges.remove_label_values(labels)),
    }
}

/// `(price − agreed) / agreed`
fn deviation_of(price: Price, agreed: Price) -> Option<f64> {
    let agreed = agreed.decimal();
    price.decimal().checked_sub(agreed)?.checked_div(agreed)?.to_f64()
}

#[cfg(test)]
mod tests {
    use common::domain::{Gap, GapCause, Interval, Observation, Timestamp};
    use prometheus::TextEncoder;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1_000).unwrap()
    }

    #[test]
    fn the_deviation_has_a_sign_and_is_a_share_of_the_agreed_price() {
        let price = |text: &str| text.parse::<Price>().unwrap();
        assert_eq!(deviation_of(price("99"), price("100")), Some(-0.01));
        assert_eq!(deviation_of(price("100.5"), price("100")), Some(0.005));
    }

    #[test]
    fn a_quote_is_counted_once_and_its_age_disappears_with_it() {
        let registry = Registry::new();
        let sources = Sources::new(&registry).unwrap();
        let (pair, source) = ("BTC-USD".parse().unwrap(), "kraken".parse().unwrap());
        sources.expect_source(source);
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let observe = |observation, verdict| {
            let interval: Interval = "10s".parse().unwrap();
            let slot = interval.slot_at(at(100));
            let policy = crate::config::PollerConfig::default().resolve();
            let policy = *policy.unwrap().pairs.get(&pair).unwrap();
            let quotes = vec![Judged { source, observation, verdict }];
            let evidence = Some(common::domain::Evidence { policy, quotes });
            let cause = GapCause::TooFewSources;
            sources.observe(
                pair,
                &Body::Gap(Gap { from: slot, slot, interval, cause, backfilled: false, evidence }),
            );
        };
        let mut seen = Observation::traded("100".parse().unwrap(), at(100));
        seen.source_time = Some(at(88));
        observe(Some(seen), Verdict::Unused);
        let age = "tickwell_source_quote_age_seconds{pair=\"BTC-USD\",source=\"kraken\"} 12\n";
        let quote = "tickwell_source_quotes_total{source=\"kraken\",verdict=\"unused\"} 1\n";
        assert!(text().contains(age) && text().contains(quote), "{}", text());
        observe(None, Verdict::Failed(Failure::Timeout));
        let failure = "tickwell_source_failures_total{reason=\"timeout\",source=\"kraken\"} 1\n";
        assert!(text().contains(failure) && text().contains(quote) && !text().contains(age), "{}", text());
        assert!(text().contains("tickwell_price_sources{pair=\"BTC-USD\"} 0\n"));
    }
}

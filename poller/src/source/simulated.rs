//! A simulated market, for trying Tickwell without internet access.
//!
//! A price is a pure function of pair and time (value noise on several time scales, in integers), so the price
//! does not jump when the process restarts. Occasionally a venue fails or is far off, so that the verdicts on
//! its quotes can be seen.

use async_trait::async_trait;
use common::domain::{Failure, Origin, Pair, Price, Slot, SourceName, Timestamp};
use rust_decimal::Decimal;
use tokio::time::Instant;

use super::{
    candle::{CandleRange, MINUTE, Past, Pasts},
    interface::{Answers, Sample, Source},
};

/// Three venues, so that an outlier can be outvoted and a quorum can be lost.
pub(super) const NAMES: [&str; 3] = ["simulated_a", "simulated_b", "simulated_c"];

/// The time scales of the market: seconds, and how far each moves the price in parts per million.
const WAVES: [(i64, i64); 6] =
    [(5, 40), (40, 150), (300, 600), (2_400, 2_500), (21_600, 9_000), (172_800, 30_000)];

/// How far a venue may differ from the market, in parts per million.
const VENUE_NOISE: i64 = 120;

/// Noise is an integer from −NOISE to NOISE.
const NOISE: i64 = 1_000_000;

/// One simulated venue.
pub(super) struct Simulated {
    name: SourceName,
    venue: u64,
    pairs: Vec<Pair>,
}

impl Simulated {
    pub(super) fn named(name: SourceName, pairs: &[Pair]) -> Option<Self> {
        let venue = NAMES.iter().zip(1..).find(|(known, _)| **known == name.as_str())?.1;
        Some(Self { name, venue, pairs: pairs.to_vec() })
    }

    fn sample(&self, pair: Pair, time: Timestamp) -> Result<Sample, Failure> {
        let millis = time.unix_millis();
        let seed = seed_of(pair);
        let dice = hash(seed ^ self.venue, millis) % 1_000;
        if dice < 10 {
            return Err(Failure::Timeout);
        }
        let venue = self.venue.cast_signed();
        // Each venue is off by a different amount, so that two wrong ones never agree.
        let far_off = if dice < 18 { 30_000 * venue } else { 0 };
        let own = noise(hash(seed, venue), millis, 10_000) * VENUE_NOISE / NOISE;
        let market: i64 = WAVES
            .iter()
            .map(|(seconds, reach)| {
                noise(seed ^ seconds.unsigned_abs(), millis, seconds * 1_000) * reach / NOISE
            })
            .sum();
        let cents = base_cents(pair) * (1_000_000 + market + own + far_off) / 1_000_000;
        let price = Price::new(Decimal::new(cents, 2)).map_err(|_| Failure::Invalid)?;
        Ok(Sample::traded(price, Some(time)))
    }
}

#[async_trait]
impl Source for Simulated {
    fn name(&self) -> SourceName {
        self.name
    }

    fn origin(&self) -> Origin {
        Origin::Simulated
    }

    async fn past(&self, pairs: &[Pair], range: CandleRange, _slot: Slot, _deadline: Instant) -> Pasts {
        let ends = || std::iter::successors(Some(range.first), |start| Some(start.plus(MINUTE)));
        let close = |pair: Pair, end: Timestamp| Some((end, self.sample(pair, end).ok()?.reported.last?));
        let closes = |pair: &Pair| {
            let ends = ends().take_while(|start| *start <= range.last).map(|start| start.plus(MINUTE));
            ends.filter_map(|end| close(*pair, end)).collect()
        };
        let past = |pair: &Pair| (*pair, Past { closes: closes(pair), otherwise: Failure::Timeout });
        self.pairs.iter().filter(|pair| pairs.contains(pair)).map(past).collect()
    }

    async fn ask(&self, slot: Slot, _deadline: Instant) -> Answers {
        self.pairs.iter().map(|pair| (*pair, self.sample(*pair, slot.start()))).collect()
    }
}

/// The price in cents around which a pair's price moves.
fn base_cents(pair: Pair) -> i64 {
    match (pair.base(), pair.quote()) {
        ("BTC", "USD") => 9_700_000,
        ("ETH", "USD") => 340_000,
        _ => 1_000 + i64::try_from(seed_of(pair) % 1_000_000).unwrap_or(0),
    }
}

fn seed_of(pair: Pair) -> u64 {
    pair.to_string().bytes().fold(0, |seed, byte| hash(seed, i64::from(byte)))
}

/// Noise: random integers at multiples of `period`, with linear interpolation in between.
fn noise(seed: u64, at: i64, period: i64) -> i64 {
    let (step, past) = (at.div_euclid(period), at.rem_euclid(period));
    let (before, after) = (drawn(seed, step), drawn(seed, step + 1));
    before + (after - before) * past / period
}

fn drawn(seed: u64, step: i64) -> i64 {
    i64::try_from(hash(seed, step) % 2_000_001).unwrap_or(0) - NOISE
}

/// SplitMix64 by Steele, Lea and Flood. It gives the same values on every machine.
fn hash(seed: u64, value: i64) -> u64 {
    let mut mixed = seed.wrapping_add(value.cast_unsigned()).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use common::domain::{Interval, Timestamp};

    use super::*;

    #[test]
    fn prices_of_a_day_move_stay_plausible_and_are_reproducible() {
        let interval: Interval = "10s".parse().unwrap();
        let venue = Simulated::named("simulated_b".parse().unwrap(), &[]).unwrap();
        let pair: Pair = "BTC-USD".parse().unwrap();
        let mut slot = interval.slot_at("2026-11-21T00:00:00Z".parse::<Timestamp>().unwrap());
        let (mut prices, mut failures) = (std::collections::BTreeSet::new(), 0);
        for _ in 0..8_640 {
            match venue.sample(pair, slot.start()) {
                Ok(sample) => {
                    assert_eq!(venue.sample(pair, slot.start()), Ok(sample));
                    let last = sample.reported.last.unwrap();
                    assert!((85_000..110_000).contains(&(last.units() / 10_u128.pow(Price::MAX_DECIMALS))));
                    prices.insert(last);
                }
                Err(_) => failures += 1,
            }
            slot = interval.after(slot.start());
        }
        assert!(prices.len() > 4_000, "{}", prices.len());
        assert!((10..500).contains(&failures), "{failures}");
    }
}

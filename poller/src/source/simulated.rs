//! A simulated market, for trying Tickwell without internet access.
//!
//! Each asset has a value in US dollars, which is a pure function of the time (value noise on several time scales, in
//! integers), so that prices do not jump when the process restarts. The price of a pair is the value of its base
//! divided by the value of its quote, so that prices fit each other. Occasionally a venue fails or is far off, so that
//! the verdicts on its quotes can be seen.

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

/// The time scales of the market: seconds, and how far each moves the value of an asset in parts per million.
const WAVES: [(i64, i64); 6] =
    [(5, 80), (40, 300), (300, 1_200), (2_400, 4_000), (21_600, 12_000), (172_800, 30_000)];

/// Currencies move by this many times less than other assets.
const CALM: i64 = 50;

/// Values are in millionths of a millionth of a dollar.
const DOLLAR: i128 = 1_000_000_000_000;

/// A price has at least this many units, so that small changes can be seen. It has at least two decimals.
const MIN_UNITS: i128 = 100_000;

/// The values of well-known assets in millionths of a dollar.
const ASSETS: [(&str, i128); 20] = [
    ("BTC", 97_000_000_000),
    ("ETH", 3_400_000_000),
    ("BNB", 650_000_000),
    ("BCH", 450_000_000),
    ("SOL", 190_000_000),
    ("XMR", 190_000_000),
    ("LTC", 105_000_000),
    ("AVAX", 36_000_000),
    ("LINK", 22_000_000),
    ("UNI", 12_000_000),
    ("ATOM", 7_000_000),
    ("DOT", 7_000_000),
    ("TON", 5_400_000),
    ("XRP", 2_200_000),
    ("ADA", 850_000),
    ("XLM", 380_000),
    ("DOGE", 320_000),
    ("TRX", 250_000),
    ("SHIB", 22),
    ("PEPE", 18),
];

/// Other assets are worth from half a dollar to 50 dollars.
const MIN_UNLISTED: i128 = 500_000;
const UNLISTED_SPAN: u64 = 49_500_000;

/// The values of currencies, and of coins that follow one, in millionths of a dollar.
const CURRENCIES: [(&str, i128); 12] = [
    ("USD", 1_000_000),
    ("USDT", 1_000_000),
    ("USDC", 1_000_000),
    ("DAI", 1_000_000),
    ("EUR", 1_050_000),
    ("GBP", 1_260_000),
    ("CHF", 1_120_000),
    ("CAD", 700_000),
    ("AUD", 640_000),
    ("BRL", 170_000),
    ("TRY", 28_000),
    ("JPY", 6_500),
];

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
        let seed = seed_of(&pair.to_string());
        let dice = hash(seed ^ self.venue, millis) % 1_000;
        if dice < 10 {
            return Err(Failure::Timeout);
        }
        let venue = self.venue.cast_signed();
        // Each venue is off by a different amount, so that two wrong ones never agree.
        let far_off = if dice < 18 { 30_000 * venue } else { 0 };
        let own = noise(hash(seed, venue), millis, 10_000) * VENUE_NOISE / NOISE;
        let price = price(value(pair.base(), millis), value(pair.quote(), millis), own + far_off);
        let price = price.ok_or(Failure::Invalid)?;
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
        let past = |pair: &Pair| (*pair, Past { closes: closes(pair), otherwise: Failure::Missing });
        self.pairs.iter().filter(|pair| pairs.contains(pair)).map(past).collect()
    }

    async fn ask(&self, slot: Slot, _deadline: Instant) -> Answers {
        self.pairs.iter().map(|pair| (*pair, self.sample(*pair, slot.start()))).collect()
    }
}

/// The value of an asset at a time.
fn value(asset: &str, millis: i64) -> i128 {
    let seed = seed_of(asset);
    let listed =
        |assets: &[(&str, i128)]| assets.iter().find(|(name, _)| *name == asset).map(|(_, value)| *value);
    let (millionths, calm) = match (asset, listed(&CURRENCIES), listed(&ASSETS)) {
        ("USD", _, _) => return DOLLAR,
        (_, Some(value), _) => (value, CALM),
        (_, None, Some(value)) => (value, 1),
        (_, None, None) => (MIN_UNLISTED + i128::from(seed % UNLISTED_SPAN), 1),
    };
    let market: i64 = WAVES
        .iter()
        .map(|(seconds, reach)| noise(seed ^ seconds.unsigned_abs(), millis, seconds * 1_000) * reach / NOISE)
        .sum();
    millionths * i128::from(1_000_000 + market / calm)
}

/// The price of a base in a quote, moved by parts per million.
fn price(base: i128, quote: i128, moved: i64) -> Option<Price> {
    let units =
        |decimals: u32| base * i128::from(1_000_000 + moved) / 1_000_000 * 10_i128.pow(decimals) / quote;
    let decimals = (2..Price::MAX_QUOTED_DECIMALS).find(|decimals| units(*decimals) >= MIN_UNITS);
    let decimals = decimals.unwrap_or(Price::MAX_QUOTED_DECIMALS);
    Price::new(Decimal::try_from_i128_with_scale(units(decimals), decimals).ok()?).ok()
}

fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0, |seed, byte| hash(seed, i64::from(byte)))
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

    /// The prices that a venue reports at some times, without its failures.
    fn prices(pair: &str, millis: impl Iterator<Item = i64>) -> Vec<f64> {
        let venue = Simulated::named("simulated_b".parse().unwrap(), &[]).unwrap();
        let time = |millis| Timestamp::from_unix_millis(millis).unwrap();
        let samples = millis.filter_map(|millis| venue.sample(pair.parse().unwrap(), time(millis)).ok());
        samples.map(|sample| sample.reported.last.unwrap().to_string().parse().unwrap()).collect()
    }

    /// Noon of 60 days.
    fn noons() -> impl Iterator<Item = i64> {
        (0..60).map(|day| 1_795_262_400_000 + day * 86_400_000)
    }

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

    #[test]
    fn every_pair_has_a_plausible_price() {
        for (pair, low, high) in [
            ("BTC-USD", 85_000.0, 110_000.0),
            ("ETH-USD", 3_000.0, 3_800.0),
            ("SOL-USD", 100.0, 300.0),
            ("DOGE-USD", 0.2, 0.5),
            ("EUR-USD", 1.0, 1.1),
            ("USDT-USD", 0.99, 1.01),
            ("ETH-BTC", 0.03, 0.04),
            ("DOGE-BTC", 0.000_002, 0.000_005),
            ("BTC-JPY", 13_000_000.0, 17_000_000.0),
            ("WHATEVER-USD", 0.4, 60.0),
            ("OTHER-EUR", 0.4, 60.0),
        ] {
            // A venue that is far off differs by 6 %.
            for price in prices(pair, noons()) {
                assert!(price > low * 0.94 && price < high * 1.07, "{pair} is {price}");
            }
        }
    }

    #[test]
    fn prices_in_different_currencies_fit_each_other() {
        let [usd, eur, rate] = ["BTC-USD", "BTC-EUR", "EUR-USD"]
            .map(|pair| prices(pair, noons()).into_iter().collect::<Vec<_>>());
        let median = |mut prices: Vec<f64>| {
            prices.sort_by(f64::total_cmp);
            prices[prices.len() / 2]
        };
        let (usd, converted) = (median(usd), median(eur) * median(rate));
        assert!((usd / converted - 1.0).abs() < 0.002, "{usd} is not {converted}");
    }

    #[test]
    fn small_prices_have_enough_digits_to_move() {
        for pair in ["DOGE-USD", "SHIB-USD", "DOGE-BTC", "JPY-USD"] {
            let found: std::collections::BTreeSet<_> =
                prices(pair, noons()).iter().map(|price| price.to_bits()).collect();
            assert!(found.len() > 40, "{pair} has {} prices in 60 days", found.len());
        }
    }

    #[test]
    fn a_day_and_ten_minutes_are_worth_watching() {
        let spread = |from: i64, length: i64, step: i64| {
            let mut found = prices("BTC-USD", (from..from + length).step_by(usize::try_from(step).unwrap()));
            found.sort_by(f64::total_cmp);
            // Without the quotes that are far off.
            found[found.len() * 98 / 100] / found[found.len() * 2 / 100] - 1.0
        };
        let mut days: Vec<f64> = noons().map(|noon| spread(noon, 86_400_000, 300_000)).collect();
        let mut minutes: Vec<f64> = noons().map(|noon| spread(noon, 600_000, 10_000)).collect();
        for (spreads, least) in [(&mut days, 0.015), (&mut minutes, 0.001)] {
            spreads.sort_by(f64::total_cmp);
            assert!(spreads[30] > least && spreads[0] > least / 4.0, "{spreads:?}");
        }
    }
}

//! A random walk, for trying Tickwell without recordings.
//!
//! A price is a sum of waves: noise at several time scales. Each wave depends only on a hash of the seed and the slot.
//! A slot's price therefore needs no history, stays near its middle for years, and is the same on every machine. All
//! arithmetic uses integers.

use std::time::Duration;

use super::{Market, SlotGrid, Trade};
use crate::Venue;

/// Prices are counted in hundred-thousandths of a dollar, for the five decimal places that Kraken sends.
const UNITS_PER_DOLLAR: i64 = 100_000;

/// The waves that all venues share. With slots of ten seconds, the longest wave has a turning point about once a day,
/// and moves the price by up to one percent.
const SHARED_WAVES: [Wave; 5] = [
    Wave { slots: 1, millionths: 20 },
    Wave { slots: 7, millionths: 60 },
    Wave { slots: 60, millionths: 300 },
    Wave { slots: 720, millionths: 2_000 },
    Wave { slots: 8_640, millionths: 10_000 },
];

/// The waves of each venue. Venues differ by less than a fiftieth of a percent, and none is always the highest.
const VENUE_WAVES: [Wave; 2] = [Wave { slots: 1, millionths: 20 }, Wave { slots: 30, millionths: 50 }];

/// How much less a coin costs in USDT than in USD, in millionths. This is about the real discount in calm weeks. It is
/// much larger than the differences between venues, but still so small that a mix-up of the currencies is easily
/// overlooked.
const TETHER_DISCOUNT_MILLIONTHS: i64 = 2_000;

/// The coins. The digits of each venue are in the order of [`Venue::ALL`].
const COINS: [Coin; 2] = [
    Coin {
        base: "BTC",
        dollars: 97_000,
        digits: [
            digits(1, 5),
            digits(2, 2),
            digits(0, 0),
            digits(2, 2),
            digits(0, 0),
            digits(2, 2),
            digits(2, 8),
        ],
    },
    Coin {
        base: "ETH",
        dollars: 3_400,
        digits: [
            digits(2, 5),
            digits(2, 2),
            digits(1, 1),
            digits(2, 2),
            digits(1, 1),
            digits(2, 2),
            digits(2, 8),
        ],
    },
];

/// A random market at all venues and at all times: BTC near 97,000 dollars and ETH near 3,400 dollars. Binance quotes
/// them in USDT, the others in USD.
#[derive(Clone, Copy, Debug)]
pub struct WalkMarket {
    seed: u64,
    grid: SlotGrid,
}

struct Wave {
    /// How many slots there are between two turning points.
    slots: i64,
    /// The maximum distance from the middle, in millionths of the price.
    millionths: i64,
}

struct Coin {
    base: &'static str,
    dollars: i64,
    digits: [Digits; Venue::ALL.len()],
}

/// The decimal places of a venue's prices of a coin: how many of them change (`moving`), and how many are sent
/// (`written`). The places that do not change are zeros.
struct Digits {
    moving: u32,
    written: u32,
}

const fn digits(moving: u32, written: u32) -> Digits {
    Digits { moving, written }
}

impl WalkMarket {
    /// The walk of this seed. It does not depend on when it is started.
    ///
    /// # Errors
    ///
    /// Fails if the interval is not valid for a [`SlotGrid`].
    pub fn new(seed: u64, interval: Duration) -> anyhow::Result<Self> {
        Ok(Self { seed, grid: SlotGrid::starting_at(0, interval)? })
    }
}

impl Market for WalkMarket {
    fn pairs(&self, venue: Venue, _now_ms: i64) -> Vec<String> {
        COINS.iter().map(|coin| format!("{}-{}", coin.base, quote(venue))).collect()
    }

    fn trade(&self, venue: Venue, pair: &str, now_ms: i64) -> Option<Trade> {
        let (base, _) = pair.split_once('-').filter(|(_, quoted)| *quoted == quote(venue))?;
        let coin = COINS.iter().find(|coin| coin.base == base)?;
        let (venue_number, digits) = (0_u64..)
            .zip(&coin.digits)
            .zip(Venue::ALL)
            .find_map(|(numbered, other)| (other == venue).then_some(numbered))?;
        let slot = self.grid.index(now_ms);
        let middle = coin.dollars * UNITS_PER_DOLLAR;
        let coin_seed = hash(self.seed, coin.dollars.cast_unsigned());
        let venue_seed = hash(coin_seed, venue_number);
        let units = middle
            + sum_of_waves(&SHARED_WAVES, coin_seed, slot, middle)
            + sum_of_waves(&VENUE_WAVES, venue_seed, slot, middle)
            - middle / 1_000_000 * discount_millionths(venue);
        Some(Trade { price: digits.write(units), time_ms: self.grid.slot_start_ms(now_ms) })
    }
}

/// The currency of a venue's prices.
const fn quote(venue: Venue) -> &'static str {
    if matches!(venue, Venue::Binance) { "USDT" } else { "USD" }
}

const fn discount_millionths(venue: Venue) -> i64 {
    if matches!(venue, Venue::Binance) { TETHER_DISCOUNT_MILLIONTHS } else { 0 }
}

impl Digits {
    fn write(&self, units: i64) -> String {
        let step = UNITS_PER_DOLLAR / 10_i64.pow(self.moving);
        let units = units - units.rem_euclid(step);
        let dollars = units / UNITS_PER_DOLLAR;
        if self.written == 0 {
            return dollars.to_string();
        }
        // Five decimal places, which are cut off or padded with zeros to as many as the venue sends.
        let decimals = format!("{:05}", units % UNITS_PER_DOLLAR);
        let written = usize::try_from(self.written).unwrap_or(usize::MAX);
        format!("{dollars}.{:0<written$.written$}", decimals)
    }
}

/// The price's distance from its middle in this slot, in the units of `middle`.
fn sum_of_waves(waves: &[Wave], seed: u64, slot: i64, middle: i64) -> i64 {
    let heights = (0_u64..).zip(waves).map(|(number, wave)| {
        let reach = middle / 1_000_000 * wave.millionths;
        let turn = slot.div_euclid(wave.slots);
        let passed = slot.rem_euclid(wave.slots);
        let wave_seed = hash(seed, number);
        let (from, to) = (noise(wave_seed, turn), noise(wave_seed, turn + 1));
        // Interpolate linearly between the two turning points. `noise` returns 31 bits and a sign, so shifting by 31
        // bits scales it to the range from -1 to 1.
        let between = (from * (wave.slots - passed) + to * passed) / wave.slots;
        (between * reach) >> 31
    });
    heights.sum()
}

/// A pseudo-random number, evenly distributed over the range of an `i32`.
fn noise(seed: u64, turn: i64) -> i64 {
    let [a, b, c, d, ..] = hash(seed, turn.cast_unsigned()).to_le_bytes();
    i64::from(i32::from_le_bytes([a, b, c, d]))
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014), applied to both numbers.
const fn hash(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn walk(seed: u64) -> WalkMarket {
        WalkMarket::new(seed, Duration::from_secs(10)).unwrap()
    }

    fn price(market: WalkMarket, venue: Venue, pair: &str, now_ms: i64) -> Decimal {
        market.trade(venue, pair, now_ms).unwrap().price.parse().unwrap()
    }

    #[test]
    fn prices_move_and_stay_near_the_middle_and_close_together() {
        for (pair, middle) in [("BTC-USD", 97_000), ("ETH-USD", 3_400)] {
            let middle = Decimal::from(middle);
            let mut moved = 0;
            for slot in 0..5_000 {
                // The slots are spread over months, so that every wave has many turning points.
                let now_ms = NOW_MS + slot * 1_230_000;
                let quotes_it = |venue: &Venue| *venue != Venue::Binance;
                let prices: Vec<Decimal> = Venue::ALL
                    .into_iter()
                    .filter(quotes_it)
                    .map(|venue| price(walk(1), venue, pair, now_ms))
                    .collect();
                let tether = price(walk(1), Venue::Binance, &format!("{pair}T"), now_ms);
                assert!(tether < *prices.iter().min().unwrap(), "{pair} {prices:?} {tether}");
                assert!((tether - prices[0]).abs() < middle * Decimal::new(3, 3), "{pair} {tether}");
                for price in &prices {
                    assert!((price - middle).abs() < middle * Decimal::new(13, 3), "{pair} {price}");
                    assert!((price - prices[0]).abs() < middle * Decimal::new(5, 4), "{pair} {prices:?}");
                }
                moved += i64::from(price(walk(1), Venue::Kraken, pair, now_ms + 10_000) != prices[0]);
            }
            assert!(moved > 4_000, "{pair} moved in {moved} of 5,000 slots");
        }
    }

    #[test]
    fn a_price_depends_only_on_the_seed_and_the_slot() {
        let trade = |seed, now_ms| walk(seed).trade(Venue::Coinbase, "BTC-USD", now_ms).unwrap();
        assert_eq!(trade(1, NOW_MS), trade(1, NOW_MS + 9_999));
        assert_eq!(trade(1, NOW_MS + 9_999).time_ms, NOW_MS);
        assert_ne!(trade(1, NOW_MS).price, trade(2, NOW_MS).price);
    }

    #[test]
    fn prices_have_as_many_decimals_as_the_venue_sends() {
        let decimals = |pair| {
            Venue::ALL.map(|venue| {
                let tether = if venue == Venue::Binance { "T" } else { "" };
                let price = walk(1).trade(venue, &format!("{pair}{tether}"), NOW_MS).unwrap().price;
                price.split_once('.').map_or(0, |(_, fraction)| fraction.len())
            })
        };
        assert_eq!(decimals("BTC-USD"), [5, 2, 0, 2, 0, 2, 8]);
        assert_eq!(decimals("ETH-USD"), [5, 2, 1, 2, 1, 2, 8]);
        let five_dollars_and_a_bit = 509_999;
        assert_eq!(digits(1, 5).write(five_dollars_and_a_bit), "5.00000");
        assert_eq!(digits(2, 2).write(five_dollars_and_a_bit), "5.09");
        assert_eq!(digits(0, 0).write(five_dollars_and_a_bit), "5");
        assert_eq!(digits(2, 8).write(five_dollars_and_a_bit), "5.09000000");
    }

    #[test]
    fn other_pairs_have_no_market() {
        assert_eq!(walk(1).pairs(Venue::Kraken, NOW_MS), ["BTC-USD", "ETH-USD"]);
        for (venue, pair) in [
            (Venue::Kraken, "SOL-USD"),
            (Venue::Kraken, "BTC-USDT"),
            (Venue::Kraken, "BTCUSD"),
            (Venue::Binance, "BTC-USD"),
        ] {
            assert_eq!(walk(1).trade(venue, pair, NOW_MS), None, "{venue} {pair}");
        }
        assert_eq!(walk(1).pairs(Venue::Binance, NOW_MS), ["BTC-USDT", "ETH-USDT"]);
    }
}

//! A generated year: two pairs with a record every ten seconds, prices of a random walk, and occasional gaps. The seed
//! is a constant, so the records are the same in every run.

use common::domain::{
    AgeRule, Body, Epoch, Evidence, Gap, GapCause, Interval, Judged, Lead, Observation, Origin, Pair, Policy,
    Price, PriceRule, Ratio, Record, Sequence, Slot, Span, Tick, Timestamp, Verdict,
};
use ledger::store::Stored;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rust_decimal::Decimal;

const SEED: u64 = 20_261_121;

pub const PAIRS: [&str; 2] = ["BTC-USD", "ETH-USD"];

const STARTS_CENTS: [i64; 2] = [9_700_000, 340_000];

const SOURCES: [&str; 3] = ["kraken", "coinbase", "bitstamp"];

pub const SLOTS_A_DAY: u64 = 8_640;

/// On average, an outage begins in one of this many slots.
const SLOTS_AN_OUTAGE: u32 = 20_000;

/// The maximum number of slots of an outage.
const LONGEST_OUTAGE: u32 = 60;

pub struct Year {
    random: StdRng,
    pairs: [Pair; 2],
    cents: [i64; 2],
    /// The first slot of each pair's current outage, and how many more slots the outage lasts.
    outages: [Option<(Slot, u32)>; 2],
    slot: Slot,
    end: Timestamp,
    pair: usize,
    sequence: u64,
}

pub fn interval() -> Interval {
    "10s".parse().expect("an interval")
}

pub fn begin() -> Timestamp {
    "2025-11-21T00:00:00Z".parse().expect("a time")
}

impl Year {
    pub fn new(days: u64) -> Self {
        let end = begin().plus(
            Span::from_seconds(10).duration() * u32::try_from(days * SLOTS_A_DAY).expect("a few years"),
        );
        Self {
            random: StdRng::seed_from_u64(SEED),
            pairs: PAIRS.map(|pair| pair.parse().expect("a pair")),
            cents: STARTS_CENTS,
            outages: [None; 2],
            slot: interval().slot_at(begin()),
            end,
            pair: 0,
            sequence: 0,
        }
    }

    fn stored(&mut self, pair: Pair, body: Body) -> Stored {
        self.sequence += 1;
        let record = Record { pair, epoch: Epoch(1), origin: Origin::Live, body };
        Stored { sequence: Sequence(self.sequence), record }
    }

    /// A pair's record for a slot; `None` during an outage.
    fn body(&mut self, which: usize, slot: Slot) -> Option<Body> {
        if let Some((from, left)) = self.outages[which] {
            if left > 0 {
                self.outages[which] = Some((from, left - 1));
                return None;
            }
            self.outages[which] = None;
            let cause = GapCause::NoLeader;
            let (interval, backfilled) = (interval(), false);
            return Some(Body::Gap(Gap { from, slot, interval, cause, backfilled, evidence: None }));
        }
        if self.random.random_ratio(1, SLOTS_AN_OUTAGE) {
            self.outages[which] = Some((slot, self.random.random_range(0..LONGEST_OUTAGE)));
            return self.body(which, slot);
        }
        let span = self.cents[which] / 5_000;
        self.cents[which] = (self.cents[which] + self.random.random_range(-span..=span)).max(1_000);
        let mut prices: Vec<i64> =
            SOURCES.iter().map(|_| self.cents[which] + self.random.random_range(-40..=40)).collect();
        let quotes =
            SOURCES.iter().zip(&prices).map(|(source, cents)| judged(source, *cents, slot)).collect();
        prices.sort_unstable();
        let [low, median, high] = [0, 1, 2].map(|place| price(prices[place]));
        let spread = Ratio::distance(low, high, median);
        let evidence = Evidence { policy: policy(), quotes };
        Some(Body::Tick(Tick {
            slot,
            interval: interval(),
            price: median,
            spread,
            backfilled: false,
            evidence,
        }))
    }
}

impl Iterator for Year {
    type Item = Stored;

    fn next(&mut self) -> Option<Stored> {
        if self.sequence < 2 {
            let which = usize::try_from(self.sequence).expect("0 or 1");
            return Some(self.stored(
                self.pairs[which],
                Body::Lead(Lead { covered: None, backfilled: false, leader: None }),
            ));
        }
        while self.slot.start() < self.end {
            let (which, slot) = (self.pair, self.slot);
            self.pair = 1 - self.pair;
            if self.pair == 0 {
                self.slot = interval().after(slot.start());
            }
            if let Some(body) = self.body(which, slot) {
                return Some(self.stored(self.pairs[which], body));
            }
        }
        None
    }
}

fn price(cents: i64) -> Price {
    Price::new(Decimal::new(cents, 2)).expect("a price")
}

fn judged(source: &str, cents: i64, slot: Slot) -> Judged {
    let at = slot.start().plus(std::time::Duration::from_millis(214));
    let observation =
        Observation { source_time: Some(slot.start()), ..Observation::traded(price(cents), at) };
    Judged {
        source: source.parse().expect("a source"),
        observation: Some(observation),
        verdict: Verdict::Used,
    }
}

pub fn policy() -> Policy {
    Policy {
        rules: Policy::RULES,
        price: PriceRule::Mid,
        min_sources: 2,
        max_deviation: "2%".parse().expect("a ratio"),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(600),
        aged_at: AgeRule::Arrival,
    }
}

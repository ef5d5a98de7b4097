//! Generates random logs. They have ticks, short and long gaps, a pair that begins late, and batches of any size.

use common::domain::Timestamp;
use rand::{Rng, SeedableRng, rngs::StdRng};
use testkit::naive::Tick;

use crate::rig::{at, gap, lead, tick};

pub(crate) const PAIRS: [&str; 2] = ["BTC-USD", "ETH-USD"];

/// A log, and the slots of its records.
pub(crate) struct RandomLog {
    /// The records in the batches in which they arrive.
    pub(crate) batches: Vec<Vec<Vec<u8>>>,
    /// The pair of each record, its last slot in seconds, and its price if the record is a tick. `None` for a lead.
    pub(crate) covered: Vec<Option<(&'static str, i64, Option<String>)>>,
}

impl RandomLog {
    /// A log of this many records. The same seed gives the same log.
    pub(crate) fn new(seed: u64, records: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut messages, mut covered) = (Vec::new(), Vec::new());
        // The log does not begin at the start of a minute or an hour.
        let mut next = [3_590, 3_590 + 10 * random.random_range(1..60)];
        let mut cents = [9_701_230, 345_678];
        while messages.len() < records {
            // Continue with the pair that is behind, so that both progress together.
            let which = usize::from(next[1] < next[0]);
            let (pair, slot) = (PAIRS[which], next[which]);
            let dice = random.random_range(0..100);
            let slots = match dice {
                0..80 => 1,
                80..96 => random.random_range(1..6),
                96..98 => random.random_range(60..400),
                _ => {
                    messages.push(lead(pair));
                    covered.push(None);
                    continue;
                }
            };
            let last = slot + 10 * (slots - 1);
            if dice < 80 {
                cents[which] += random.random_range(-500..=500);
                // Some prices have trailing zeros.
                let zeros = ["", "0", "00"][random.random_range(0..3)];
                let price = format!("{}.{:02}{zeros}", cents[which] / 100, cents[which] % 100);
                messages.push(tick(pair, slot, &price));
                covered.push(Some((pair, last, Some(price))));
            } else {
                messages.push(gap(pair, slot, last));
                covered.push(Some((pair, last, None)));
            }
            next[which] = last + 10;
        }
        let mut batches = Vec::new();
        while !messages.is_empty() {
            let size = random.random_range(1..=12).min(messages.len());
            batches.push(messages.drain(..size).collect());
        }
        Self { batches, covered }
    }

    /// A pair's ticks among the first `count` records.
    pub(crate) fn ticks(&self, pair: &str, count: usize) -> Vec<Tick> {
        let of_pair = self.covered[..count].iter().flatten().filter(|(of, ..)| *of == pair);
        let tick = |(_, second, price): &(&str, i64, Option<String>)| {
            let slot = at(*second).unix_millis();
            price.clone().map(|price| Tick { slot, interval: 10_000, price, backfilled: false })
        };
        of_pair.filter_map(tick).collect()
    }

    /// The sequence of the record that ends with a pair's slot.
    pub(crate) fn sequence_of(&self, pair: &str, slot: Timestamp) -> u64 {
        let is_it = |record: &Option<(&str, i64, Option<String>)>| {
            record.as_ref().is_some_and(|(of, last, _)| *of == pair && at(*last) == slot)
        };
        self.covered.iter().position(is_it).unwrap() as u64 + 1
    }

    /// The slot that the first `count` records have reached, in seconds: the newest one of those pairs that have a record
    /// among the last four for each pair, unless it is more than two intervals ahead of another of these pairs.
    pub(crate) fn reached(&self, count: usize) -> Option<i64> {
        let known: Vec<(usize, i64)> = PAIRS
            .iter()
            .filter_map(|pair| {
                let records = self.covered[..count].iter().enumerate();
                records.rev().find_map(|(index, record)| {
                    record.as_ref().filter(|(of, ..)| of == pair).map(|(_, last, _)| (index, *last))
                })
            })
            .collect();
        let newest = known.iter().map(|(index, _)| *index).max()?;
        let written = known.iter().filter(|(index, _)| newest - index < 4 * known.len());
        let slots: Vec<i64> = written.map(|(_, slot)| *slot).collect();
        let limit = slots.iter().min()? + 20;
        slots.into_iter().filter(|slot| *slot <= limit).max()
    }

    /// The newest slot of a pair, or of any pair, among the first `count` records, in seconds.
    pub(crate) fn newest_slot(&self, pair: Option<&str>, count: usize) -> Option<i64> {
        let all = self.covered[..count].iter().flatten();
        all.filter(|(of, ..)| pair.is_none_or(|pair| pair == *of)).map(|(_, last, _)| *last).max()
    }
}

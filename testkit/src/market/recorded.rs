//! Recorded minutes, one per slot, with their times shifted to now.

use std::time::Duration;

use anyhow::Context;

use super::{Market, SlotGrid, Trade};
use crate::Venue;
use crate::recording::{RECORDED_PAIR, Recordings};

/// Plays recordings: each slot shows one recorded minute, and the next slot the next minute.
///
/// If a venue has no row for a minute, its last row is repeated, as an exchange repeats its last trade when nobody
/// trades. The trade's age grows by one interval for each missing minute. After the end of a recording, the last row is
/// repeated forever.
#[derive(Clone, Debug)]
pub struct RecordedMarket {
    recordings: Recordings,
    grid: SlotGrid,
    first_minute: i64,
}

impl RecordedMarket {
    /// Starts at `now_ms` with `first_minute`, or with the first minute that every venue has a row for.
    ///
    /// # Errors
    ///
    /// Fails if the interval is not valid for a [`SlotGrid`], or if no minute was given and there is no minute for
    /// which every venue has a row.
    pub fn new(
        recordings: Recordings,
        interval: Duration,
        first_minute: Option<i64>,
        now_ms: i64,
    ) -> anyhow::Result<Self> {
        let grid = SlotGrid::starting_at(now_ms, interval)?;
        let first_minute = first_minute
            .or_else(|| recordings.first_common_minute())
            .context("no minute is in all recordings")?;
        Ok(Self { recordings, grid, first_minute })
    }

    /// The recordings that are played.
    #[must_use]
    pub const fn recordings(&self) -> &Recordings {
        &self.recordings
    }

    /// The recorded minute of slot 0, in minutes since the unix epoch.
    #[must_use]
    pub const fn first_minute(&self) -> i64 {
        self.first_minute
    }

    /// When slot 0 begins, unix time in milliseconds.
    #[must_use]
    pub const fn first_slot_ms(&self) -> i64 {
        self.grid.first_slot_ms()
    }

    /// The length of a slot in milliseconds.
    #[must_use]
    pub const fn interval_ms(&self) -> i64 {
        self.grid.interval_ms()
    }

    /// The recorded minute of the slot that contains `time_ms`, in minutes since the unix epoch.
    #[must_use]
    pub const fn minute_at(&self, time_ms: i64) -> i64 {
        self.first_minute + self.grid.index(time_ms)
    }
}

impl Market for RecordedMarket {
    fn pairs(&self, venue: Venue, now_ms: i64) -> Vec<String> {
        let quoted = self.trade(venue, RECORDED_PAIR, now_ms).is_some();
        if quoted { vec![RECORDED_PAIR.to_owned()] } else { Vec::new() }
    }

    fn trade(&self, venue: Venue, pair: &str, now_ms: i64) -> Option<Trade> {
        if pair != RECORDED_PAIR {
            return None;
        }
        let minute = self.minute_at(now_ms);
        let row = self.recordings.get(venue)?.newest_at_or_before(minute)?;
        let minutes_missed = minute - row.minute();
        let time_ms = self.grid.slot_start_ms(now_ms) - minutes_missed * self.interval_ms();
        Some(Trade { price: row.price.clone(), time_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{fixtures_folder, recordings_folder};

    const INTERVAL: Duration = Duration::from_secs(10);
    const START_MS: i64 = 1_800_000_003_500;
    const FIRST_SLOT_MS: i64 = 1_800_000_000_000;

    fn fixtures(first_minute: Option<i64>) -> RecordedMarket {
        let recordings = Recordings::load(&fixtures_folder()).unwrap();
        RecordedMarket::new(recordings, INTERVAL, first_minute, START_MS).unwrap()
    }

    #[test]
    fn each_slot_shows_the_next_recorded_minute() {
        let market = fixtures(None);
        let first_minute = 16_305_120;
        assert_eq!(market.first_minute(), first_minute);
        assert_eq!((market.first_slot_ms(), market.interval_ms()), (FIRST_SLOT_MS, 10_000));
        assert_eq!(market.minute_at(START_MS), first_minute);
        assert_eq!(market.minute_at(FIRST_SLOT_MS + 9_999), first_minute);
        assert_eq!(market.minute_at(FIRST_SLOT_MS + 10_000), first_minute + 1);
        assert_eq!(market.minute_at(FIRST_SLOT_MS - 1), first_minute - 1);
    }

    /// The prices were copied by hand from the fixture files.
    #[test]
    fn a_trade_has_the_recorded_digits_and_the_time_at_which_the_slot_starts() {
        let market = fixtures(None);
        let first = Venue::DEFAULT.map(|venue| market.trade(venue, "BTC-USD", START_MS).unwrap());
        assert_eq!(first.clone().map(|trade| trade.price), ["41219.2", "41234.85", "41208.35"]);
        assert_eq!(first.map(|trade| trade.time_ms), [FIRST_SLOT_MS; 3]);
        let next = market.trade(Venue::Kraken, "BTC-USD", START_MS + 10_000).unwrap();
        assert_eq!(next, Trade { price: "41223.8".to_owned(), time_ms: FIRST_SLOT_MS + 10_000 });
    }

    #[test]
    fn in_a_hole_the_last_row_is_repeated_with_a_growing_age() {
        let recordings = Recordings::load(&recordings_folder()).unwrap();
        let hole = recordings.venue(Venue::Coinbase).longest_hole().unwrap();
        let last_price = recordings.venue(Venue::Coinbase).row_at(hole.last_minute).unwrap().price.clone();
        let next_price = {
            let minute = hole.last_minute + hole.missing_minutes + 1;
            recordings.venue(Venue::Coinbase).row_at(minute).unwrap().price.clone()
        };
        let market = RecordedMarket::new(recordings, INTERVAL, Some(hole.last_minute - 9), START_MS).unwrap();

        let last_row_ms = FIRST_SLOT_MS + 9 * 10_000;
        for slot in 9..=9 + hole.missing_minutes {
            let now_ms = START_MS + slot * 10_000;
            let coinbase = market.trade(Venue::Coinbase, "BTC-USD", now_ms).unwrap();
            assert_eq!(coinbase, Trade { price: last_price.clone(), time_ms: last_row_ms }, "slot {slot}");
        }
        let after = START_MS + (10 + hole.missing_minutes) * 10_000;
        let coinbase = market.trade(Venue::Coinbase, "BTC-USD", after).unwrap();
        assert_eq!(coinbase, Trade { price: next_price, time_ms: after - 3_500 });
    }

    #[test]
    fn only_recorded_venues_quote_only_their_pair_and_only_since_the_recording_began() {
        let market = fixtures(None);
        assert!(market.pairs(Venue::Gemini, START_MS).is_empty());
        assert_eq!(market.pairs(Venue::Kraken, START_MS), ["BTC-USD"]);
        assert_eq!(market.trade(Venue::Kraken, "ETH-USD", START_MS), None);
        assert!(market.pairs(Venue::Kraken, FIRST_SLOT_MS - 1).is_empty());
        assert_eq!(market.trade(Venue::Kraken, "BTC-USD", FIRST_SLOT_MS - 1), None);
    }

    #[test]
    fn after_the_end_the_last_row_is_repeated_with_a_growing_age() {
        let market = fixtures(None);
        let far_ms = FIRST_SLOT_MS + 1_000 * 10_000;
        let kraken = market.trade(Venue::Kraken, "BTC-USD", far_ms).unwrap();
        assert_eq!(kraken.time_ms, FIRST_SLOT_MS + 59 * 10_000);
    }
}

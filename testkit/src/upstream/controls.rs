//! The faults, prices and listings that a test has set. They override the market.
//!
//! A venue has one fault at a time. `quotes` implements faults of prices and times, and `misconduct` implements all
//! other faults.

use std::collections::{BTreeMap, BTreeSet};

use super::listing::Listing;
use crate::Venue;
use crate::fault::Fault;
use crate::venue::is_pair;

#[derive(Debug, Default)]
pub(super) struct Controls {
    faults: BTreeMap<Venue, ActiveFault>,
    /// The prices by venue and pair. `None` removes the pair from the market.
    prices: BTreeMap<Venue, BTreeMap<String, Option<String>>>,
    /// The markets that are not open.
    listings: BTreeMap<(Venue, String), ActiveListing>,
    /// The venues that do not return their lists of markets.
    without_lists: BTreeSet<Venue>,
    /// The venues that do not return candles.
    without_candles: BTreeSet<Venue>,
}

/// A fault and when it began, unix time in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActiveFault {
    pub(super) fault: Fault,
    pub(super) since_ms: i64,
}

/// The state of a market and when it began, unix time in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActiveListing {
    pub(super) listing: Listing,
    pub(super) since_ms: i64,
}

impl Controls {
    pub(super) fn set_fault(&mut self, venue: Venue, fault: Option<Fault>, now_ms: i64) {
        match fault {
            Some(fault) => {
                // Without this check, a fault that does not apply would be ignored silently, and the test would not
                // show why.
                assert!(fault.applies_to(venue), "the fault {fault} has no effect on {venue}");
                self.faults.insert(venue, ActiveFault { fault, since_ms: now_ms });
            }
            None => {
                self.faults.remove(&venue);
            }
        }
    }

    pub(super) fn set_price(&mut self, venue: Venue, pair: &str, price: Option<&str>) {
        assert_is_pair(pair);
        self.prices.entry(venue).or_default().insert(pair.to_owned(), price.map(str::to_owned));
    }

    pub(super) fn follow_market(&mut self, venue: Venue, pair: &str) {
        self.prices.entry(venue).or_default().remove(pair);
    }

    pub(super) fn set_listing(&mut self, venue: Venue, pair: &str, listing: Listing, now_ms: i64) {
        assert_is_pair(pair);
        assert!(listing.applies_to(venue), "{venue} has no markets that are {listing:?}");
        let key = (venue, pair.to_owned());
        if listing == Listing::Open {
            self.listings.remove(&key);
        } else {
            self.listings.insert(key, ActiveListing { listing, since_ms: now_ms });
        }
    }

    pub(super) fn set_lists(&mut self, venue: Venue, available: bool) {
        if available {
            self.without_lists.remove(&venue);
        } else {
            self.without_lists.insert(venue);
        }
    }

    pub(super) fn set_candles(&mut self, venue: Venue, available: bool) {
        if available {
            self.without_candles.remove(&venue);
        } else {
            self.without_candles.insert(venue);
        }
    }

    /// The venue's current fault.
    pub(super) fn fault(&self, venue: Venue) -> Option<ActiveFault> {
        self.faults.get(&venue).copied()
    }

    /// The prices set for the venue, by pair.
    pub(super) fn prices(&self, venue: Venue) -> Option<&BTreeMap<String, Option<String>>> {
        self.prices.get(&venue)
    }

    /// The state of a market; `None` if it is open.
    pub(super) fn listing(&self, venue: Venue, pair: &str) -> Option<ActiveListing> {
        self.listings.get(&(venue, pair.to_owned())).copied()
    }

    /// Whether the venue returns candles.
    pub(super) fn has_candles(&self, venue: Venue) -> bool {
        !self.without_candles.contains(&venue)
    }

    /// Whether the venue returns its list of markets.
    pub(super) fn has_list(&self, venue: Venue) -> bool {
        !self.without_lists.contains(&venue)
    }
}

/// Without this check, a misspelt pair would be ignored silently, and the test would not show why.
fn assert_is_pair(pair: &str) {
    assert!(is_pair(pair), "{pair:?} is not a pair written BASE-QUOTE");
}

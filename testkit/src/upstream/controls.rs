//! What a test has told the exchanges to do, over the head of the market.
//!
//! This is the place for further faults: late answers, nonsense, 429. A fault that is a matter of one reply
//! joins [`Controls::fault`]; one that is a matter of prices joins the overrides.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;

use super::reply::Reply;
use crate::Venue;
use crate::venue::is_pair;

#[derive(Debug, Default)]
pub(super) struct Controls {
    down: BTreeSet<Venue>,
    /// By venue and pair. `None` takes the pair off the market.
    prices: BTreeMap<Venue, BTreeMap<String, Option<String>>>,
}

impl Controls {
    pub(super) fn set_down(&mut self, venue: Venue, down: bool) {
        if down {
            self.down.insert(venue);
        } else {
            self.down.remove(&venue);
        }
    }

    pub(super) fn set_price(&mut self, venue: Venue, pair: &str, price: Option<&str>) {
        // A misspelt pair would change nothing, and the test would not say why.
        assert!(is_pair(pair), "{pair:?} is not a pair written BASE-QUOTE");
        self.prices.entry(venue).or_default().insert(pair.to_owned(), price.map(str::to_owned));
    }

    pub(super) fn follow_market(&mut self, venue: Venue, pair: &str) {
        self.prices.entry(venue).or_default().remove(pair);
    }

    /// The reply that stands in for the venue's own, whatever was asked.
    pub(super) fn fault(&self, venue: Venue) -> Option<Reply> {
        self.down.contains(&venue).then(|| Reply::empty(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// The prices that were set for the venue, by pair.
    pub(super) fn prices(&self, venue: Venue) -> Option<&BTreeMap<String, Option<String>>> {
        self.prices.get(&venue)
    }
}

//! Whether a venue lists a market, and whether it can be traded.

use crate::Venue;

/// The state of a market at a venue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// Listed, and traded.
    #[default]
    Open,
    /// Listed with the venue's word for a market without trading. The ticker keeps the price and the time of the moment
    /// at which trading stopped.
    Halted,
    /// Coinbase keeps the market in its list, with a word that says so, and has its own error for a request for the
    /// price. Binance's `ticker/price` keeps it with the price zero. Otherwise the same as `Unlisted`.
    Delisted,
    /// Neither in the list nor priced.
    Unlisted,
}

impl Listing {
    /// Whether the venue can have a market in this state. Bitfinex's and CoinGecko's lists contain only names.
    #[must_use]
    pub const fn applies_to(self, venue: Venue) -> bool {
        !matches!((self, venue), (Self::Halted, Venue::Bitfinex | Venue::Coingecko))
    }

    /// Whether the ticker has a price.
    pub(super) const fn is_priced(self) -> bool {
        matches!(self, Self::Open | Self::Halted)
    }

    /// A venue's word for the state; `None` if the market is not in the list.
    pub(super) const fn word(self, open: &'static str, halted: &'static str) -> Option<&'static str> {
        match self {
            Self::Open => Some(open),
            Self::Halted => Some(halted),
            Self::Delisted | Self::Unlisted => None,
        }
    }
}

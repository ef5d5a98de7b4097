//! Dispatches to the file that knows a venue's format.

use http::StatusCode;
use serde_json::json;

use super::quotes::Quotes;
use super::reply::Reply;
use super::request::Query;
use super::{binance, bitfinex, bitstamp, coinbase, coingecko, gemini, kraken};
use crate::Venue;

/// A request to a venue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) venue: Venue,
    /// The path after the venue's name.
    pub(super) path: &'a str,
    pub(super) query: &'a Query,
}

/// The path of the venue's list of markets.
pub(super) const fn list_path(venue: Venue) -> &'static str {
    match venue {
        Venue::Kraken => kraken::LIST,
        Venue::Coinbase => coinbase::LIST,
        Venue::Bitstamp => bitstamp::LIST,
        Venue::Gemini => gemini::LIST,
        Venue::Bitfinex => bitfinex::LIST,
        Venue::Coingecko => coingecko::LIST,
        Venue::Binance => binance::LIST,
    }
}

impl Question<'_> {
    /// Whether this is the request for the venue's list of markets.
    pub(super) fn is_list(self) -> bool {
        self.path == list_path(self.venue)
    }

    /// Whether this is a request for candles.
    pub(super) fn is_candles(self) -> bool {
        let of_venue = match self.venue {
            Venue::Kraken => kraken::CANDLES,
            Venue::Coinbase => return self.path.ends_with(coinbase::CANDLES),
            Venue::Bitstamp => bitstamp::CANDLES,
            Venue::Gemini => gemini::CANDLES,
            Venue::Bitfinex => bitfinex::CANDLES,
            Venue::Binance => binance::CANDLES,
            Venue::Coingecko => return false,
        };
        self.path.starts_with(of_venue)
    }

    /// The venue's normal response.
    pub(super) fn answer(self, quotes: &Quotes<'_>) -> Reply {
        let Self { venue, path, query } = self;
        match venue {
            Venue::Kraken => kraken::answer(path, query, quotes),
            Venue::Coinbase => coinbase::answer(path, query, quotes),
            Venue::Bitstamp => bitstamp::answer(path, query, quotes),
            Venue::Gemini => gemini::answer(path, quotes),
            Venue::Bitfinex => bitfinex::answer(path, query, quotes),
            Venue::Coingecko => coingecko::answer(path, query, quotes),
            Venue::Binance => binance::answer(path, query, quotes),
        }
    }

    /// A response of the normal form without any prices.
    pub(super) fn empty(self, quotes: &Quotes<'_>) -> Reply {
        match self.venue {
            Venue::Kraken => kraken::empty(),
            Venue::Coinbase => Reply::ok(&json!({})),
            Venue::Coingecko => coingecko::empty(self.query, quotes),
            Venue::Bitstamp => bitstamp::empty(self.path),
            Venue::Gemini => gemini::empty(self.path),
            Venue::Bitfinex | Venue::Binance => Reply::ok(&json!([])),
        }
    }

    /// The venue's error response.
    pub(super) fn error(self) -> Reply {
        match self.venue {
            Venue::Kraken => kraken::error(),
            Venue::Coinbase => coinbase::error(),
            // The venue has no known format for errors. `Fault::applies_to` excludes this case.
            Venue::Bitstamp => Reply::empty(StatusCode::INTERNAL_SERVER_ERROR),
            Venue::Gemini => gemini::error(),
            Venue::Bitfinex => bitfinex::error(),
            Venue::Coingecko => coingecko::error(),
            Venue::Binance => binance::error(),
        }
    }

    /// The venue's response to too many requests.
    pub(super) fn limited(self) -> Reply {
        match self.venue {
            Venue::Kraken => kraken::limited(),
            Venue::Coinbase => coinbase::limited(),
            Venue::Bitstamp => bitstamp::limited(),
            Venue::Gemini => gemini::limited(),
            Venue::Bitfinex => bitfinex::limited(),
            Venue::Coingecko => coingecko::limited(),
            Venue::Binance => binance::limited(),
        }
    }

    /// An error status, with a body if the venue is known to send one.
    pub(super) fn status(self, status: StatusCode) -> Reply {
        match (self.venue, status) {
            (Venue::Binance, StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS) => {
                Reply::json(status, &binance::elsewhere())
            }
            _ => Reply::empty(status),
        }
    }
}

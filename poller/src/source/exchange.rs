//! What is specific to one exchange: the [`Exchange`] trait.
//!
//! Requests are values and parsing is pure, so an implementation never does I/O:
//! [`HttpSource`](super::http::HttpSource) does that for all of them. The trait supports current prices, lists of markets
//! and candles.
//!
//! Pairs are mapped to the exchange's symbols before the requests are built: by the exchange's own list of markets, or
//! until that has arrived, by [`Exchange::market`]. Requests and parsers only see the resulting [`Market`]s.

use std::{fmt, time::Duration};

use common::domain::{Failure, Pair, Span};

use super::{
    candle::{Candle, Candles},
    interface::{Answers, Role, Sample},
    key::Plan,
    limit::Limit,
    market::{Market, MarketList},
};

/// How long a list is used if it does not show halts, or if every response with prices leaves out halted markets.
pub const LIST_WITHOUT_HALTS: Duration = Duration::from_secs(6 * 3_600);

/// Everything that is specific to one exchange.
///
/// An implementation lives in a file of its own in `exchanges` and is registered in `exchanges.rs`.
/// `CONTRIBUTING.md` explains how to add one.
pub trait Exchange: Send + Sync {
    /// The exchange's name in settings, records and metrics: lower-case letters, digits and `_`.
    fn name(&self) -> &'static str;

    /// The public base URL, without a trailing slash. It may depend on the API key's plan.
    fn base_url(&self, plan: Option<Plan>) -> &'static str;

    /// The rate limit at the public base URL, without a key or with a key of this plan. None if it is
    /// unknown.
    fn limit(&self, plan: Option<Plan>) -> Option<Limit>;

    /// The market of a pair according to the rules by which the exchange makes its symbols. It is used until the
    /// exchange's list of markets has arrived. None if the exchange is known not to have the pair.
    fn market(&self, pair: Pair) -> Option<Market>;

    /// Why [`market`](Self::market) returns None for a pair, and what to do about it.
    fn why_not_served(&self, pair: Pair) -> String {
        let name = self.name();
        format!("{name} is not known to have {pair}; use another pair, or remove {name} from feed.sources")
    }

    /// The path and query that return the exchange's list of markets. None if it has none.
    fn list_path(&self) -> Option<&'static str> {
        None
    }

    /// How long a list is used before it is loaded again. The default is short, because for most exchanges, only the list
    /// shows that a market is halted.
    fn list_is_used_for(&self) -> Duration {
        Duration::from_secs(900)
    }

    /// Parses the list of markets. An entry that cannot be read is left out.
    fn parse_list(&self, _body: &str) -> Result<MarketList, Failure> {
        Err(Failure::Malformed)
    }

    /// The requests for these markets, at most `most` of them: a single one if the exchange can return all of them at
    /// once.
    fn requests(&self, markets: &[Market], most: usize) -> Vec<Request>;

    /// Parses the body of a successful response to a request for these markets.
    ///
    /// The parser must never guess: a price that is not where the exchange's documentation puts it is a failure.
    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure>;

    /// The exchange's one-minute candles. None if it has none, or none that are fit for minutes.
    fn candles(&self) -> Option<&'static dyn Candles> {
        None
    }

    /// The error that a response body reports, if any. Called for every status, even for 200.
    fn parse_error(&self, _body: &str) -> Option<ReportedError> {
        None
    }

    /// The header that carries an API key of this plan. None if the exchange takes no keys.
    fn key_header(&self, _plan: Plan) -> Option<&'static str> {
        None
    }

    /// The source's role if the settings don't name one.
    fn default_role(&self) -> Role {
        Role::Primary
    }

    /// How old the exchange's own timestamps may be if the settings don't specify it. None means
    /// `aggregate.max_quote_age`.
    fn default_max_quote_age(&self) -> Option<Span> {
        None
    }

    /// The markets of those pairs that the exchange serves, by its rules. Not meant to be overridden.
    fn markets(&self, pairs: &[Pair]) -> Vec<Market> {
        pairs.iter().filter_map(|pair| self.market(*pair)).collect()
    }

    /// Reads the body of a successful response, which may still report an error. Not meant to be overridden.
    fn read(&self, body: &[u8], markets: &[Market]) -> Result<Answers, Failure> {
        self.parse(self.without_error(body)?, markets)
    }

    /// Reads the body of a successful response to the request for the list of markets. A list without a single market is
    /// not believed. Not meant to be overridden.
    fn read_list(&self, body: &[u8]) -> Result<MarketList, Failure> {
        let list = self.parse_list(self.without_error(body)?)?;
        if list.is_empty() { Err(Failure::Malformed) } else { Ok(list) }
    }

    /// Reads the body of a successful response to a request for a market's candles. Not meant to be overridden.
    fn read_candles(
        &self,
        body: &[u8],
        market: &Market,
        candles: &dyn Candles,
    ) -> Result<Vec<Candle>, Failure> {
        candles.parse(self.without_error(body)?, market)
    }

    /// The text of a body that reports no error. Not meant to be overridden.
    fn without_error<'a>(&self, body: &'a [u8]) -> Result<&'a str, Failure> {
        // JSON must be UTF-8. A JSON parser does not check members that it skips, so check the whole body here.
        let body = std::str::from_utf8(body).map_err(|_| Failure::Malformed)?;
        self.parse_error(body).map_or(Ok(body), |error| Err(error.failure))
    }
}

/// One GET request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Path and query, which are appended to the base URL.
    pub path: String,
    /// The markets whose prices the response contains.
    pub markets: Vec<Market>,
}

impl Request {
    /// A single request for all markets.
    pub fn for_all(path: String, markets: &[Market]) -> Vec<Self> {
        vec![Self { path, markets: markets.to_vec() }]
    }

    /// One request per market.
    pub fn for_each(path: impl Fn(&Market) -> String, markets: &[Market]) -> Vec<Self> {
        let request = |market| Self { path: path(market), markets: vec![market.clone()] };
        markets.iter().map(request).collect()
    }
}

/// An error that an exchange reports in a response body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedError {
    /// What the error means.
    pub failure: Failure,
    /// Until when the exchange refuses requests, in Unix seconds, if it reports that.
    pub until: Option<i64>,
    /// Whether the exchange refused the whole request because it does not know one of the symbols.
    pub blames_symbol: bool,
}

impl ReportedError {
    /// An error with this meaning.
    pub fn new(failure: Failure) -> Self {
        Self { failure, until: None, blames_symbol: false }
    }

    /// The exchange does not know one of the symbols in the request.
    pub fn unknown_symbol() -> Self {
        Self { blames_symbol: true, ..Self::new(Failure::Refused) }
    }
}

/// Collects what `read` returns for each market.
pub fn answers(markets: &[Market], read: impl Fn(&Market) -> Result<Sample, Failure>) -> Answers {
    markets.iter().map(|market| (market.pair, read(market))).collect()
}

impl fmt::Display for dyn Exchange + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Debug for dyn Exchange + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

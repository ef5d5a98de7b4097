//! `/api/v3`: our prices in CoinGecko's dialect, for programs that were written for CoinGecko.
//!
//! Routes, parameters, responses and errors are those of CoinGecko; what Tickwell does not know is left out. What
//! differs is described in docs/coingecko.md.
//!
//! - [`coins`]: which asset an id, a name or a symbol stands for.
//! - [`parameters`]: parses parameters.
//! - [`chart`]: which ticks become the rows of a chart.
//! - [`shape`]: the responses, whose prices are JSON numbers.
//! - [`dialect`]: slashes, keys and errors, which are the same for all routes.

mod chart;
mod coins;
mod dialect;
mod parameters;
mod shape;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::domain::{Asset, Pair};
use poem::web::Data;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};
use rust_decimal::Decimal;

use self::{
    chart::{Buckets, Known},
    parameters::{Days, is_set, items, time},
    shape::{
        CoinGeckoChart, CoinGeckoCoin, CoinGeckoPing, CoinGeckoRate, CoinGeckoRates, Number, Quotes, Row,
    },
};
use super::{State, Tag, convert, no_price_yet};
use crate::{
    dto::Json,
    problem::{Code, Problem},
};
use ledger::{
    rate::{self, Fraction, Leg},
    snapshot::{PairView, Snapshot},
    summary::{Summary, change_ratio},
};

pub(crate) use coins::Coins;
pub(crate) use dialect::{KEY_PARAMETERS, ignore_slash, is_of_dialect, sent_keys, speak};

/// Where the dialect's routes are. It is the path of CoinGecko's own, so that only the host changes for a client.
pub(crate) const PREFIX: &str = "/api/v3";

/// The asset in which [`CoinGeckoApi::exchange_rates`] counts.
const BITCOIN: &str = "BTC";

/// The handler of the dialect.
pub struct CoinGeckoApi {
    pub(super) state: Arc<State>,
    pub(super) coins: Arc<Coins>,
}

/// The snapshot of a request, which a middleware of the server attached to the request.
type Current<'a> = Data<&'a Arc<Snapshot>>;

#[OpenApi(prefix_path = "/api/v3", tag = "Tag::CoinGecko")]
impl CoinGeckoApi {
    /// Check that the server can be reached
    ///
    /// Returns CoinGecko's words, because some clients compare them.
    #[oai(path = "/ping", method = "get", operation_id = "coingeckoPing")]
    async fn ping(&self) -> Json<CoinGeckoPing> {
        Json::of(CoinGeckoPing { gecko_says: "(V3) To the Moon!".to_owned() })
    }

    /// Get the newest prices of coins
    ///
    /// Coins are chosen by `ids`, `names` or `symbols`; the first of these that is given counts. Each coin has a price in
    /// each of the currencies in which the log has a pair. Coins and currencies without a pair are left out.
    ///
    /// `precision` is ignored: prices have all their digits. Market caps and volumes are left out.
    #[oai(path = "/simple/price", method = "get", operation_id = "coingeckoSimplePrice")]
    #[expect(clippy::too_many_arguments, reason = "each is a documented query parameter")]
    async fn simple_price(
        &self,
        snapshot: Current<'_>,
        /// The currencies, separated by commas.
        vs_currencies: Query<String>,
        /// Ids of coins, separated by commas.
        ids: Query<Option<String>>,
        /// Names of coins, separated by commas. The response has them as they are written here.
        names: Query<Option<String>>,
        /// Symbols of coins, separated by commas. The response has them in lower case.
        symbols: Query<Option<String>>,
        /// `true` adds the change in 24 hours in percent, or null if the earlier price is not known.
        include_24hr_change: Query<Option<String>>,
        /// `true` adds the slot of the price in unix seconds. If prices have several slots, it is the oldest.
        include_last_updated_at: Query<Option<String>>,
    ) -> Result<Json<BTreeMap<String, Quotes>>, Problem> {
        let requested = if let Some(ids) = &ids.0 {
            items(ids).map(|id| (id.to_owned(), self.coins.with_id(id))).collect()
        } else if let Some(names) = &names.0 {
            items(names).map(|name| (name.to_owned(), self.coins.named(name))).collect()
        } else if let Some(symbols) = &symbols.0 {
            items(symbols).map(|symbol| (symbol.to_ascii_lowercase(), symbol.parse().ok())).collect()
        } else {
            return Err(Problem::missing("ids"));
        };
        let requested: BTreeMap<String, Option<Asset>> = requested;
        if snapshot.pairs.values().all(|view| view.tick.is_none()) {
            return Err(no_price_yet(None, snapshot.pairs.values().next()));
        }
        let currencies: BTreeSet<Asset> =
            items(&vs_currencies.0).filter_map(|item| item.parse().ok()).collect();
        let (change, time) =
            (is_set(include_24hr_change.0.as_deref()), is_set(include_last_updated_at.0.as_deref()));
        let quotes_of = |asset: Asset| {
            let is_base = snapshot.pairs.keys().any(|pair| pair.assets().first() == Some(&asset));
            is_base.then(|| quotes(&snapshot, asset, &currencies, change, time))
        };
        let coins = requested.into_iter().filter_map(|(name, asset)| Some((name, quotes_of(asset?)?)));
        Ok(Json::of(coins.collect()))
    }

    /// List the currencies that coins have prices in
    ///
    /// These are the quote assets of the pairs in the log.
    #[oai(
        path = "/simple/supported_vs_currencies",
        method = "get",
        operation_id = "coingeckoSupportedCurrencies"
    )]
    async fn supported_currencies(&self, snapshot: Current<'_>) -> Json<Vec<String>> {
        let currencies: BTreeSet<String> =
            snapshot.pairs.keys().map(|pair| pair.quote().to_ascii_lowercase()).collect();
        Json::of(currencies.into_iter().collect())
    }

    /// List the coins that have prices
    ///
    /// These are the base assets of the pairs in the log, as far as their ids are known.
    #[oai(path = "/coins/list", method = "get", operation_id = "coingeckoCoinsList")]
    async fn list(&self, snapshot: Current<'_>) -> Json<Vec<CoinGeckoCoin>> {
        let bases: BTreeSet<Asset> =
            snapshot.pairs.keys().map(|pair| pair.assets()).map(|[base, _]| base).collect();
        let coin = |asset: Asset| {
            let known = self.coins.of(asset)?;
            let symbol = asset.to_string().to_ascii_lowercase();
            Some(CoinGeckoCoin { id: known.id.clone(), symbol, name: known.name.clone() })
        };
        Json::of(bases.into_iter().filter_map(coin).collect())
    }

    /// Get a chart of the last days
    ///
    /// A chart of one day has a row for every five minutes, one of up to 90 days a row for every hour, and a longer one a
    /// row for every day. Each row is the first tick of its time, and the last row is the newest tick. Time without a
    /// tick has no row.
    #[oai(path = "/coins/:id/market_chart", method = "get", operation_id = "coingeckoMarketChart")]
    async fn market_chart(
        &self,
        snapshot: Current<'_>,
        /// The id of the coin.
        id: Path<String>,
        /// The currency.
        vs_currency: Query<String>,
        /// The number of days before the newest slot, or `max`.
        days: Query<String>,
        /// `5m`, `hourly` or `daily`. Default: depends on `days`.
        interval: Query<Option<String>>,
    ) -> Result<Json<CoinGeckoChart>, Problem> {
        let (pair, view) = self.pair(&snapshot, &id.0, &vs_currency.0)?;
        let buckets = chart::last_days(self.known(view), Days::parse(&days.0)?, interval.0.as_deref())?;
        self.chart(pair, buckets).await
    }

    /// Get a chart from one time to another
    ///
    /// A chart of up to one day that ends with the newest slot has a row for every five minutes, one of up to 90 days a
    /// row for every hour, and a longer one a row for every day. Each row is the first tick of its time, and the last row
    /// is the last tick of the whole range.
    #[oai(path = "/coins/:id/market_chart/range", method = "get", operation_id = "coingeckoMarketChartRange")]
    async fn market_chart_range(
        &self,
        snapshot: Current<'_>,
        /// The id of the coin.
        id: Path<String>,
        /// The currency.
        vs_currency: Query<String>,
        /// The beginning, in unix seconds or ISO 8601.
        from: Query<String>,
        /// The end, which is included, in unix seconds or ISO 8601.
        to: Query<String>,
        /// `5m`, `hourly` or `daily`. Default: depends on the range.
        interval: Query<Option<String>>,
    ) -> Result<Json<CoinGeckoChart>, Problem> {
        let (pair, view) = self.pair(&snapshot, &id.0, &vs_currency.0)?;
        let range = (time("from", &from.0)?, time("to", &to.0)?);
        let buckets = chart::range(self.known(view), range, interval.0.as_deref())?;
        self.chart(pair, buckets).await
    }

    /// Get candles of the last days
    ///
    /// Candles are half an hour long for up to two days, four hours for up to 30 days, and four days beyond. The time of a
    /// candle is its end. The candle that is still open is left out, and so are candles without a tick.
    #[oai(path = "/coins/:id/ohlc", method = "get", operation_id = "coingeckoOhlc")]
    async fn ohlc(
        &self,
        snapshot: Current<'_>,
        /// The id of the coin.
        id: Path<String>,
        /// The currency.
        vs_currency: Query<String>,
        /// The number of days before the newest slot, or `max`.
        days: Query<String>,
        /// `hourly` or `daily`. Default: depends on `days`.
        interval: Query<Option<String>>,
    ) -> Result<Json<Vec<Row>>, Problem> {
        let (pair, view) = self.pair(&snapshot, &id.0, &vs_currency.0)?;
        let buckets = chart::candles(self.known(view), Days::parse(&days.0)?, interval.0.as_deref())?;
        let next = view.next_slot();
        let rows = move |found| {
            let closed = chart::closed(found, buckets.length, next);
            Json::of(closed.map(|(end, candle)| shape::candle_row(end, &candle)).collect())
        };
        self.read(pair, buckets, rows).await
    }

    /// Get what one bitcoin is worth
    ///
    /// Includes every asset that pairs of the log connect with BTC. The value is that of `/v1/convert`: the price of the
    /// pair with BTC, or a rate computed from the prices of two pairs in the same slot.
    #[oai(path = "/exchange_rates", method = "get", operation_id = "coingeckoExchangeRates")]
    async fn exchange_rates(&self, snapshot: Current<'_>) -> Result<Json<CoinGeckoRates>, Problem> {
        let assets: BTreeSet<Asset> = snapshot.pairs.keys().flat_map(|pair| pair.assets()).collect();
        let bitcoin = BITCOIN.parse().map_err(Problem::internal)?;
        if !assets.contains(&bitcoin) {
            let detail = "the log has no pair with BTC, and exchange rates are counted in BTC";
            return Err(Problem::new(Code::NoRate, detail));
        }
        let (state, snapshot, coins) = (self.state.clone(), snapshot.clone(), self.coins.clone());
        let read = move || {
            let mut rates = BTreeMap::new();
            for asset in assets {
                let value = if asset == bitcoin {
                    Some(Number::of(1))
                } else {
                    rate(&state, &snapshot, [bitcoin, asset])?
                };
                rates.extend(
                    value.map(|value| (asset.to_string().to_ascii_lowercase(), named(&coins, asset, value))),
                );
            }
            Ok(Json::of(CoinGeckoRates { rates }))
        };
        self.state.workers.read(read).await
    }
}

/// Candles, each with its start.
type Found = Vec<(common::domain::Timestamp, Summary)>;

impl CoinGeckoApi {
    /// The pair of a coin and a currency, or an error in CoinGecko's words.
    fn pair<'a>(
        &self,
        snapshot: &'a Snapshot,
        id: &str,
        currency: &str,
    ) -> Result<(Pair, &'a PairView), Problem> {
        let coin = self.coins.with_id(id);
        let mut pairs =
            snapshot.pairs.iter().filter(|(pair, _)| pair.assets().first() == coin.as_ref()).peekable();
        if pairs.peek().is_none() {
            let detail = "coin not found; /api/v3/coins/list has the coins that this server knows";
            return Err(Problem::new(Code::UnknownPair, detail));
        }
        let found = pairs.find(|(pair, _)| pair.quote().eq_ignore_ascii_case(currency.trim()));
        found.map(|(pair, view)| (*pair, view)).ok_or_else(|| {
            Problem::parameter("vs_currency", "the coin has no price in this currency on this server")
        })
    }

    fn known(&self, view: &PairView) -> Known {
        Known { from: self.state.history_from(view), newest: view.slot }
    }

    async fn chart(&self, pair: Pair, buckets: Buckets) -> Result<Json<CoinGeckoChart>, Problem> {
        let rows = |found: Found| {
            let prices = chart::points(&found).iter().map(shape::point_row).collect();
            Json::of(CoinGeckoChart { prices, market_caps: Vec::new(), total_volumes: Vec::new() })
        };
        self.read(pair, buckets, rows).await
    }

    /// Reads candles, and makes the response of them.
    async fn read<T: Send + 'static>(
        &self,
        pair: Pair,
        Buckets { length, from, to }: Buckets,
        response: impl FnOnce(Found) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.state.store.clone();
        let found = move || match from < to {
            true => store.candles(pair, length, from, to),
            false => Ok(Found::new()),
        };
        self.state.workers.read(move || Ok(response(found()?))).await
    }
}

/// The newest prices of an asset.
fn quotes(
    snapshot: &Snapshot,
    asset: Asset,
    currencies: &BTreeSet<Asset>,
    with_change: bool,
    with_time: bool,
) -> Quotes {
    let mut quotes = BTreeMap::new();
    let mut slots = BTreeSet::new();
    for (pair, view) in &snapshot.pairs {
        let [base, quote] = pair.assets();
        let Some(newest) = view.tick.as_ref().filter(|_| base == asset && currencies.contains(&quote)) else {
            continue;
        };
        let name = pair.quote().to_ascii_lowercase();
        if with_change {
            let ratio = view.day_ago.and_then(|then| change_ratio(then.price, newest.tick.price));
            let percent = ratio.and_then(|ratio| ratio.checked_mul(Decimal::ONE_HUNDRED));
            let change = percent.map(|percent| Number::of(percent.normalize()));
            quotes.insert(format!("{name}_24h_change"), change);
        }
        quotes.insert(name, Some(Number::of(newest.tick.price)));
        slots.insert(newest.tick.slot);
    }
    if let Some(oldest) = slots.first().filter(|_| with_time) {
        quotes.insert("last_updated_at".to_owned(), Some(Number::seconds(oldest.start())));
    }
    Quotes(quotes)
}

/// What one unit of an asset is worth in another. `None` if no pairs connect them, or if these have no prices in the same
/// slot. Reads from disk.
fn rate(state: &State, snapshot: &Snapshot, [from, to]: [Asset; 2]) -> Result<Option<Number>, Problem> {
    let Ok(way) = convert::way(snapshot, from, to) else { return Ok(None) };
    let legs = rate::legs_in_shared_slot(&state.store, snapshot, &way)?;
    Ok(legs.map(|legs| match legs.as_slice() {
        [Leg { step, price, .. }] if !step.inverted => Number::of(price),
        legs => Number::of(Fraction::of(legs).rounded()),
    }))
}

fn named(coins: &Coins, asset: Asset, value: Number) -> CoinGeckoRate {
    let code = asset.to_string();
    match coins::currency(asset) {
        Some((name, sign)) => {
            CoinGeckoRate { name: name.to_owned(), unit: sign.to_owned(), value, kind: "fiat".to_owned() }
        }
        None => {
            let name = coins.of(asset).map_or_else(|| code.clone(), |coin| coin.name.clone());
            CoinGeckoRate { name, unit: code, value, kind: "crypto".to_owned() }
        }
    }
}

//! Asks an [`Exchange`] over HTTP.
//!
//! In every slot, `asking` sends the requests for the pairs that the exchange has. If the exchange refuses a request
//! because of one symbol, `Search` finds it. `past` asks for candles. In the background, `lists` loads the exchange's own list of markets, which
//! decides what the next slots ask for.

mod asking;
mod backoff;
mod challenge;
mod client;
mod lists;
mod past;
mod retry_after;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use common::domain::{Failure, Interval, Origin, Pair, Slot, SourceName, Timestamp};
use reqwest::{Url, header::HeaderValue};
use tokio::time::Instant;

use self::{
    backoff::Backoff,
    client::{Response, is_loopback},
    lists::Lists,
    retry_after::{ResponseTime, retry_after},
};
use super::{
    candle::{CandleRange, Pasts},
    error::SourceError,
    exchange::{Exchange, ReportedError},
    interface::{About, Answers, LeftOut, Setup, Source},
    key::{Key, KeyError},
    market::{Market, Table},
    search::Search,
};

pub use client::Client;

/// An exchange that is asked over HTTP.
pub struct HttpSource {
    name: SourceName,
    exchange: &'static dyn Exchange,
    /// Everything about the source but the number of requests, which depends on the markets.
    about: About,
    /// The base URL, without a trailing slash.
    address: String,
    /// How many requests may be sent in a slot.
    most: usize,
    interval: Interval,
    /// The name and value of the header with the API key.
    key: Option<(&'static str, HeaderValue)>,
    client: Client,
    /// The configured pairs.
    pairs: Vec<Pair>,
    /// The markets of those pairs that the exchange has according to its rules.
    by_rules: Vec<Market>,
    table: Mutex<Arc<Table>>,
    search: Mutex<Search>,
    lists: Mutex<Lists>,
    backoff: Mutex<Backoff>,
    /// The newest `Date` of a response, and when that response arrived.
    clock: Mutex<Option<(Timestamp, Instant)>>,
}

/// A failed request.
struct Failed {
    failure: Failure,
    /// Whether the exchange refused the request because of one of its symbols.
    blames_symbol: bool,
}

impl HttpSource {
    /// A source that asks `exchange` for those of `pairs` that it serves.
    pub fn new(
        name: SourceName,
        exchange: &'static dyn Exchange,
        setup: Setup,
        pairs: &[Pair],
        client: Client,
    ) -> Result<Self, SourceError> {
        let Setup { url, key, interval } = setup;
        let plan = key.as_ref().map(Key::plan);
        let address = if url.is_empty() { exchange.base_url(plan) } else { &url };
        let base = parse_base(name, address)?;
        if key.is_some() && !is_private(&base) {
            return Err(SourceError::Key { name, reason: KeyError::Plain });
        }
        let markets = exchange.markets(pairs);
        if let (true, Some(pair)) = (markets.is_empty(), pairs.first()) {
            return Err(SourceError::NothingServed { name, reason: exchange.why_not_served(*pair) });
        }
        let most = exchange.limit(plan).map_or(usize::MAX, |limit| limit.most(interval));
        let about = About {
            address: address.to_owned(),
            proxy: client.proxy(&base),
            requests: 0,
            // Proxies and other addresses have limits of their own.
            limit: if url.is_empty() { exchange.limit(plan) } else { None },
            is_public: url.is_empty(),
            has_key: key.is_some(),
        };
        Ok(Self {
            name,
            exchange,
            about,
            address: address.trim_end_matches('/').to_owned(),
            most,
            interval,
            key: key.and_then(|key| Some((exchange.key_header(key.plan())?, key.value()))),
            client,
            pairs: pairs.to_vec(),
            table: Mutex::new(Arc::new(Table::derived(markets.clone()))),
            by_rules: markets,
            search: Mutex::new(Search::new(interval)),
            lists: Mutex::default(),
            backoff: Mutex::new(Backoff::new(interval)),
            clock: Mutex::default(),
        })
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        // The base address is a valid URL, and symbols have no special characters.
        Url::parse(&format!("{}{path}", self.address)).map_err(|_| Failure::Malformed)
    }

    /// The failure that describes a response best, and the error that its body reports.
    fn describe(&self, response: &Response, failure: Failure) -> (Failed, Option<ReportedError>) {
        let body = response.body.as_deref().ok().and_then(|body| std::str::from_utf8(body).ok());
        let reported = body.and_then(|body| self.exchange.parse_error(body));
        let failure = match (failure, reported) {
            _ if challenge::is_challenge(&response.headers, body.unwrap_or_default()) => Failure::Challenge,
            // Exchanges use each of these statuses for several kinds of errors, and the body is more precise.
            (Failure::Http4xx, Some(error)) => error.failure,
            (Failure::Http5xx, Some(error)) if error.blames_symbol => error.failure,
            (Failure::Http5xx | Failure::Http403, Some(error)) if error.failure != Failure::Refused => {
                error.failure
            }
            (failure, _) => failure,
        };
        (Failed { failure, blames_symbol: reported.is_some_and(|error| error.blames_symbol) }, reported)
    }

    /// After some failures, the source rests, which means that it is not asked for a while.
    fn rest(&self, response: &Response, failure: Failure, reported: Option<ReportedError>, slot: Slot) {
        let time = ResponseTime::new(&response.headers, slot);
        let by_header = response.status.is_err().then(|| retry_after(&response.headers, time)).flatten();
        let by_body = reported.and_then(|error| error.until).map(|seconds| time.until_unix_seconds(seconds));
        lock(&self.backoff).failed(failure, by_header.max(by_body), Instant::now());
    }

    /// Records how a slot went, which decides when the source is asked again.
    fn slot_ended(&self, slot: Slot, began: Instant, answers: &Answers) {
        // A source that only refuses symbols works. The search decides when it is asked for these pairs again.
        let is_searching = lock(&self.search).is_active();
        let works = answers.values().any(|answer| match answer {
            Ok(_) | Err(Failure::Unlisted) => true,
            Err(failure) => is_searching && *failure == Failure::Refused,
        });
        lock(&self.backoff).slot_ended(slot, works, Instant::now());
        self.report_rest(began);
    }

    /// Logs a rest that skips at least one slot, once.
    fn report_rest(&self, began: Instant) {
        if let Some((reason, rest)) = lock(&self.backoff).rest_to_report(began, Instant::now()) {
            let seconds = rest.as_secs();
            tracing::warn!(
                event = "source_resting", source = %self.name, %reason, seconds,
                "the source will not be asked for this many seconds"
            );
        }
    }
}

#[async_trait]
impl Source for HttpSource {
    fn name(&self) -> SourceName {
        self.name
    }

    fn origin(&self) -> Origin {
        Origin::Live
    }

    fn serves(&self, pair: Pair) -> bool {
        let is_of = |market: &Market| market.pair == pair;
        self.by_rules.iter().any(is_of) || lock(&self.table).markets.iter().any(is_of)
    }

    fn about(&self) -> About {
        let requests = self.exchange.requests(&lock(&self.table).markets, self.most).len();
        About { requests, ..self.about.clone() }
    }

    fn clock(&self) -> Option<(Timestamp, Instant)> {
        *lock(&self.clock)
    }

    async fn ask(&self, slot: Slot, deadline: Instant) -> Answers {
        let (start, table) = (Instant::now(), lock(&self.table).clone());
        let left_out = table.left_out.iter().map(|(pair, failure)| (*pair, Err(*failure)));
        if !lock(&self.backoff).may_ask(slot, start) {
            return left_out.chain(all(&table.markets, Failure::BackingOff)).collect();
        }
        if table.markets.is_empty() {
            return left_out.collect();
        }
        let answers = self.ask_groups(&table, slot, start, deadline).await;
        self.slot_ended(slot, start, &answers);
        answers.into_iter().chain(left_out).collect()
    }

    async fn past(&self, pairs: &[Pair], range: CandleRange, slot: Slot, deadline: Instant) -> Pasts {
        self.ask_past(pairs, range, slot, deadline).await
    }

    async fn refresh_markets(&self, slot: Slot) -> Result<(), Failure> {
        self.refresh_list(slot).await
    }

    fn left_out(&self) -> LeftOut {
        let table = lock(&self.table).clone();
        let search = lock(&self.search);
        let refused = table.markets.iter().filter(|market| search.is_refused(market.pair));
        let refused = refused.map(|market| (market.pair, Failure::Unlisted));
        let pairs = table.left_out.iter().map(|(pair, failure)| (*pair, *failure)).chain(refused).collect();
        LeftOut { pairs, list: lock(&self.lists).failure }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, blames_symbol: false }
    }
}

/// Reads the body of a successful response.
fn read<T>(response: &Response, parse: impl FnOnce(&[u8]) -> Result<T, Failure>) -> Result<T, Failure> {
    match (response.status, &response.body) {
        (Ok(()), Ok(body)) => parse(body),
        (Ok(()), Err(failure)) => Err(*failure),
        (Err(failure), _) => Err(failure),
    }
}

fn all(markets: &[Market], failure: Failure) -> Answers {
    markets.iter().map(|market| (market.pair, Err(failure))).collect()
}

/// Locks a value. No code panics while it holds one of these locks.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parses a base URL, to which a path can be appended.
fn parse_base(name: SourceName, address: &str) -> Result<Url, SourceError> {
    let url = parse_url(name, address)?;
    // Logs and commands show URLs, so they must not contain secrets.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceError::Credentials { name });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(SourceError::Url {
            name,
            url: address.split(['?', '#']).next().unwrap_or("").to_owned(),
        });
    }
    Ok(url)
}

fn parse_url(name: SourceName, text: &str) -> Result<Url, SourceError> {
    let parsed = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    parsed.ok_or_else(|| SourceError::Url { name, url: text.to_owned() })
}

/// Whether a request is encrypted or does not leave this machine.
fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

#[cfg(test)]
mod tests;

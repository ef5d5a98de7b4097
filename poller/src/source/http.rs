//! Asks an [`Exchange`] over HTTP.

mod backoff;
mod client;
mod retry_after;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use common::domain::{Failure, Origin, Pair, Slot, SourceName};
use futures::future::join_all;
use reqwest::{Url, header::HeaderValue};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, Span, field::Empty};

use self::{
    backoff::Backoff,
    client::{Response, is_loopback},
    retry_after::{ResponseTime, retry_after},
};
use super::{
    error::SourceError,
    exchange::{Exchange, Market, Request},
    interface::{About, Answers, Setup, Source},
    key::{Key, KeyError},
};

pub use client::Client;

/// An exchange that is asked over HTTP.
pub struct HttpSource {
    name: SourceName,
    exchange: &'static dyn Exchange,
    about: About,
    /// The name and value of the header with the API key.
    key: Option<(&'static str, HeaderValue)>,
    client: Client,
    requests: Vec<(Url, Vec<Market>)>,
    backoff: Mutex<Backoff>,
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
        let request = |request: Request| {
            let full = format!("{}{}", address.trim_end_matches('/'), request.path);
            Ok((parse_url(name, &full)?, request.markets))
        };
        let requests = exchange.requests(&markets).into_iter().map(request).collect::<Result<Vec<_>, _>>()?;
        let about = About {
            address: address.to_owned(),
            proxy: client.proxy(&base),
            requests: requests.len(),
            // Proxies and other addresses have limits of their own.
            limit: if url.is_empty() { exchange.limit(plan) } else { None },
            is_public: url.is_empty(),
            has_key: key.is_some(),
        };
        let key = key.and_then(|key| Some((exchange.key_header(key.plan())?, key.value())));
        let backoff = Mutex::new(Backoff::new(interval));
        Ok(Self { name, exchange, about, key, client, requests, backoff })
    }

    /// Sends one request, once the rate limit allows it.
    async fn ask_one(
        &self,
        (number, (url, markets)): (usize, &(Url, Vec<Market>)),
        slot: Slot,
        start: Instant,
        deadline: Instant,
    ) -> Answers {
        let turn = start + self.about.limit.map(|limit| limit.delay(number)).unwrap_or_default();
        if turn > start {
            if turn >= deadline {
                return all(markets, Failure::Timeout);
            }
            sleep_until(turn).await;
            if self.backoff().rest_left(Instant::now()).is_some() {
                return all(markets, Failure::BackingOff);
            }
        }
        let span = request_span(self.name, url);
        let response = self.client.get(url.clone(), self.key.clone(), deadline).instrument(span).await;
        let answers = response.and_then(|response| self.read(&response, markets, slot));
        answers.unwrap_or_else(|failure| all(markets, failure))
    }

    /// Reads a response. After a failure the source may have to rest, which means that it is not asked for a while.
    fn read(&self, response: &Response, markets: &[Market], slot: Slot) -> Result<Answers, Failure> {
        let answers = match (response.status, &response.body) {
            (Ok(()), Ok(body)) => self.exchange.read(body, markets),
            (Ok(()), Err(failure)) => Err(*failure),
            (Err(failure), _) => Err(failure),
        };
        answers.map_err(|failure| self.failed(response, failure, slot))
    }

    /// Records a failed request, after which the source may have to rest. Returns the failure that describes the
    /// response best.
    fn failed(&self, response: &Response, failure: Failure, slot: Slot) -> Failure {
        let body = response.body.as_deref().ok().and_then(|body| std::str::from_utf8(body).ok());
        let reported = body.and_then(|body| self.exchange.parse_error(body));
        let failure = match (failure, reported) {
            // Exchanges use each of these statuses for several kinds of errors, and the body is more precise.
            (Failure::Http4xx | Failure::Http5xx | Failure::Http403, Some(error))
                if error.failure == Failure::RateLimited =>
            {
                Failure::RateLimited
            }
            (failure, _) => failure,
        };
        let time = ResponseTime::new(&response.headers, slot);
        let by_header = response.status.is_err().then(|| retry_after(&response.headers, time)).flatten();
        let by_body = reported.and_then(|error| error.until).map(|seconds| time.until_unix_seconds(seconds));
        self.backoff().failed(failure, by_header.max(by_body), Instant::now());
        failure
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how a slot went, which decides when the source is asked again.
    fn slot_ended(&self, slot: Slot, began: Instant, answers: &Answers) {
        let now = Instant::now();
        let mut backoff = self.backoff();
        backoff.slot_ended(slot, answers.values().any(Result::is_ok), now);
        if let Some((reason, rest)) = backoff.rest_to_report(began, now) {
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
        self.exchange.symbol(pair).is_some()
    }

    fn about(&self) -> About {
        self.about.clone()
    }

    async fn ask(&self, slot: Slot, deadline: Instant) -> Answers {
        let start = Instant::now();
        if !self.backoff().may_ask(slot, start) {
            return self.requests.iter().flat_map(|(_, markets)| all(markets, Failure::BackingOff)).collect();
        }
        let asked =
            self.requests.iter().enumerate().map(|request| self.ask_one(request, slot, start, deadline));
        let answers = join_all(asked).await.into_iter().flatten().collect();
        self.slot_ended(slot, start, &answers);
        answers
    }
}

/// The span of a request. The client adds the result.
fn request_span(name: SourceName, url: &Url) -> Span {
    tracing::info_span!(
        "source.request",
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = "GET",
        http.response.status_code = Empty,
        url.full = url.as_str(),
        server.address = url.host_str(),
        server.port = url.port_or_known_default(),
        error.type = Empty,
        tickwell.source = %name,
    )
}

fn all(markets: &[Market], failure: Failure) -> Answers {
    markets.iter().map(|market| (market.pair, Err(failure))).collect()
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

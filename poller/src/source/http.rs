//! An exchange that is asked over HTTP.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use common::domain::{Failure, Origin, Pair, Slot, SourceName};
use futures::future::join_all;
use reqwest::Url;
use tokio::time::{Instant, sleep_until};

use super::{
    About, Answers, Client, Exchange, Key, KeyError, Setup, Source, SourceError,
    backoff::Backoff,
    client::Reply,
    manners::{Now, retry_after},
};

/// One request: where, and for which pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Path and query, appended to the exchange's address.
    pub path: String,
    /// The pairs its answer is about.
    pub pairs: Vec<Pair>,
}

/// An exchange that is asked over HTTP.
pub struct HttpSource {
    name: SourceName,
    exchange: Exchange,
    about: About,
    key: Option<Key>,
    client: Client,
    requests: Vec<(Url, Vec<Pair>)>,
    backoff: Mutex<Backoff>,
}

impl HttpSource {
    /// A source that asks `exchange` for those of the pairs that it serves.
    pub fn new(
        name: SourceName,
        exchange: Exchange,
        setup: Setup,
        pairs: &[Pair],
        client: Client,
    ) -> Result<Self, SourceError> {
        let Setup { url, key, interval } = setup;
        let plan = key.as_ref().map(Key::plan);
        let address = if url.is_empty() { exchange.address(plan) } else { &url };
        let base = parse(name, address)?;
        if key.is_some() && !is_private(&base) {
            return Err(SourceError::Key { name, reason: KeyError::Plain });
        }
        let served: Vec<Pair> = pairs.iter().copied().filter(|pair| exchange.serves(*pair)).collect();
        if let (true, Some(pair)) = (served.is_empty(), pairs.first()) {
            return Err(SourceError::NothingServed { name, reason: exchange.why_not(*pair) });
        }
        let request = |request: Request| {
            let full = format!("{}{}", address.trim_end_matches('/'), request.path);
            Ok((parse_path(name, &full)?, request.pairs))
        };
        let requests = exchange.requests(&served).into_iter().map(request).collect::<Result<Vec<_>, _>>()?;
        let about = About {
            address: address.to_owned(),
            requests: requests.len(),
            // At another address other rules hold.
            limit: if url.is_empty() { exchange.limit(plan) } else { None },
            is_public: url.is_empty(),
            has_key: key.is_some(),
        };
        let backoff = Mutex::new(Backoff::new(interval));
        Ok(Self { name, exchange, about, key, client, requests, backoff })
    }

    /// Asks one request in its turn.
    async fn ask_one(
        &self,
        (number, (url, pairs)): (usize, &(Url, Vec<Pair>)),
        slot: Slot,
        start: Instant,
        deadline: Instant,
    ) -> Answers {
        let turn = start + self.about.limit.map(|limit| limit.delay(number)).unwrap_or_default();
        if turn > start {
            if turn >= deadline {
                return all(pairs, Failure::Timeout);
            }
            sleep_until(turn).await;
            if self.backoff().rest_left(Instant::now()).is_some() {
                return all(pairs, Failure::BackingOff);
            }
        }
        let reply = self.client.get(url.clone(), self.key.as_ref(), deadline).await;
        let answer = reply.and_then(|reply| self.read(&reply, pairs, slot));
        answer.unwrap_or_else(|failure| all(pairs, failure))
    }

    /// What a reply says about the pairs, and about when to ask again.
    fn read(&self, reply: &Reply, pairs: &[Pair], slot: Slot) -> Result<Answers, Failure> {
        let words = reply.body.as_deref().unwrap_or_default();
        let answer = match reply.status {
            Ok(()) => reply
                .body
                .as_ref()
                .map_err(|failure| *failure)
                .and_then(|body| self.exchange.parse(body, pairs)),
            // A status says what happened, unless it is one for all errors and the words are clearer.
            Err(Failure::Http4xx | Failure::Http5xx | Failure::Http403)
                if self.exchange.complaint(words) == Some(Failure::RateLimited) =>
            {
                Err(Failure::RateLimited)
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = answer {
            let now = Now::of(&reply.headers, slot);
            let by_header = reply.status.is_err().then(|| retry_after(&reply.headers, now)).flatten();
            let by_words = self.exchange.throttled_until(words).map(|seconds| now.until_seconds(seconds));
            self.backoff().failed(failure, by_header.max(by_words), Instant::now());
        }
        answer
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a slot: the next is asked, or the source is left alone for a while.
    fn end(&self, slot: Slot, began: Instant, answers: &Answers) {
        let now = Instant::now();
        let mut backoff = self.backoff();
        backoff.ended(slot, answers.values().any(Result::is_ok), now);
        if let Some((reason, rest)) = backoff.begun(began, now) {
            tracing::warn!(source = %self.name, %reason, seconds = rest.as_secs(), "the source is not asked for a while");
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
        self.exchange.serves(pair)
    }

    fn about(&self) -> About {
        self.about.clone()
    }

    async fn ask(&self, slot: Slot, deadline: Instant) -> Answers {
        let start = Instant::now();
        if !self.backoff().may_ask(slot, start) {
            let pairs = self.requests.iter().flat_map(|(_, pairs)| pairs);
            return pairs.map(|pair| (*pair, Err(Failure::BackingOff))).collect();
        }
        let asked =
            self.requests.iter().enumerate().map(|request| self.ask_one(request, slot, start, deadline));
        let answers = join_all(asked).await.into_iter().flatten().collect();
        self.end(slot, start, &answers);
        answers
    }
}

fn all(pairs: &[Pair], failure: Failure) -> Answers {
    pairs.iter().map(|pair| (*pair, Err(failure))).collect()
}

/// An address that a path can be appended to.
fn parse(name: SourceName, address: &str) -> Result<Url, SourceError> {
    let url = parse_path(name, address)?;
    // Whatever shows addresses would show what is in them.
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

fn parse_path(name: SourceName, text: &str) -> Result<Url, SourceError> {
    let parsed = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    parsed.ok_or_else(|| SourceError::Url { name, url: text.to_owned() })
}

/// Whether nobody on the way can read along.
fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    url.scheme() == "https" || is_loopback
}

#[cfg(test)]
mod tests;

//! Asking an exchange over HTTP, and distrusting what comes back.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use common::domain::{Failure, Origin, Pair, Slot, SourceName};
use futures::future::join_all;
use reqwest::{StatusCode, Url, redirect::Policy};
use tokio::time::{Instant, timeout_at};

use super::{Answers, Exchange, Source, SourceError};

/// The largest body we read, counted after decompression. Bitstamp's list of all markets, the largest
/// honest answer, has about 150 kB.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A last bound on one request. The slot's own deadline is usually shorter.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(20);

/// Idle connections are kept across slots, so that most requests need no handshake.
const IDLE_CONNECTION_TIME: Duration = Duration::from_secs(90);

/// One request: where, and for which pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Path and query, appended to the exchange's address.
    pub path: String,
    /// The pairs its answer is about.
    pub pairs: Vec<Pair>,
}

/// An HTTP client that follows no redirects and reads no more than it must.
#[derive(Debug, Clone)]
pub struct Client(reqwest::Client);

impl Client {
    /// One client for all sources; they share nothing but its settings.
    pub fn new() -> Result<Self, SourceError> {
        reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(MAX_REQUEST_TIME)
            .pool_idle_timeout(IDLE_CONNECTION_TIME)
            .user_agent(concat!("tickwell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(SourceError::Client)
    }

    /// The body of a successful answer.
    async fn get(&self, url: Url) -> Result<Bytes, Failure> {
        let mut response = self.0.get(url).send().await.map_err(|error| failure(&error))?;
        accept(response.status())?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(Failure::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// An exchange that is asked over HTTP.
pub struct HttpSource {
    name: SourceName,
    exchange: Exchange,
    client: Client,
    requests: Vec<(Url, Vec<Pair>)>,
}

impl HttpSource {
    /// A source that asks `exchange` at `url` for `pairs`; an empty `url` means its public address.
    pub fn new(
        name: SourceName,
        exchange: Exchange,
        url: &str,
        pairs: &[Pair],
        client: Client,
    ) -> Result<Self, SourceError> {
        let address = if url.is_empty() { exchange.address() } else { url };
        let parse = |request: Request| {
            let full = format!("{}{}", address.trim_end_matches('/'), request.path);
            let parsed = Url::parse(&full).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
            let url = parsed.ok_or_else(|| SourceError::Url { name, url: url.to_owned() })?;
            Ok((url, request.pairs))
        };
        let served: Vec<Pair> = pairs.iter().copied().filter(|pair| exchange.serves(*pair)).collect();
        if let (true, Some(pair)) = (served.is_empty(), pairs.first()) {
            return Err(SourceError::NothingServed { name, reason: exchange.why_not(*pair) });
        }
        let requests = exchange.requests(&served).into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { name, exchange, client, requests })
    }

    async fn ask_one(&self, url: &Url, pairs: &[Pair], deadline: Instant) -> Answers {
        let answer = match timeout_at(deadline, self.client.get(url.clone())).await {
            Ok(Ok(body)) => self.exchange.parse(&body, pairs),
            Ok(Err(failure)) => Err(failure),
            Err(_elapsed) => Err(Failure::Timeout),
        };
        answer.unwrap_or_else(|failure| pairs.iter().map(|pair| (*pair, Err(failure))).collect())
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

    async fn ask(&self, _slot: Slot, deadline: Instant) -> Answers {
        let asked = self.requests.iter().map(|(url, pairs)| self.ask_one(url, pairs, deadline));
        join_all(asked).await.into_iter().flatten().collect()
    }
}

fn accept(status: StatusCode) -> Result<(), Failure> {
    match status.as_u16() {
        200 => Ok(()),
        300..400 => Err(Failure::Redirect),
        403 => Err(Failure::Http403),
        418 => Err(Failure::Http418),
        429 => Err(Failure::Http429),
        451 => Err(Failure::Http451),
        400..500 => Err(Failure::Http4xx),
        500..600 => Err(Failure::Http5xx),
        // Other 1xx and 2xx carry no price.
        _ => Err(Failure::Malformed),
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    if error.is_timeout() {
        Failure::Timeout
    } else if error.is_decode() {
        Failure::Malformed
    } else {
        // Neither the TLS library's nor the resolver's error type can be had by downcasting.
        let named = causes.find_map(|cause| {
            let text = cause.to_string();
            let words = [("certificate", Failure::Tls), ("dns error", Failure::Dns)];
            words.into_iter().find(|(word, _)| text.contains(word)).map(|(_, failure)| failure)
        });
        named.unwrap_or(Failure::Unreachable)
    }
}

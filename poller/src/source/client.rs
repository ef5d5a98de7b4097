//! One HTTP request, and distrust of what comes back.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::domain::Failure;
use reqwest::{Response, StatusCode, Url, header::HeaderMap, redirect::Policy};
use tokio::time::{Instant, timeout_at};

use super::{Key, SourceError};

/// The largest body we read, counted after decompression. Bitstamp's list of all markets, the largest
/// honest answer, has about 150 kB.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The largest body of an error we read: its words are a line or two.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// An error's words are waited for no longer: its status has said already that there is no price.
const MAX_ERROR_TIME: Duration = Duration::from_millis(500);

/// A last bound on one request. The slot's own deadline is usually shorter.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(20);

/// Idle connections are kept across slots, so that most requests need no handshake.
const IDLE_CONNECTION_TIME: Duration = Duration::from_secs(90);

/// An HTTP client that follows no redirects and reads no more than it must.
#[derive(Debug, Clone)]
pub struct Client(reqwest::Client);

/// What came back.
pub(super) struct Reply {
    /// Whether the status is that of an answer with prices.
    pub(super) status: Result<(), Failure>,
    /// Its headers; the HTTP library bounds them.
    pub(super) headers: HeaderMap,
    /// Its body, or the first words of an error's.
    pub(super) body: Result<Bytes, Failure>,
}

impl Client {
    /// One client for all sources; they share nothing but its settings.
    pub fn new() -> Result<Self, SourceError> {
        Self::build(reqwest::Client::builder())
    }

    fn build(builder: reqwest::ClientBuilder) -> Result<Self, SourceError> {
        builder
            .redirect(Policy::none())
            .timeout(MAX_REQUEST_TIME)
            .pool_idle_timeout(IDLE_CONNECTION_TIME)
            .user_agent(concat!("tickwell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(SourceError::Client)
    }

    /// Asks once. An error is one of the connection; what the answer says of itself is in the reply, which is
    /// there as soon as its head is: an answer that stalls in its body has still said when to come back.
    pub(super) async fn get(&self, url: Url, key: Option<&Key>, deadline: Instant) -> Result<Reply, Failure> {
        let request = self.0.get(url);
        let request = match key.map(Key::header) {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let sent = timeout_at(deadline, request.send()).await.map_err(|_| Failure::Timeout)?;
        let response = sent.map_err(|error| failure(&error))?;
        let (status, headers) = (accept(response.status()), response.headers().clone());
        let (limit, until) = match status {
            Ok(()) => (MAX_BODY_BYTES, deadline),
            Err(_) => (MAX_ERROR_BYTES, deadline.min(Instant::now() + MAX_ERROR_TIME)),
        };
        let body = timeout_at(until, read(response, limit)).await.unwrap_or(Err(Failure::Timeout));
        Ok(Reply { status, headers, body })
    }
}

async fn read(mut response: Response, limit: usize) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
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
    if error.is_timeout() {
        return Failure::Timeout;
    }
    if error.is_decode() {
        return Failure::Malformed;
    }
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.find_map(cause_of).unwrap_or(Failure::Unreachable)
}

/// What a cause stands for, where it is more than a connection that failed.
fn cause_of(cause: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    // The TLS library's error lies within one I/O error or more, which show only its causes.
    let mut inner = within(cause);
    while let Some(error) = inner {
        if error.is::<rustls::Error>() {
            return Some(Failure::Tls);
        }
        inner = within(error);
    }
    // The resolver's error type is private to the HTTP library.
    cause.to_string().starts_with("dns error").then_some(Failure::Dns)
}

type Cause = dyn std::error::Error + Send + Sync + 'static;

fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Cause> {
    error.downcast_ref::<std::io::Error>()?.get_ref()
}

#[cfg(test)]
mod tests;

//! Sends one HTTP request. Responses are untrusted: everything about them is bounded.

use std::{net::IpAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use common::{
    domain::{Failure, Words},
    telemetry::chain,
};
use reqwest::{
    StatusCode, Url,
    header::{HeaderMap, HeaderValue},
    redirect::Policy,
};
use tokio::time::{Instant, timeout_at};
use tracing::Span;

use crate::source::{contact::Contact, error::SourceError, proxy::EgressProxy};

/// The largest response with prices that is read, after decompression. The largest valid one, Bitstamp's list of all
/// markets, has about 150 kB.
pub(super) const MAX_PRICES_BYTES: usize = 1024 * 1024;

/// The largest body of an error response that is read. Error messages are a line or two.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long to wait for the body of an error response. The status already shows that there is no price.
const MAX_ERROR_TIME: Duration = Duration::from_millis(500);

/// How long idle connections are kept. This is longer than most intervals, so that most requests need no handshake.
const IDLE_CONNECTION_TIME: Duration = Duration::from_secs(90);

/// An HTTP client that does not follow redirects and reads bounded bodies.
///
/// Requests to this machine never go through a proxy.
#[derive(Debug, Clone)]
pub struct Client {
    proxy: EgressProxy,
    proxied: reqwest::Client,
    direct: reqwest::Client,
}

/// A response, or its beginning.
pub(super) struct Response {
    pub(super) code: StatusCode,
    /// Ok if the status is 200, the only one whose body may contain prices.
    pub(super) status: Result<(), Failure>,
    /// The headers. The HTTP library bounds their size.
    pub(super) headers: HeaderMap,
    /// The body, or why it could not be read.
    pub(super) body: Result<Bytes, Failure>,
}

impl Client {
    /// A client that all sources with the same proxy can share.
    pub fn new(proxy: &EgressProxy, contact: &Contact) -> Result<Self, SourceError> {
        Self::build(proxy, || reqwest::Client::builder().user_agent(contact.user_agent()))
    }

    fn build(proxy: &EgressProxy, builder: impl Fn() -> reqwest::ClientBuilder) -> Result<Self, SourceError> {
        let client = |proxy: &EgressProxy| {
            let builder = builder().redirect(Policy::none()).pool_idle_timeout(IDLE_CONNECTION_TIME);
            proxy.apply(builder)?.build()
        };
        let clients = client(proxy).and_then(|proxied| Ok((proxied, client(&EgressProxy::Off)?)));
        let (proxied, direct) = clients.map_err(SourceError::Client)?;
        Ok(Self { proxy: proxy.clone(), proxied, direct })
    }

    /// The proxy that is set for requests to this URL. Empty if none is.
    pub(super) fn proxy(&self, url: &Url) -> String {
        match &self.proxy {
            EgressProxy::At(proxy) if !is_loopback(url) => proxy.to_string(),
            _ => String::new(),
        }
    }

    /// Sends one request, and logs its result. Fails only if no status and headers arrive. If only the body is missing,
    /// the headers are returned, because they may say when to ask again.
    pub(super) async fn get(
        &self,
        url: Url,
        header: Option<(&'static str, HeaderValue)>,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let (text, sent) = (url.to_string(), Instant::now());
        let result = self.exchange(url, header, max_bytes, deadline).await;
        let failure = result.as_ref().map_or_else(|failure| Some(*failure), Response::failure);
        if let Some(failure) = failure {
            Span::current().record("error.type", failure.as_str()).record("otel.status_code", "ERROR");
        }
        let millis = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (status, bytes) = match &result {
            Ok(Response { code, body, .. }) => (Some(code.as_u16()), body.as_ref().ok().map(Bytes::len)),
            Err(_) => (None, None),
        };
        tracing::debug!(
            event = "source_requested",
            url = text,
            status,
            bytes,
            millis,
            failure = failure.map(Failure::as_str),
            "sent a request to a source"
        );
        result
    }

    async fn exchange(
        &self,
        url: Url,
        header: Option<(&'static str, HeaderValue)>,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let client = if is_loopback(&url) { &self.direct } else { &self.proxied };
        let request = client.get(url).timeout(deadline.saturating_duration_since(Instant::now()));
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let sent = timeout_at(deadline, request.send()).await.map_err(|_| Failure::Timeout)?;
        let response = sent.map_err(|error| failure(&error))?;
        let (code, headers) = (response.status(), response.headers().clone());
        Span::current().record("http.response.status_code", code.as_u16());
        let status = accept(code);
        let (limit, until) = match status {
            Ok(()) => (max_bytes, deadline),
            Err(_) => (MAX_ERROR_BYTES, deadline.min(Instant::now() + MAX_ERROR_TIME)),
        };
        let body = timeout_at(until, read(response, limit)).await.unwrap_or(Err(Failure::Timeout));
        Ok(Response { code, status, headers, body })
    }
}

impl Response {
    fn failure(&self) -> Option<Failure> {
        self.status.err().or(self.body.as_ref().err().copied())
    }
}

/// Whether the host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

async fn read(mut response: reqwest::Response, limit: usize) -> Result<Bytes, Failure> {
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
        // Only proxies respond with this status. Without HTTP forwarding, this is a failure to connect.
        407 => Err(Failure::Unreachable),
        418 => Err(Failure::Http418),
        429 => Err(Failure::Http429),
        451 => Err(Failure::Http451),
        400..500 => Err(Failure::Http4xx),
        500..600 => Err(Failure::Http5xx),
        // No exchange sends prices with a 1xx status or with a 2xx status other than 200.
        _ => Err(Failure::Malformed),
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    // The failure is only a category. The text of the DNS, TLS or HTTP library says more.
    tracing::debug!(event = "source_request_error", error = chain(error), "a request to a source failed");
    if error.is_timeout() {
        return Failure::Timeout;
    }
    if error.is_decode() {
        return Failure::Malformed;
    }
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.find_map(cause_of).unwrap_or(Failure::Unreachable)
}

/// The failure that a cause of an error identifies. None if it identifies none.
fn cause_of(cause: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    // The TLS library's error is wrapped in one or more I/O errors. Their `source` method skips the wrapped error.
    let mut inner = within(cause);
    while let Some(error) = inner {
        if error.is::<rustls::Error>() {
            return Some(Failure::Tls);
        }
        inner = within(error);
    }
    // The resolver's error type is private to the HTTP library, so only its text identifies it.
    cause.to_string().starts_with("dns error").then_some(Failure::Dns)
}

type Cause = dyn std::error::Error + Send + Sync + 'static;

fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Cause> {
    error.downcast_ref::<std::io::Error>()?.get_ref()
}

#[cfg(test)]
mod tests;

//! API keys and rate limits.
//!
//! The headers follow draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy` has the quota and its window, and
//! `RateLimit` has what is left of the quota and the seconds until it is full again. A request for many items counts as
//! several requests.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::clock::Clock;
use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
};
use http::{HeaderName, HeaderValue};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use super::{
    caching::is_document,
    client::{Client, Clients},
    weight::weight,
};
use crate::{
    config::ApiConfig,
    layers::SharedEndpoint,
    problem::{Code, Problem, into_response},
    routes::{
        PAGE,
        tickets::{self, KeyDigest},
    },
};

/// The metrics need a key, because they show how the pod is used. They have no rate limit.
const METRICS: &str = "/metrics";

/// Routes that need no key and have no rate limit, so that a limit cannot make a healthy pod look dead to a probe.
/// Requests to all other routes count, including those for the page and the documents.
const EXEMPT: [&str; 3] = ["/livez", "/readyz", "/version"];

/// How many clients are remembered before idle ones are forgotten.
const MAX_LIMITED_CLIENTS: usize = 10_000;

/// The remembered clients are counted once in this many requests, because that locks all parts of the map one
/// after the other.
const COUNTED_EVERY: u32 = 64;

const POLICY_HEADER: HeaderName = HeaderName::from_static("ratelimit-policy");

const LIMIT_HEADER: HeaderName = HeaderName::from_static("ratelimit");

/// Checks the keys and counts the requests of all clients of a pod.
pub(super) struct Gate {
    clients: Clients,
    limits: Option<Limits>,
}

struct Limits {
    clients: DefaultKeyedRateLimiter<Client, StateInformationMiddleware>,
    /// How many requests have been counted.
    taken: AtomicU32,
    /// How many requests a client may send at once.
    burst: NonZeroU32,
    /// How long a client without any quota left must wait until it may send one more request.
    one: Duration,
    policy: HeaderValue,
}

/// What is left of a client's quota.
struct Remaining {
    requests: u32,
    full_in: Duration,
}

impl Gate {
    pub(super) fn new(config: &ApiConfig, clock: Arc<dyn Clock>) -> Self {
        let limits = config.rate_limit.quota().and_then(|(requests, seconds)| {
            let one = Duration::from_secs(seconds.into()) / requests.get();
            let quota = Quota::with_period(one)?.allow_burst(requests);
            let policy = HeaderValue::from_str(&format!("\"default\";q={requests};w={seconds}")).ok()?;
            let clients = DefaultKeyedRateLimiter::keyed(quota).with_middleware();
            Some(Limits { clients, taken: AtomicU32::new(0), burst: requests, one, policy })
        });
        let clients = Clients { keys: config.keys.clone(), proxies: config.trusted_proxies.clone(), clock };
        Self { clients, limits }
    }

    /// Refuses clients without a key if keys are required. The documents need no key, so that people can read how to
    /// use the API. The page needs no key either, because it contains no prices if keys are required.
    fn check_key(&self, request: &Request, client: Option<Client>) -> Result<(), Problem> {
        let path = request.uri().path();
        let has_key = matches!(client, Some(Client::Key(_)));
        if self.clients.keys.is_empty() || has_key || path == PAGE || is_document(path) {
            return Ok(());
        }
        let detail = match tickets::sent(request) {
            Some(_) => "the ticket has ended or is not valid; get a new one with POST /v1/tickets",
            None => {
                "this request has no valid API key; send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            }
        };
        Err(Problem::new(Code::Unauthorized, detail))
    }
}

impl Limits {
    /// Counts a request as `weight` requests and returns what is left of the quota. If too little is left, the error is
    /// the same and how long the client must wait.
    fn take(&self, client: Client, weight: NonZeroU32) -> Result<Remaining, (Remaining, Duration)> {
        let is_due = self.taken.fetch_add(1, Ordering::Relaxed).is_multiple_of(COUNTED_EVERY);
        if is_due && self.clients.len() > MAX_LIMITED_CLIENTS {
            self.clients.retain_recent();
        }
        // If a request counts more than the whole quota, it takes all of it.
        let weight = weight.min(self.burst);
        match self.clients.check_key_n(&client, weight) {
            Ok(Ok(state)) => {
                let requests = state.remaining_burst_capacity();
                let taken = self.burst.get().saturating_sub(requests);
                // If nothing is left, report when the next request is allowed.
                let awaited = if requests == 0 { 1 } else { taken };
                Ok(Remaining { requests, full_in: self.one.saturating_mul(awaited) })
            }
            Ok(Err(until)) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                let missing = wait.as_nanos().div_ceil(self.one.as_nanos().max(1));
                let requests = weight.get().saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX));
                // Rounded up, because a client that retries too early is refused again.
                let wait = Duration::from_secs(wait.as_secs() + 1);
                Err((Remaining { requests, full_in: wait }, wait))
            }
            Err(_more_than_all) => Err((Remaining { requests: 0, full_in: self.one }, self.one)),
        }
    }

    fn add_headers(&self, response: &mut Response, remaining: &Remaining) {
        let seconds = remaining.full_in.as_millis().div_ceil(1_000).max(1);
        let headers = response.headers_mut();
        headers.insert(POLICY_HEADER, self.policy.clone());
        let value = format!("\"default\";r={};t={seconds}", remaining.requests);
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(LIMIT_HEADER, value);
        }
    }
}

/// Lets a request for the metrics through only if its client has a valid key, if keys are required. Lets all other
/// requests through.
pub(super) async fn protect_metrics(
    next: SharedEndpoint,
    request: Request,
    gate: Arc<Gate>,
) -> Result<Response> {
    if request.uri().path() == METRICS {
        gate.check_key(&request, gate.clients.of(&request))?;
    }
    next.call(request).await
}

/// Lets a request through if its client has a valid key and is within its limit, and adds the rate limit headers.
pub(super) async fn admit(next: SharedEndpoint, mut request: Request, gate: Arc<Gate>) -> Result<Response> {
    let path = request.uri().path();
    if EXEMPT.contains(&path) {
        return next.call(request).await;
    }
    if path == METRICS {
        return protect_metrics(next, request, gate).await;
    }
    let client = gate.clients.of(&request);
    let allowed = gate.check_key(&request, client);
    if let Some(Client::Key(index)) = client
        && let Some(key) = gate.clients.keys.get(index)
    {
        request.set_data(KeyDigest(key.digest));
    }
    if let Some(client) = client {
        request.set_data(client);
    }
    let (Some(limits), Some(client)) = (&gate.limits, client) else {
        allowed?;
        return next.call(request).await;
    };
    // Requests with an invalid key count too, against the limit of the client's address. This slows down guessing.
    let (mut response, remaining) = match limits.take(client, weight(&request)) {
        Ok(remaining) => {
            let result = match allowed {
                Ok(()) => next.call(request).await,
                Err(problem) => Err(problem.into()),
            };
            (into_response(result), remaining)
        }
        Err((remaining, wait)) => {
            let detail = "too many requests from this client; Retry-After says how long to wait";
            let problem = Problem::new(Code::RateLimited, detail).retry_after(wait.as_secs());
            (problem.into_response(), remaining)
        }
    };
    limits.add_headers(&mut response, &remaining);
    Ok(response)
}

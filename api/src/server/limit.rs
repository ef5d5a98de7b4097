//! How often a client may ask, and how it learns of that before it is refused.
//!
//! The headers are those of draft-ietf-httpapi-ratelimit-headers: the quota and its window in `RateLimit-Policy`, and
//! in `RateLimit` what is left of it, and in how many seconds it will be whole again.

use std::{sync::Arc, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
};
use http::{HeaderName, HeaderValue};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use super::{
    answer::settled,
    caching::is_document,
    client::{Client, Clients},
};
use crate::{
    config::ApiConfig,
    problem::{Code, Problem},
    routes::PAGE,
};

/// Questions that are never refused: a limit that makes a pod look dead helps nobody. All others count, also what people
/// read: a limit by the pod's load leaves nothing out, and a browser asks for the page's files once.
const EXEMPT: [&str; 4] = ["/livez", "/readyz", "/version", "/metrics"];

/// Clients remembered before those that have been quiet are forgotten.
const MAX_LIMITED_CLIENTS: usize = 10_000;

const POLICY_HEADER: HeaderName = HeaderName::from_static("ratelimit-policy");

const LIMIT_HEADER: HeaderName = HeaderName::from_static("ratelimit");

/// Who may ask, and how often, within a pod.
pub(super) struct Gate {
    clients: Clients,
    limits: Option<Limits>,
}

struct Limits {
    clients: DefaultKeyedRateLimiter<Client, StateInformationMiddleware>,
    /// How many requests are free at once.
    burst: u32,
    /// How long it takes until one is free again.
    one: Duration,
    policy: HeaderValue,
}

/// What is left for a client.
struct Left {
    requests: u32,
    whole_in: Duration,
}

impl Gate {
    pub(super) fn new(config: &ApiConfig) -> Self {
        let limits = config.rate_limit.quota().and_then(|(requests, seconds)| {
            let one = Duration::from_secs(seconds.into()) / requests.get();
            let quota = Quota::with_period(one)?.allow_burst(requests);
            let policy = HeaderValue::from_str(&format!("\"default\";q={requests};w={seconds}")).ok()?;
            let clients = DefaultKeyedRateLimiter::keyed(quota).with_middleware();
            Some(Limits { clients, burst: requests.get(), one, policy })
        });
        let clients = Clients { keys: config.keys.clone(), proxies: config.trusted_proxies.clone() };
        Self { clients, limits }
    }

    /// Refuses those who need a key and have none. What tells people how to ask, they may read; so they may the page,
    /// which tells no number itself.
    fn check_key(&self, path: &str, client: Option<Client>) -> Result<(), Problem> {
        let has_key = matches!(client, Some(Client::Key(_)));
        if self.clients.keys.is_empty() || has_key || path == PAGE || is_document(path) {
            return Ok(());
        }
        let detail = "a key is needed here, and this request has none that is known: send it as \
                      `Authorization: Bearer KEY` or `X-API-Key: KEY`";
        Err(Problem::new(Code::Unauthorized, detail))
    }
}

impl Limits {
    /// What is left once this request is answered; or how long to wait before it can be.
    fn take(&self, client: Client) -> Result<Left, Duration> {
        if self.clients.len() > MAX_LIMITED_CLIENTS {
            self.clients.retain_recent();
        }
        match self.clients.check_key(&client) {
            Ok(state) => {
                let requests = state.remaining_burst_capacity();
                let taken = self.burst.saturating_sub(requests);
                // With nothing left, what counts is when there is something.
                let awaited = if requests == 0 { 1 } else { taken };
                Ok(Left { requests, whole_in: self.one.saturating_mul(awaited) })
            }
            Err(until) => Err(until.wait_time_from(DefaultClock::default().now())),
        }
    }

    fn tell(&self, response: &mut Response, left: &Left) {
        let seconds = left.whole_in.as_millis().div_ceil(1_000).max(1);
        let headers = response.headers_mut();
        headers.insert(POLICY_HEADER, self.policy.clone());
        if let Ok(told) = HeaderValue::from_str(&format!("\"default\";r={};t={seconds}", left.requests)) {
            headers.insert(LIMIT_HEADER, told);
        }
    }
}

/// Answers those who may ask, within their limit, and says what is left of it.
pub(super) async fn limited<E: Endpoint>(
    next: Arc<E>,
    request: Request,
    gate: Arc<Gate>,
) -> Result<Response> {
    let path = request.uri().path();
    if EXEMPT.contains(&path) {
        return Ok(next.call(request).await?.into_response());
    }
    let client = gate.clients.of(&request);
    let allowed = gate.check_key(path, client);
    let (Some(limits), Some(client)) = (&gate.limits, client) else {
        allowed?;
        return Ok(next.call(request).await?.into_response());
    };
    // Whoever tries out keys is counted as well, by address.
    let (mut response, left) = match limits.take(client) {
        Ok(left) => {
            let answer = match allowed {
                Ok(()) => next.call(request).await,
                Err(problem) => Err(problem.into()),
            };
            (settled(answer), left)
        }
        Err(wait) => {
            let detail = "too many requests from this client; Retry-After says when to come back";
            // Rounded up: who comes back a moment early is refused again.
            let seconds = wait.as_secs() + 1;
            let problem = Problem::new(Code::RateLimited, detail).retry_after(seconds);
            (problem.into_response(), Left { requests: 0, whole_in: Duration::from_secs(seconds) })
        }
    };
    limits.tell(&mut response, &left);
    Ok(response)
}

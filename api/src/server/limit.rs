//! How often a client may ask, and how it learns of that before it is refused.
//!
//! The headers are those of draft-ietf-httpapi-ratelimit-headers: the quota and its window in `RateLimit-Policy`, and
//! in `RateLimit` what is left of it, and in how many seconds it will be whole again.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
};
use http::{HeaderName, HeaderValue};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use crate::{
    config::RateLimit,
    problem::{Code, Problem},
};

/// Questions that are never refused: a limit that makes a pod look dead helps nobody.
const EXEMPT: [&str; 4] = ["/livez", "/readyz", "/version", "/metrics"];

/// Clients remembered before those that have been quiet are forgotten.
const MAX_LIMITED_CLIENTS: usize = 10_000;

const POLICY_HEADER: HeaderName = HeaderName::from_static("ratelimit-policy");

const LIMIT_HEADER: HeaderName = HeaderName::from_static("ratelimit");

/// Requests per client, within a pod.
pub(super) struct Limiter(Option<Limits>);

struct Limits {
    clients: DefaultKeyedRateLimiter<IpAddr, StateInformationMiddleware>,
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

impl Limiter {
    pub(super) fn new(limit: RateLimit) -> Self {
        let limits = limit.quota().and_then(|(requests, seconds)| {
            let one = Duration::from_secs(seconds.into()) / requests.get();
            let quota = Quota::with_period(one)?.allow_burst(requests);
            let policy = HeaderValue::from_str(&format!("\"default\";q={requests};w={seconds}")).ok()?;
            let clients = DefaultKeyedRateLimiter::keyed(quota).with_middleware();
            Some(Limits { clients, burst: requests.get(), one, policy })
        });
        Self(limits)
    }
}

impl Limits {
    /// What is left once this request is answered; or how long to wait before it can be.
    fn take(&self, client: IpAddr) -> Result<Left, Duration> {
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

/// Answers a request that is within its client's limit, and says what is left of it.
pub(super) async fn limited<E: Endpoint>(
    next: Arc<E>,
    request: Request,
    limiter: Arc<Limiter>,
) -> Result<Response> {
    let client = request.remote_addr().as_socket_addr().map(SocketAddr::ip);
    let is_exempt = EXEMPT.contains(&request.uri().path());
    let (Some(limits), Some(client), false) = (&limiter.0, client, is_exempt) else {
        return Ok(next.call(request).await?.into_response());
    };
    let (mut response, left) = match limits.take(client) {
        Ok(left) => match next.call(request).await {
            Ok(response) => (response.into_response(), left),
            Err(error) => (Problem::from_framework(&error).into_response(), left),
        },
        Err(wait) => {
            let detail = "too many requests from this address; Retry-After says when to come back";
            // Rounded up: who comes back a moment early is refused again.
            let seconds = wait.as_secs() + 1;
            let problem = Problem::new(Code::RateLimited, detail).retry_after(seconds);
            (problem.into_response(), Left { requests: 0, whole_in: Duration::from_secs(seconds) })
        }
    };
    limits.tell(&mut response, &left);
    Ok(response)
}

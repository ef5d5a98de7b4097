//! Holds requests for server-sent events while the pod starts, because a browser's `EventSource` gives up after a 503.

use std::{sync::Arc, time::Duration};

use poem::{Endpoint, Request, Response, Result};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::SharedEndpoint;
use crate::routes::{event_source, max_streams};

/// How long a request is held. Proxies usually wait a minute for a response.
const HOLD_LIMIT: Duration = Duration::from_secs(20);

/// The endpoint that serves requests, which is replaced once the pod has started, and the requests that wait for that.
pub(super) struct Endpoints {
    newest: watch::Receiver<SharedEndpoint>,
    /// As many requests may be held as there may be streams.
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// What a request needs to wait for the endpoint that replaces the present one.
#[derive(Clone)]
struct Waiting {
    endpoints: Arc<Endpoints>,
    /// Has seen the endpoint that is serving the request.
    newest: watch::Receiver<SharedEndpoint>,
    /// When the request stops waiting, if it has begun to wait.
    until: Option<Instant>,
}

impl Endpoints {
    pub(super) fn new(
        newest: watch::Receiver<SharedEndpoint>,
        max_connections: usize,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(max_streams(max_connections)));
        Arc::new(Self { newest, places, stop })
    }

    /// The newest endpoint for a request. If the request may be held, the endpoint can hold it.
    pub(super) fn newest_for(self: &Arc<Self>, request: &mut Request) -> SharedEndpoint {
        if event_source::is_asked(request) {
            let mut newest = self.newest.clone();
            let endpoint = newest.borrow_and_update().clone();
            request.set_data(Waiting { endpoints: self.clone(), newest, until: None });
            return endpoint;
        }
        self.newest.borrow().clone()
    }
}

impl Waiting {
    /// Waits for an endpoint that is newer than the one that this request has reached. `None` if that takes too
    /// long, if too many other requests are waiting, or if the process is about to stop.
    async fn next(&mut self) -> Option<SharedEndpoint> {
        let Endpoints { places, stop, .. } = &*self.endpoints;
        let _place = places.clone().try_acquire_owned().ok()?;
        let until = *self.until.get_or_insert_with(|| Instant::now() + HOLD_LIMIT);
        let changed = stop.run_until_cancelled(timeout_at(until, self.newest.changed())).await;
        changed?.ok()?.ok()?;
        Some(self.newest.borrow_and_update().clone())
    }
}

/// Passes a request for server-sent events on to the endpoint that replaces the one that cannot serve it yet.
pub(super) async fn hold(next: SharedEndpoint, mut request: Request) -> Result<Response> {
    if let Some(mut waiting) = request.data::<Waiting>().cloned()
        && let Some(endpoint) = waiting.next().await
    {
        request.set_data(waiting);
        return endpoint.call(request).await;
    }
    next.call(request).await
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;

    use super::*;

    fn endpoint(says: &'static str) -> SharedEndpoint {
        SharedEndpoint::of(make_sync(move |_| says))
    }

    async fn answer(endpoints: &Arc<Endpoints>, path: &'static str) -> String {
        let mut request = Request::builder().uri_str(path).finish();
        endpoints.newest_for(&mut request);
        let starting = endpoint("starting").around(hold);
        starting.call(request).await.unwrap().into_body().into_string().await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_event_streams_wait_and_not_forever() {
        let (newest, endpoints) = watch::channel(endpoint("starting"));
        let endpoints = Endpoints::new(endpoints, 2, CancellationToken::new());
        let begun = Instant::now();
        assert_eq!(answer(&endpoints, "/v1/pairs").await, "starting");
        assert_eq!(answer(&endpoints, "/v1/stream?format=ndjson").await, "starting");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(answer(&endpoints, "/v1/stream").await, "starting");
        assert_eq!(begun.elapsed(), HOLD_LIMIT);
        let (answered, ()) = tokio::join!(answer(&endpoints, "/v1/stream"), async {
            newest.send_replace(endpoint("started"));
        });
        assert_eq!((answered.as_str(), begun.elapsed()), ("started", HOLD_LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_requests_wait_than_there_may_be_streams() {
        let (_newest, endpoints) = watch::channel(endpoint("starting"));
        let endpoints = Endpoints::new(endpoints, 2, CancellationToken::new());
        let begun = Instant::now();
        let both = async { tokio::join!(answer(&endpoints, "/v1/stream"), answer(&endpoints, "/v1/stream")) };
        let (_, refused) = tokio::join!(both, async {
            tokio::task::yield_now().await;
            answer(&endpoints, "/v1/stream").await;
            begun.elapsed()
        });
        assert_eq!(refused, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_starting_too_does_not_begin_the_wait_anew() {
        let (newest, endpoints) = watch::channel(endpoint("starting"));
        let endpoints = Endpoints::new(endpoints, 2, CancellationToken::new());
        let begun = Instant::now();
        let again = endpoint("again").around(hold);
        let (answered, ()) = tokio::join!(answer(&endpoints, "/v1/stream"), async {
            tokio::time::sleep(HOLD_LIMIT / 2).await;
            newest.send_replace(again);
        });
        assert_eq!((answered.as_str(), begun.elapsed()), ("again", HOLD_LIMIT));
    }
}

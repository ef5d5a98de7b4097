//! Connections and the middleware around the routes.
//!
//! The accept loop is our own, because the framework's accept loop has no header timeout and no limit on connections,
//! and retries without a pause when file descriptors run out.

mod answers;
mod caching;
mod client;
mod compression;
mod connection;
mod cors;
mod counting;
mod descriptors;
mod endpoint;
mod handover;
mod head;
mod hold;
mod limit;
mod operators;
mod origins;
mod parameters;
mod span;
mod unread;
mod weight;

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use common::service::TaskError;
use http::{HeaderValue, StatusCode};
use http_body_util::combinators::BoxBody;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{Endpoint, IntoResponse, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::problem::Problem;
use connection::Connection;
use handover::{Handover, Lent};
use hold::Endpoints;

pub use crate::layers::SharedEndpoint;
pub use descriptors::{MAX_ADMIN_CONNECTIONS, max_api_connections};
pub use endpoint::{
    admin_endpoint, endpoint, operations_endpoint, starting_admin_endpoint, starting_endpoint,
};

/// How long a client may take to send a request's head, counted from the start of the connection or from the previous
/// response.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest request head.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The pause after a connection could not be accepted. That happens when file descriptors run out, and an immediate
/// retry would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The pause between two log lines about connections that could not be accepted.
const ACCEPT_LOG_PAUSE: Duration = Duration::from_secs(60);

/// How long open requests may take to finish at shutdown. This is shorter than [`common::service::DRAIN_LIMIT`], so
/// that the rest of the process still has time to end before that limit.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// A bound listener that does not serve requests yet.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// Listening on an address failed.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: cannot listen on {address}")]
pub struct ListenError {
    setting: &'static str,
    address: String,
    #[source]
    source: io::Error,
}

impl Listener {
    /// Binds an address. `setting` is the name of the setting that the address comes from.
    pub async fn bind(setting: &'static str, address: &str) -> Result<Self, ListenError> {
        let bound = TcpListener::bind(address).await;
        bound.map(Self).map_err(|source| ListenError { setting, address: address.to_owned(), source })
    }

    /// The address that was bound, with the real port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves connections until `stop` is cancelled, and then waits a limited time for open requests. Each request goes
    /// to the newest of the `endpoints`: until a pod has its store, its endpoint serves only operators and the page. At
    /// most `max_connections` are open at once. Further clients wait in the kernel's queue.
    pub async fn serve(
        self,
        endpoints: watch::Receiver<SharedEndpoint>,
        max_connections: usize,
        connections: prometheus::IntGauge,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let places = Arc::new(Semaphore::new(max_connections));
        let endpoints = Endpoints::new(endpoints, max_connections, stop.clone());
        let open = TaskTracker::new();
        // Only HTTP/1 is supported, because hyper's version detection and its HTTP/2 would wait forever for a client
        // that sends nothing. A proxy that terminates TLS can offer HTTP/2.
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);

        let mut failures = AcceptFailures::default();
        while let Some(accepted) = stop.run_until_cancelled(accept(&self.0, &places, &mut failures)).await {
            let Some((stream, remote, place)) = accepted else { continue };
            let handover = Handover::default();
            let local = stream.local_addr().unwrap_or(remote);
            // Shared by the connection's requests only, so that requests of other connections on other cores do not
            // count references at the same time.
            let (endpoints, tasks) = (endpoints.clone(), open.clone());
            let served = Arc::new(Served { endpoints, tasks, handover: handover.clone(), local, remote });
            let service = service_fn(move |request| {
                let served = served.clone();
                async move { Ok::<_, Infallible>(served.handle(request).await) }
            });
            let connection = Connection::new(stream, connections.clone(), place);
            let stream = TokioIo::new(Lent::new(connection, handover));
            let connection = builder.serve_connection(stream, service).with_upgrades();
            let stop = stop.clone();
            open.spawn(async move {
                let mut connection = pin!(connection);
                tokio::select! {
                    // An error is ignored, because a broken connection is not a fault of the pod.
                    _ = connection.as_mut() => {}
                    () = stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        let _ = connection.await;
                    }
                }
            });
        }
        drop(self.0);
        open.close();
        if tokio::time::timeout(DRAIN_LIMIT, open.wait()).await.is_err() {
            tracing::warn!(
                event = "connections_cut",
                limit_ms = DRAIN_LIMIT.as_millis(),
                "some connections were still open when the time limit of the shutdown expired; closing them"
            );
        }
        Ok(())
    }
}

/// The body type of the framework's responses.
type Body = BoxBody<bytes::Bytes, io::Error>;

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// The failures to accept a connection. While file descriptors are exhausted, there are ten per second.
#[derive(Debug, Default)]
struct AcceptFailures {
    logged: Option<Instant>,
    since_then: u64,
}

impl AcceptFailures {
    /// Logs a failure, unless another one was logged in the last minute.
    fn log(&mut self, error: &io::Error) {
        self.since_then += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= ACCEPT_LOG_PAUSE) {
            let failures = self.since_then;
            tracing::warn!(event = "accept_failed", %error, failures, "accepting connections failed; retrying");
            *self = Self { logged: Some(Instant::now()), since_then: 0 };
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    failures: &mut AcceptFailures,
) -> Option<Accepted> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, remote)) => Some((stream, remote, place)),
        Err(error) => {
            failures.log(&error);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Refuses requests without a host or with several (RFC 9112, section 3.2). A proxy could read such a request as one
/// for another host.
fn check_host<B>(request: &hyper::Request<B>) -> Result<(), Problem> {
    let hosts = request.headers().get_all(http::header::HOST).iter().count();
    match (request.version(), hosts) {
        (_, 1) | (http::Version::HTTP_10 | http::Version::HTTP_09, 0) => Ok(()),
        (_, hosts) => {
            let detail =
                format!("a request must have the header `Host` once, but this one has it {hosts} times");
            Err(Problem::parameter("Host", detail))
        }
    }
}

/// What the requests of one connection need.
struct Served {
    endpoints: Arc<Endpoints>,
    tasks: TaskTracker,
    handover: Handover,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Served {
    async fn handle(&self, request: hyper::Request<hyper::body::Incoming>) -> hyper::Response<Body> {
        let version = request.version();
        // Proxies and pods may disagree on where the next request begins if they disagree on the host.
        let (is_last, mut response) = match check_host(&request) {
            Ok(()) => (head::is_last(request.headers()), self.respond(request).await),
            Err(problem) => (true, problem.into_response()),
        };
        if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.handover.of_stream(response.into(), version, &self.tasks)
    }

    async fn respond(&self, request: hyper::Request<hyper::body::Incoming>) -> Response {
        let local = poem::web::LocalAddr(poem::Addr::SocketAddr(self.local));
        let remote = poem::web::RemoteAddr(poem::Addr::SocketAddr(self.remote));
        let mut request = poem::Request::from((request, local, remote, http::uri::Scheme::HTTP));
        let endpoint = self.endpoints.newest_for(&mut request);
        endpoint.call(request).await.unwrap_or_else(poem::Error::into_response)
    }
}

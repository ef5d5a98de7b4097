//! Connections: an accept loop of our own, because the framework's sets no header timeout, caps nothing
//! and spins when descriptors run out.

mod answer;
mod caching;
mod client;
mod compressed;
mod connection;
mod cors;
mod descriptors;
mod limit;
mod parameters;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use common::service::TaskError;
use http_body_util::combinators::BoxBody;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{Endpoint, Response, endpoint::BoxEndpoint};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use connection::Connection;

pub use answer::{admin_endpoint, endpoint, operations_endpoint, starting_admin_endpoint, starting_endpoint};
pub use descriptors::{ADMIN_PLACES, api_places};

/// A request's head must be here this soon after the connection was made, or after the answer before it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest request head.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The pause after accepting failed, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long connections may take to finish what they are answering. Shorter than the service's own
/// limit, so that the rest of the process still ends in time.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What answers requests.
pub type SharedEndpoint = Arc<BoxEndpoint<'static, Response>>;

/// A bound listener, before anything is answered on it.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: cannot listen on {address}")]
pub struct ListenError {
    setting: &'static str,
    address: String,
    #[source]
    source: io::Error,
}

impl Listener {
    /// Binds the address that a setting names.
    pub async fn bind(setting: &'static str, address: &str) -> Result<Self, ListenError> {
        let bound = TcpListener::bind(address).await;
        bound.map(Self).map_err(|source| ListenError { setting, address: address.to_owned(), source })
    }

    /// The address it really has.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers connections until told to stop, then lets them finish what they are answering, with a
    /// bound. Each request is answered by the newest endpoint: a pod answers its operators before it has
    /// anything else to say. `places` is how many connections may be open at once; later ones wait in the kernel's
    /// queue.
    pub async fn serve(
        self,
        endpoints: watch::Receiver<SharedEndpoint>,
        places: usize,
        connections: prometheus::IntGauge,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let places = Arc::new(Semaphore::new(places));
        let open = TaskTracker::new();
        // HTTP/1 alone: telling versions apart, and HTTP/2 itself, would wait for silent clients without
        // end. Who wants HTTP/2 has it from the proxy that does TLS.
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);

        while let Some(accepted) = stop.run_until_cancelled(accept(&self.0, &places)).await {
            let Some((stream, remote, place)) = accepted else { continue };
            let service = service_fn({
                let (endpoints, local) = (endpoints.clone(), stream.local_addr());
                move |request| {
                    let local = local.as_ref().ok().copied().unwrap_or(remote);
                    answer_one(endpoints.borrow().clone(), request, local, remote)
                }
            });
            let stream = TokioIo::new(Connection::new(stream, connections.clone(), place));
            let connection = builder.serve_connection(stream, service).with_upgrades();
            let stop = stop.clone();
            open.spawn(async move {
                let mut connection = pin!(connection);
                tokio::select! {
                    // A connection that breaks is the client's business.
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
            tracing::warn!("closed connections that did not end within {DRAIN_LIMIT:?}");
        }
        Ok(())
    }
}

/// A body as the framework makes it.
type Body = BoxBody<bytes::Bytes, io::Error>;

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, remote)) => Some((stream, remote, place)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept connections; trying on");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn answer_one(
    endpoint: SharedEndpoint,
    request: hyper::Request<hyper::body::Incoming>,
    local: SocketAddr,
    remote: SocketAddr,
) -> Result<hyper::Response<Body>, std::convert::Infallible> {
    let local = poem::web::LocalAddr(poem::Addr::SocketAddr(local));
    let remote = poem::web::RemoteAddr(poem::Addr::SocketAddr(remote));
    let request = poem::Request::from((request, local, remote, http::uri::Scheme::HTTP));
    let response = endpoint.call(request).await.unwrap_or_else(poem::Error::into_response);
    Ok(response.into())
}

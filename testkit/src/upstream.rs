//! An HTTP server that speaks for all exchanges at once.
//!
//! A source's base address is the server's address and the venue's name, `http://127.0.0.1:PORT/kraken`, and
//! below it the paths are the exchange's own. What an exchange answers is in the file with its name, from
//! the contracts their vendors publish; `controls` is what a test can do to them.

mod bitstamp;
mod coinbase;
mod controls;
mod kraken;
mod quotes;
mod reply;
mod request_log;
mod state;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::{JoinHandle, JoinSet};

pub use request_log::LoggedRequest;

use crate::Venue;
use crate::market::Market;
use state::State;

/// Connections served at once; further ones wait to be accepted. More than any test opens, and few enough to
/// leave the test's own process with file descriptors.
const MAX_CONNECTIONS: usize = 256;

/// A running fake of the exchanges. Dropping it stops it.
#[derive(Debug)]
pub struct FakeUpstream {
    address: SocketAddr,
    state: Arc<State>,
    /// Accepts connections and owns the tasks that serve them: when it ends, so do they.
    accepting: JoinHandle<()>,
}

impl FakeUpstream {
    /// Serves `market` on `listen`, for example `127.0.0.1:0`, where the system picks the port.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn start(market: Arc<dyn Market>, listen: impl ToSocketAddrs) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.context("fake upstream: bind")?;
        let address = listener.local_addr().context("fake upstream: local address")?;
        let state = Arc::new(State::new(market));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, accepting })
    }

    /// The server's address, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base address of one venue's source, `http://127.0.0.1:PORT/kraken`.
    #[must_use]
    pub fn venue_url(&self, venue: Venue) -> String {
        format!("{}/{venue}", self.url())
    }

    /// The environment variables that point Tickwell's sources here.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let variable = |venue: Venue| format!("TICKWELL__SOURCES__{}__URL", venue.name().to_uppercase());
        Venue::ALL.into_iter().map(|venue| (variable(venue), self.venue_url(venue))).collect()
    }

    /// From now on the venue answers every request with 503, or no longer does.
    pub fn set_down(&self, venue: Venue, down: bool) {
        self.state.controls().set_down(venue, down);
    }

    /// From now on the venue quotes this price whatever the market says, as a trade of the moment it is asked
    /// for; with `None` it has no market for the pair.
    ///
    /// # Panics
    ///
    /// When the pair is not written `BASE-QUOTE`.
    pub fn set_price(&self, venue: Venue, pair: &str, price: Option<&str>) {
        self.state.controls().set_price(venue, pair, price);
    }

    /// Undoes [`FakeUpstream::set_price`]: the venue follows the market again.
    pub fn follow_market(&self, venue: Venue, pair: &str) {
        self.state.controls().follow_market(venue, pair);
    }

    /// What has been asked so far, oldest first, as far back as the log reaches (10,000 requests).
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.state.requests()
    }

    /// The part of [`FakeUpstream::requests`] that asked this venue.
    #[must_use]
    pub fn requests_to(&self, venue: Venue) -> Vec<LoggedRequest> {
        self.requests().into_iter().filter(|request| request.venue == Some(venue)).collect()
    }

    /// Stops listening and closes every connection. When it returns, the port is free.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // Ends with the error that says it was aborted.
        let _aborted = (&mut self.accepting).await;
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                // A connection that was gone before it was accepted is the client's concern.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&state)));
                }
            }
            Some(_finished) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| {
        let response = state.respond(&request);
        async { Ok::<_, Infallible>(response) }
    });
    // A client that breaks off is none of the server's business.
    let _broken_off = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests;

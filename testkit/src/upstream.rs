//! An HTTP server that speaks for all venues at once.
//!
//! A source's base address is the server's address and the venue's name, `http://127.0.0.1:PORT/kraken`, and
//! below it the paths are the venue's own. What a venue answers is in the file with its name, from the
//! contracts their vendors publish; `controls` is what a test can do to them, and [`crate::fault`] lists it.
//!
//! The HTTP is our own, a small one: a venue that lies about a length or resets a connection is out of a
//! well-behaved library's reach. A request goes through `connection`, `request`, `state`, then `dialect`, or
//! `misconduct` where the venue has a fault, and out through `delivery`.

mod binance;
mod bitfinex;
mod bitstamp;
mod coinbase;
mod coingecko;
mod connection;
mod controls;
mod delivery;
mod dialect;
mod gemini;
mod kraken;
mod misconduct;
mod quotes;
mod reply;
mod request;
mod request_log;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::task::{JoinHandle, JoinSet};

pub use request_log::{LoggedRequest, SentKey};

use crate::fault::{Fault, Status};
use crate::market::Market;
use crate::{Venue, clock};
use state::State;

/// Connections served at once; further ones wait to be accepted. More than any test opens, and few enough to
/// leave the test's own process with file descriptors.
const MAX_CONNECTIONS: usize = 256;

/// A running fake of the venues. Dropping it stops it.
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
    /// Fails if the address cannot be bound.
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

    /// Makes the venue respond with 503 to every request, or ends that.
    pub fn set_down(&self, venue: Venue, down: bool) {
        self.set_fault(venue, down.then_some(Fault::Status(Status::Unavailable, None)));
    }

    /// From now on this is wrong with the venue, and nothing else; with `None` nothing is.
    ///
    /// # Panics
    ///
    /// Panics if the fault has no effect on the venue ([`Fault::applies_to`]).
    pub fn set_fault(&self, venue: Venue, fault: impl Into<Option<Fault>>) {
        let fault = fault.into();
        fault.into_iter().for_each(misconduct::prepare);
        self.state.controls().set_fault(venue, fault, clock::now_ms());
    }

    /// From now on the venue quotes this price whatever the market says, as a trade of the moment it is asked
    /// for; with `None` it has no market for the pair.
    ///
    /// # Panics
    ///
    /// Panics if the pair is not written `BASE-QUOTE`.
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
                    connections.spawn(connection::serve(stream, Arc::clone(&state)));
                }
            }
            Some(_finished) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;

//! An HTTP server that imitates all venues.
//!
//! A source's base URL is the server's address followed by the venue's name, `http://127.0.0.1:PORT/kraken`. The paths
//! below it are those of the real venue: its requests for prices and candles, and its list of markets. Each venue's responses are in
//! the file with its name, and follow the vendor's published documentation. Tests change what a venue does through
//! `controls`; [`crate::fault`] lists the faults.
//!
//! HTTP is implemented here, because a well-behaved library cannot announce a wrong length or reset a connection. A
//! request goes through `connection`, `request` and `state`, then through `dialect`, or through `misconduct` if the
//! venue has a fault. The response leaves through `delivery`.

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
mod listing;
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

pub use listing::Listing;
pub use request_log::{LoggedRequest, SentKey};

use crate::fault::{Fault, Status};
use crate::market::Market;
use crate::{Venue, clock};
use state::State;

/// The maximum number of concurrent connections; further ones wait to be accepted. The limit is more than any test
/// opens, and low enough that the test's process does not run out of file descriptors.
const MAX_CONNECTIONS: usize = 256;

/// A running server. Dropping it stops the server.
#[derive(Debug)]
pub struct FakeUpstream {
    address: SocketAddr,
    state: Arc<State>,
    /// Accepts connections and owns the tasks that serve them. When this task ends, those tasks are aborted.
    accepting: JoinHandle<()>,
}

impl FakeUpstream {
    /// Serves `market` on `listen`. With port 0, as in `127.0.0.1:0`, the operating system chooses a free port.
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

    /// If `down` is true, the venue responds with 503 to every request. If it is false, the venue has no fault.
    pub fn set_down(&self, venue: Venue, down: bool) {
        self.set_fault(venue, down.then_some(Fault::Status(Status::Unavailable, None)));
    }

    /// Replaces the venue's fault. With `None`, it has no fault.
    ///
    /// # Panics
    ///
    /// Panics if the fault has no effect on the venue ([`Fault::applies_to`]).
    pub fn set_fault(&self, venue: Venue, fault: impl Into<Option<Fault>>) {
        let fault = fault.into();
        fault.into_iter().for_each(misconduct::prepare);
        self.state.controls().set_fault(venue, fault, clock::now_ms());
    }

    /// Overrides the market: from now on, the venue quotes this price, with the time of each request as the time of the
    /// trade. With `None`, the venue has no market for the pair.
    ///
    /// # Panics
    ///
    /// Panics if the pair is not written as `BASE-QUOTE`.
    pub fn set_price(&self, venue: Venue, pair: &str, price: Option<&str>) {
        self.state.controls().set_price(venue, pair, price);
    }

    /// Undoes [`FakeUpstream::set_price`]: the venue follows the market again.
    pub fn follow_market(&self, venue: Venue, pair: &str) {
        self.state.controls().follow_market(venue, pair);
    }

    /// Changes the state of a market. The state stays until the next call, also if a price is set. It has no effect on a
    /// pair for which neither the market nor [`FakeUpstream::set_price`] has a price.
    ///
    /// # Panics
    ///
    /// Panics if the venue cannot have a market in this state ([`Listing::applies_to`]), or if the pair is not written as
    /// `BASE-QUOTE`.
    pub fn set_listing(&self, venue: Venue, pair: &str, listing: Listing) {
        self.state.controls().set_listing(venue, pair, listing, clock::now_ms());
    }

    /// If `available` is false, the venue responds with 503 to requests for its list of markets. Its prices still work.
    pub fn set_lists(&self, venue: Venue, available: bool) {
        self.state.controls().set_lists(venue, available);
    }

    /// If `available` is false, the venue responds with 503 to requests for candles. Its prices still work.
    pub fn set_candles(&self, venue: Venue, available: bool) {
        self.state.controls().set_candles(venue, available);
    }

    /// The newest 10,000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.state.requests()
    }

    /// Those of [`FakeUpstream::requests`] that were sent to this venue.
    #[must_use]
    pub fn requests_to(&self, venue: Venue) -> Vec<LoggedRequest> {
        self.requests().into_iter().filter(|request| request.venue == Some(venue)).collect()
    }

    /// Stops listening and closes every connection. When this function returns, the port is free.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // Returns an error, because the task was aborted.
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
                // Accepting fails if the client has already disconnected. Nothing has to be done then.
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

//! What the server's connections share, and the way of a request through it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Request, Response, StatusCode, Uri, header};

use super::controls::Controls;
use super::quotes::Quotes;
use super::reply::Reply;
use super::request_log::{LoggedRequest, RequestLog};
use super::{bitstamp, coinbase, kraken};
use crate::market::Market;
use crate::{Venue, clock};

pub(super) struct State {
    market: Arc<dyn Market>,
    controls: Mutex<Controls>,
    log: Mutex<RequestLog>,
}

impl State {
    pub(super) fn new(market: Arc<dyn Market>) -> Self {
        Self { market, controls: Mutex::default(), log: Mutex::default() }
    }

    pub(super) fn controls(&self) -> MutexGuard<'_, Controls> {
        lock(&self.controls)
    }

    pub(super) fn requests(&self) -> Vec<LoggedRequest> {
        lock(&self.log).all()
    }

    /// Answers a request at the present time, and logs it.
    pub(super) fn respond<B>(&self, request: &Request<B>) -> Response<String> {
        let now_ms = clock::now_ms();
        let (venue, path) = split_venue(request.uri().path());
        let reply = match venue {
            _ if request.method() != Method::GET => Reply::empty(StatusCode::METHOD_NOT_ALLOWED),
            Some(venue) => self.answer(venue, path, request.uri().query(), now_ms),
            None => Reply::empty(StatusCode::NOT_FOUND),
        };
        lock(&self.log).push(LoggedRequest {
            venue,
            path_and_query: path_and_query(request.uri(), path),
            time_ms: now_ms,
            status: reply.status.as_u16(),
        });
        let mut response = Response::new(reply.body);
        *response.status_mut() = reply.status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    }

    fn answer(&self, venue: Venue, path: &str, query: Option<&str>, now_ms: i64) -> Reply {
        let controls = self.controls();
        if let Some(fault) = controls.fault(venue) {
            return fault;
        }
        let quotes = Quotes::new(self.market.as_ref(), &controls, venue, now_ms);
        match venue {
            Venue::Kraken => kraken::answer(path, query, &quotes),
            Venue::Coinbase => coinbase::answer(path, &quotes),
            Venue::Bitstamp => bitstamp::answer(path, &quotes),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("controls", &self.controls).finish_non_exhaustive()
    }
}

/// Takes the venue's name off the front of a path, and leaves the exchange's own path.
fn split_venue(path: &str) -> (Option<Venue>, &str) {
    let (name, rest) = path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or_default();
    match name.parse() {
        Ok(venue) => (Some(venue), path.get(path.len() - rest.len() - 1..).unwrap_or(path)),
        Err(_unknown) => (None, path),
    }
}

fn path_and_query(uri: &Uri, path: &str) -> String {
    uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// A panic elsewhere fails its own test; what it left here is still of use to the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_venue_is_the_first_part_of_the_path() {
        assert_eq!(split_venue("/kraken/0/public/Ticker"), (Some(Venue::Kraken), "/0/public/Ticker"));
        assert_eq!(split_venue("/bitstamp/"), (Some(Venue::Bitstamp), "/"));
        for stranger in ["/gemini/v1", "/kraken", "/", "*", ""] {
            assert_eq!(split_venue(stranger), (None, stranger));
        }
    }
}

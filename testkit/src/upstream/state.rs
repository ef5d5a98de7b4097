//! The state that all connections share, and how a request is handled.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};

use super::controls::Controls;
use super::delivery::Delivery;
use super::dialect::Question;
use super::misconduct;
use super::quotes::Quotes;
use super::reply::Reply;
use super::request::Request;
use super::request_log::{LoggedRequest, RequestLog};
use crate::fault::{Fault, Status};
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

    /// Responds to a request at the current time, and logs it.
    pub(super) fn respond(&self, request: &Request) -> (Reply, Delivery) {
        let now_ms = clock::now_ms();
        let (venue, path) = split_venue(&request.path);
        let (reply, delivery) = match venue {
            _ if request.method != Method::GET => {
                (Reply::empty(StatusCode::METHOD_NOT_ALLOWED), Delivery::Whole)
            }
            Some(venue) => self.answer(Question { venue, path, query: &request.query }, now_ms),
            None => (Reply::empty(StatusCode::NOT_FOUND), Delivery::Whole),
        };
        lock(&self.log).push(LoggedRequest {
            venue,
            path_and_query: request.query.after(path),
            time_ms: now_ms,
            status: delivery.has_status().then(|| reply.status.as_u16()),
            key: request.key.clone(),
        });
        (reply, delivery)
    }

    fn answer(&self, question: Question<'_>, now_ms: i64) -> (Reply, Delivery) {
        let controls = self.controls();
        let quotes = Quotes::new(self.market.as_ref(), &controls, question.venue, now_ms);
        match fault(&controls, question) {
            Some(fault) => misconduct::answer(fault, question, &quotes, now_ms),
            None => (question.answer(&quotes), Delivery::Whole),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("controls", &self.controls).finish_non_exhaustive()
    }
}

/// The fault of a response. A list of markets has only the faults that affect all requests to the venue.
fn fault(controls: &Controls, question: Question<'_>) -> Option<Fault> {
    let fault = controls.fault(question.venue).map(|active| active.fault);
    let unavailable = Fault::Status(Status::Unavailable, None);
    if question.is_candles() && !controls.has_candles(question.venue) {
        return Some(unavailable);
    }
    if !question.is_list() {
        return fault;
    }
    let has_list = controls.has_list(question.venue);
    fault.filter(|fault| !fault.is_of_prices()).or_else(|| (!has_list).then_some(unavailable))
}

/// Splits a path into the venue's name and the path on that venue.
fn split_venue(path: &str) -> (Option<Venue>, &str) {
    let (name, rest) = path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or_default();
    match name.parse() {
        Ok(venue) => (Some(venue), path.get(path.len() - rest.len() - 1..).unwrap_or(path)),
        Err(_unknown) => (None, path),
    }
}

/// Locks a mutex even if another thread has panicked while it held the lock. The panic fails that thread's own test,
/// and the state is still valid for other tests.
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
        for stranger in ["/nowhere/v1", "/kraken", "/", "*", ""] {
            assert_eq!(split_venue(stranger), (None, stranger));
        }
    }
}

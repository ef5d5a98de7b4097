//! Answers: responses that are computed once and sent many times.
//!
//! A response about the log depends only on the request, on the snapshot, and on which prices are stale. So the answers
//! from the newest snapshot are kept until there is a newer snapshot, and are sent to every client that sends the same
//! request. If several clients send it at once, one of them computes the answer, and the others wait for it. What
//! depends on the client or on the clock is not part of an answer: `max-age`, 304, compression, and everything that the
//! outer middleware adds.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use common::domain::Timestamp;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};
use tokio::{sync::OnceCell, time::Instant};

use super::{
    caching::{Audience, Kind, Tag, whole},
    client::Client,
    compression::{accepts_gzip, compressed},
    unread::Unread,
};
use crate::{
    layers::SharedEndpoint,
    metrics::Metrics,
    routes::{Lifetime, State},
};
use ledger::snapshot::Snapshot;

/// How many bytes of answers are kept at most from one snapshot, and how many of documents. Most clients of a pod send
/// the same few requests, and an answer usually has some kilobytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The largest answer that is kept, so that a few large ones do not take the place of all others.
const MAX_ANSWER_BYTES: usize = MAX_BYTES / 4;

/// How many answers are kept at most. In addition to its bytes, each takes about a kilobyte.
const MAX_ANSWERS: usize = 4_096;

/// The longest request target, together with the value of `Accept`, of an answer that is kept.
const MAX_KEY_BYTES: usize = 1_024;

/// How many headers are added to those of an answer, here and by the outer middleware. There must be room for them,
/// because making room for one after the other takes longer than adding them.
const MORE_HEADERS: usize = 16;

/// The answers that a pod keeps.
pub(super) struct Answers {
    state: Arc<State>,
    metrics: Metrics,
    audience: Audience,
    unread: Arc<Unread>,
    /// The answers about the log from the newest snapshot.
    newest: RwLock<Shelf>,
    /// The documents, which only change with the version of the pod.
    documents: RwLock<Shelf>,
}

/// The answers from one snapshot.
#[derive(Default)]
struct Shelf {
    snapshot: Option<Arc<Snapshot>>,
    places: HashMap<Box<str>, Place>,
    bytes: usize,
}

/// The place of an answer, which may still have to be computed.
type Place = Arc<OnceCell<Answer>>;

/// A response without what depends on the client or on the clock.
struct Answer {
    headers: HeaderMap,
    body: Bytes,
    /// The compressed body once a client has accepted it, or `None` if compression would not help.
    compressed: OnceCell<Option<Bytes>>,
    /// `None` if the route is none of those whose responses may be cached.
    tag: Option<Tag>,
    validity: Validity,
}

/// The time on both clocks.
#[derive(Clone, Copy)]
struct Now {
    wall: Timestamp,
    steady: Instant,
}

/// How long an answer is valid.
#[derive(Clone, Copy)]
enum Validity {
    /// It does not depend on the log.
    Always,
    /// No future record can change it.
    Closed,
    /// It depends on the log, or on which prices are stale.
    Until {
        /// When it was requested. If the clock shows an earlier time, it was set back.
        from: Timestamp,
        /// The last instant at which the same prices are stale.
        until: Timestamp,
        /// The same instant on the monotonic clock, because the clock may be set back. `None` if there is none.
        expires: Option<Instant>,
        /// The last instant at which a cache may return it.
        cached_until: Timestamp,
    },
}

/// Answers a request, if possible without calling its route. Adds `Cache-Control` and `ETag`, compresses the body if
/// the client accepts that, and returns 304 if the client already has the answer.
pub(super) async fn answer(
    next: SharedEndpoint,
    request: Request,
    answers: Arc<Answers>,
) -> Result<Response> {
    let kind = Kind::of(&request);
    let known: Vec<HeaderValue> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let is_gzip_accepted = accepts_gzip(request.headers());
    let snapshot = request.data::<Arc<Snapshot>>().cloned();
    let key = kind.and_then(|kind| key(kind, &request)).zip(snapshot);
    let client = request.data::<Client>().copied();
    let now = answers.now();
    let send = async |answer: &Answer| -> Result<Response> {
        let (mut response, body) = answer.response(&known, is_gzip_accepted, now.wall, &answers).await;
        response.set_body(answers.unread.send(client, body)?);
        Ok(response)
    };
    // Allocated, so that the future of a request for a kept answer is small.
    let compute = |request| Box::pin(answers.compute(&next, request, kind));
    let Some((key, snapshot)) = key else {
        return match compute(request).await {
            Ok(answer) => send(&answer).await,
            Err(response) => response,
        };
    };
    let shelf = if kind == Some(Kind::Document) { &answers.documents } else { &answers.newest };
    let snapshot = (kind == Some(Kind::Log)).then_some(snapshot);
    let (place, is_kept) = place(shelf, snapshot.as_ref(), &key, now);
    let mut is_new = false;
    let computed = place
        .get_or_try_init(async || {
            is_new = true;
            compute(request).await
        })
        .await;
    match computed {
        Ok(answer) => {
            // This must not wait for the answer to be compressed: the client may give up meanwhile.
            if !is_new {
                answers.metrics.kept_answer();
            } else if is_kept {
                settle(shelf, &key, &place, answer.is_worth_keeping(answers.now()));
            }
            send(answer).await
        }
        Err(response) => {
            settle(shelf, &key, &place, false);
            response
        }
    }
}

/// What identifies an answer: the request target and the value of `Accept`, or only the path of a document. `None` if
/// the answer is not kept.
fn key(kind: Kind, request: &Request) -> Option<Box<str>> {
    if kind == Kind::Document {
        return Some(request.uri().path().into());
    }
    let target = request.uri().path_and_query()?.as_str();
    let mut accepted = request.headers().get_all(header::ACCEPT).iter();
    let accept = accepted.next().map_or(Some(""), |value| value.to_str().ok())?;
    let is_short = target.len() + accept.len() <= MAX_KEY_BYTES;
    // A target contains no space.
    (is_short && accepted.next().is_none()).then(|| [target, " ", accept].concat().into())
}

/// The place of an answer, and whether it is on the shelf. A place that is not on the shelf is only for this request.
fn place(shelf: &RwLock<Shelf>, snapshot: Option<&Arc<Snapshot>>, key: &str, now: Now) -> (Place, bool) {
    let is_current = |shelf: &Shelf| match (&shelf.snapshot, snapshot) {
        (Some(kept), Some(snapshot)) => Arc::ptr_eq(kept, snapshot),
        (kept, snapshot) => kept.is_none() && snapshot.is_none(),
    };
    let valid = |place: &Place| place.get().is_none_or(|answer| answer.is_valid_at(now));
    {
        let shelf = shelf.read().unwrap_or_else(PoisonError::into_inner);
        let found = shelf.places.get(key).filter(|place| valid(place));
        if let Some(place) = found.filter(|_| is_current(&shelf)) {
            return (place.clone(), true);
        }
    }
    let mut shelf = shelf.write().unwrap_or_else(PoisonError::into_inner);
    if !is_current(&shelf) {
        let is_older =
            |kept: &Arc<Snapshot>| snapshot.is_none_or(|snapshot| snapshot.sequence < kept.sequence);
        if shelf.snapshot.as_ref().is_some_and(is_older) {
            return (Place::default(), false);
        }
        *shelf = Shelf { snapshot: snapshot.cloned(), ..Shelf::default() };
    }
    if let Some(place) = shelf.places.get(key) {
        if valid(place) {
            return (place.clone(), true);
        }
        shelf.remove(key);
    }
    let place = Place::default();
    let has_room = shelf.places.len() < MAX_ANSWERS && shelf.bytes < MAX_BYTES;
    if has_room {
        shelf.places.insert(key.into(), place.clone());
    }
    (place, has_room)
}

/// Keeps the answer that has been computed in a place of a shelf, or removes the place.
fn settle(shelf: &RwLock<Shelf>, key: &str, place: &Place, is_kept: bool) {
    let mut shelf = shelf.write().unwrap_or_else(PoisonError::into_inner);
    // The shelf may be that of a newer snapshot by now.
    if !shelf.places.get(key).is_some_and(|kept| Arc::ptr_eq(kept, place)) {
        return;
    }
    let bytes = place.get().map_or(0, Answer::bytes);
    if is_kept && bytes <= MAX_ANSWER_BYTES && shelf.bytes + bytes <= MAX_BYTES {
        shelf.bytes += bytes;
    } else {
        shelf.places.remove(key);
    }
}

impl Shelf {
    /// Removes an answer that was kept.
    fn remove(&mut self, key: &str) {
        let removed = self.places.remove(key);
        let bytes = removed.as_ref().and_then(|place| place.get()).map_or(0, Answer::bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Answers {
    pub(super) fn new(state: Arc<State>, audience: Audience, metrics: Metrics) -> Self {
        Self {
            state,
            metrics,
            audience,
            unread: Arc::default(),
            newest: RwLock::default(),
            documents: RwLock::default(),
        }
    }

    fn now(&self) -> Now {
        Now { wall: self.state.clock.now(), steady: self.state.clock.steady() }
    }

    /// Calls the route. Returns its response in `Err` if it is not an answer that other clients could get, too: if it
    /// is an error or a stream.
    async fn compute(
        &self,
        next: &SharedEndpoint,
        mut request: Request,
        kind: Option<Kind>,
    ) -> Result<Answer, Result<Response>> {
        let lifetime = Lifetime::default();
        request.set_data(lifetime.clone());
        let snapshot = request.data::<Arc<Snapshot>>().cloned();
        let from = self.state.clock.now();
        let mut response = next.call(request).await.map(IntoResponse::into_response).map_err(Err)?;
        if response.status() != StatusCode::OK {
            return Err(Ok(response));
        }
        let Some(body) = whole(&mut response).await else { return Err(Ok(response)) };
        let validity = match snapshot.filter(|_| kind == Some(Kind::Log)) {
            _ if lifetime.is_closed() => Validity::Closed,
            Some(newest) => self.validity(lifetime.pinned().unwrap_or(&newest), &lifetime, from),
            None => Validity::Always,
        };
        let headers = std::mem::take(response.headers_mut());
        let tag = match kind {
            Some(_) => {
                let (bytes, content_type) = (body.len(), headers.get(header::CONTENT_TYPE).cloned());
                let body = body.clone();
                let tag = move || Tag::of(&body, content_type.as_ref());
                self.state.workers.finish(bytes, tag).await
            }
            None => None,
        };
        Ok(Answer { headers, body, compressed: OnceCell::new(), tag, validity })
    }

    fn validity(&self, snapshot: &Snapshot, lifetime: &Lifetime, from: Timestamp) -> Validity {
        let steady =
            self.state.steady_for(snapshot).map_or(lifetime.at_most(), |time| time.min(lifetime.at_most()));
        let (until, expires) = (from.plus(steady), self.state.clock.steady().checked_add(steady));
        let current = lifetime.at_most().min(self.state.time_to_live(snapshot));
        Validity::Until { from, until, expires, cached_until: self.state.clock.now().plus(current) }
    }
}

impl Answer {
    fn bytes(&self) -> usize {
        // The compressed body is not longer than the body.
        2 * self.body.len()
    }

    fn is_valid_at(&self, now: Now) -> bool {
        match self.validity {
            Validity::Always | Validity::Closed => true,
            Validity::Until { from, until, expires, .. } => {
                from <= now.wall && now.wall <= until && expires.is_none_or(|expires| now.steady <= expires)
            }
        }
    }

    /// Whether the answer may be kept. `now` is an instant after it was computed. If the answer is no longer valid by
    /// then, it is unknown which prices were stale when it was computed.
    fn is_worth_keeping(&self, now: Now) -> bool {
        let is_refused = |value: &HeaderValue| value.as_bytes() == b"no-store";
        self.is_valid_at(now) && !self.headers.get(header::CACHE_CONTROL).is_some_and(is_refused)
    }

    /// The response to a client that has the representations `known`, and its body.
    async fn response(
        &self,
        known: &[HeaderValue],
        is_gzip_accepted: bool,
        now: Timestamp,
        of: &Answers,
    ) -> (Response, Bytes) {
        let mut response = Response::default();
        let headers = response.headers_mut();
        headers.reserve(self.headers.len() + MORE_HEADERS);
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let compressed = match is_gzip_accepted && !self.headers.contains_key(header::CONTENT_ENCODING) {
            true => {
                let compress = async || compressed(&self.body, &of.state.workers).await;
                self.compressed.get_or_init(compress).await.clone()
            }
            false => None,
        };
        let headers = response.headers_mut();
        if let Some(tag) = &self.tag {
            headers.entry(header::CACHE_CONTROL).or_insert_with(|| self.cache_control(now, of.audience));
            if let Some(as_known) = tag.found_in(known) {
                headers.insert(header::ETAG, as_known);
                headers.remove(header::CONTENT_TYPE);
                response.set_status(StatusCode::NOT_MODIFIED);
                return (response, Bytes::new());
            }
            let tag = if compressed.is_some() { tag.weak() } else { tag.strong() };
            headers.insert(header::ETAG, tag);
        }
        if compressed.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        (response, compressed.unwrap_or_else(|| self.body.clone()))
    }

    fn cache_control(&self, now: Timestamp, audience: Audience) -> HeaderValue {
        match self.validity {
            Validity::Always => HeaderValue::from_static("no-cache"),
            Validity::Closed => audience.closed(),
            Validity::Until { cached_until, .. } => audience.revalidated(cached_until.since(now)),
        }
    }
}

//! Streams: the pod keeps the position of each client in the log.
//!
//! There are no queues per client. When a client is ready for more, the pod sends the events after the client's
//! position. Recent events come from memory, older ones from the store. So a slow client costs no more than a fast one.
//! A client that reconnects sends the position of its last event as a cursor, and continues there on any pod.

pub(crate) mod event_source;
mod follower;
mod frame;
mod handshake;
mod http;
mod reset;
mod socket;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{
    domain::{Pair, Timestamp},
    readiness::Check,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{State, view};
use crate::{
    dto::{CursorParameter, PairsParameter},
    metrics::Metrics,
    problem::{Code, Problem},
    stream_end::{StreamEnd, Transport},
};
use ledger::{
    events::Event,
    position::{Cursor, Position},
    snapshot::Snapshot,
    store::{Store, StoreError},
};

use follower::Follower;
pub(crate) use handshake::shake_hands;
pub(crate) use http::IsStream;
pub(super) use http::StreamApi;
pub(super) use socket::SocketApi;

/// The routes of streams.
pub(crate) const STREAM_PATHS: [&str; 2] = [EVENTS_PATH, SOCKET_PATH];

/// The route of streams over plain HTTP.
const EVENTS_PATH: &str = "/v1/stream";

/// The route of streams over a WebSocket.
const SOCKET_PATH: &str = "/v1/ws";

/// One in this many connections is reserved for requests, including those of operators.
const RESERVED_SHARE: usize = 6;

/// How long the process waits at shutdown for streams to end. The time is limited because a client that has stopped
/// reading never receives the end of its stream.
const END_LIMIT: Duration = Duration::from_secs(2);

/// The `Retry-After` if the pod has too many streams.
const RETRY_SECONDS: u64 = 10;

/// How long a client whose cursor is ahead of this pod waits for the pod to catch up, which usually takes a moment.
const AHEAD_MAX_WAIT: Duration = Duration::from_secs(2);

/// The `Retry-After` if what a client asks for may be in a part of the log that this pod has not read yet.
const BEHIND_RETRY_SECONDS: u64 = 1;

/// The header with the id of a client's last event.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// What all streams of a process share. Clones refer to the same streams.
#[derive(Debug, Clone)]
pub struct Streams {
    max_streams: usize,
    places: Arc<Semaphore>,
    open: TaskTracker,
    stop: CancellationToken,
    /// Whether the pod has read the log to its end.
    log: Check,
    metrics: Metrics,
}

/// A place among the open streams. Dropping it frees the place for another stream.
#[derive(Debug)]
struct Place {
    transport: Transport,
    metrics: Metrics,
    _place: OwnedSemaphorePermit,
    _open: TaskTrackerToken,
}

impl Streams {
    /// Creates the streams of a process that allows this many connections. The streams end when `stop` is cancelled.
    /// `log` is ready once the pod has read the log to its end.
    pub fn new(connections: usize, stop: CancellationToken, log: Check, metrics: Metrics) -> Self {
        let max_streams = max_streams(connections);
        let places = Arc::new(Semaphore::new(max_streams));
        Self { max_streams, places, open: TaskTracker::new(), stop, log, metrics }
    }

    /// Waits a limited time until all streams have ended. Call this when `stop` is cancelled, which ends the streams.
    pub async fn ended(&self) {
        self.open.close();
        let _ = tokio::time::timeout(END_LIMIT, self.open.wait()).await;
    }

    fn place(&self, transport: Transport) -> Result<Place, Problem> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let detail = format!("this pod already has {} streams; use another pod", self.max_streams);
            return Err(Problem::new(Code::TooManyStreams, detail).retry_after(RETRY_SECONDS));
        };
        let metrics = self.metrics.clone();
        metrics.stream_clients(transport).inc();
        Ok(Place { transport, metrics, _place: place, _open: self.open.token() })
    }
}

/// How many of a process's connections may be streams.
pub(crate) fn max_streams(connections: usize) -> usize {
    connections - connections / RESERVED_SHARE
}

impl Place {
    fn ended(&self, end: StreamEnd) {
        self.metrics.stream_ended(self.transport, end);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.stream_clients(self.transport).dec();
    }
}

/// What a client subscribed to.
#[derive(Debug)]
struct Subscription {
    /// The pairs. `None` stands for all pairs of the log, including those that are added later.
    pairs: Pairs,
    /// The position to continue after. `None` starts with the newest events.
    after: Option<Position>,
}

impl Subscription {
    fn includes(&self, pair: Pair) -> bool {
        self.pairs.as_ref().is_none_or(|pairs| pairs.contains(&pair))
    }

    /// Whether an event is part of the stream. A client that starts with the newest events has not asked for the past,
    /// even if it is being added right now.
    fn wants(&self, event: &Event) -> bool {
        self.includes(event.pair()) && (self.after.is_some() || !event.tick_or_gap.is_backfilled())
    }

    /// The subscribed pairs of the log. For each pair, the range of slots whose records are kept.
    fn ranges(&self, state: &State, snapshot: &Snapshot) -> Vec<Range> {
        let subscribed = snapshot.pairs.iter().filter(|(pair, _)| self.includes(**pair));
        subscribed.map(|(pair, view)| (*pair, state.history_from(view), view.slot.start().next())).collect()
    }
}

/// A pair, and a range of its slots.
type Range = (Pair, Timestamp, Timestamp);

/// Whether the store still has everything after a position in these ranges. For the zero position the result is always
/// true, because a client that sends it gets whatever is kept.
fn reaches_back(store: &Store, ranges: &[Range], after: Position) -> Result<bool, StoreError> {
    if after == Position::default() {
        return Ok(true);
    }
    let reaches = |(pair, from, _): &Range| store.is_complete_after(*pair, after, *from);
    ranges.iter().map(reaches).try_fold(true, |all, reaches| Ok(all && reaches?))
}

/// The pairs that a client names, or `None` for all pairs.
type Pairs = Option<BTreeSet<Pair>>;

fn named_pairs(parameter: Option<PairsParameter>) -> Pairs {
    parameter.map(|pairs| pairs.0.0.into_iter().collect())
}

/// The cursor to continue after, and the parameter that it came from.
#[derive(Debug)]
struct After {
    cursor: Cursor,
    parameter: &'static str,
}

impl After {
    fn named(parameter: &'static str, cursor: Option<CursorParameter>) -> Option<Self> {
        cursor.map(|cursor| Self { cursor: cursor.0, parameter })
    }

    fn unknown(&self, detail: String) -> Problem {
        Problem::new(Code::UnknownCursor, detail).naming(self.parameter)
    }

    fn is_of_log(&self, snapshot: &Snapshot) -> Result<(), Problem> {
        match &self.cursor.log {
            Some(log) if *log != snapshot.identity.to_string() => {
                Err(self.unknown("this cursor belongs to another log; reconnect without it".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// Checks a subscription against the log and starts to follow the log.
async fn follow(
    state: &Arc<State>,
    pairs: Pairs,
    after: Option<After>,
    transport: Transport,
) -> Result<Follower, Problem> {
    let place = state.streams.place(transport)?;
    let mut snapshots = state.snapshots.clone();
    if let Some(after) = &after {
        after.is_of_log(&snapshots.borrow())?;
    }
    let ahead = after.as_ref().map(|after| after.cursor.position.sequence);
    let arrived = snapshots.wait_for(|snapshot| ahead.is_none_or(|ahead| ahead <= snapshot.sequence));
    // If the pod does not catch up in time, the check below refuses the cursor.
    let _ = tokio::time::timeout(AHEAD_MAX_WAIT, arrived).await;
    let snapshot = snapshots.borrow_and_update().clone();
    // A pod that is still reading the log may know more in a moment.
    let perhaps_later = |problem: Problem| match state.streams.log.is_ready() {
        true => problem,
        false => problem.retry_after(BEHIND_RETRY_SECONDS),
    };
    for pair in pairs.iter().flatten() {
        view(&snapshot, *pair).map_err(|problem| perhaps_later(problem.naming("pairs")))?;
    }
    if let Some(after) = after.as_ref().filter(|after| after.cursor.position.sequence > snapshot.sequence) {
        let (ahead, newest) = (after.cursor.position.sequence, snapshot.sequence);
        let detail = format!(
            "the cursor is at {ahead}, but this pod's log ends at {newest}; retry, or reconnect without a cursor"
        );
        return Err(perhaps_later(after.unknown(detail)));
    }
    let subscription = Subscription { pairs, after: after.as_ref().map(|after| after.cursor.position) };
    if let Some((after, position)) = after.as_ref().zip(subscription.after)
        && snapshot.recent.after(position).is_none()
    {
        let (reading, ranges) = (state.clone(), subscription.ranges(state, &snapshot));
        let reaches = move || Ok(reaches_back(&reading.store, &ranges, position)?);
        if !state.readers.read(reaches).await? {
            let detail = "the events after this cursor are no longer kept; use after=0 for everything that is kept, or \
                          no cursor to start with the newest events";
            return Err(Problem::new(Code::SequenceGone, detail).naming(after.parameter));
        }
    }
    Ok(Follower::new(state, snapshots, &snapshot, subscription, place))
}

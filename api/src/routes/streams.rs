//! Streams: a client is a cursor over the log.
//!
//! There is no queue for anybody. A client that can take more is given what lies behind its cursor: from memory,
//! where the newest events are, or else from the store. So a slow client costs no more than a quick one, and one
//! that comes back goes on where it was, on any pod.

mod follower;
mod frame;
mod http;
mod socket;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::domain::{Pair, Timestamp};
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
    position::{Cursor, Position},
    snapshot::Snapshot,
    store::{Store, StoreError},
};

use follower::Follower;
pub(super) use http::StreamApi;
pub(super) use socket::SocketApi;

/// So many of all connections are left over for requests, the operators' among them: one of these.
const LEFT_OVER: usize = 6;

/// How long streams may take to end. Who takes nothing any more cannot be told.
const END_LIMIT: Duration = Duration::from_secs(2);

/// When to come back, if all places are taken.
const RETRY_SECONDS: u64 = 10;

/// How long a client that is ahead of this pod waits for it. Pods are a moment apart, and a browser that is refused
/// does not come back by itself.
const AHEAD_PATIENCE: Duration = Duration::from_secs(2);

/// What all streams of a process share. Clones are the same.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Streams at once.
    most: usize,
    places: Arc<Semaphore>,
    open: TaskTracker,
    stop: CancellationToken,
    metrics: Metrics,
}

/// A client's place among the streams, for as long as its stream lasts.
#[derive(Debug)]
struct Place {
    transport: Transport,
    metrics: Metrics,
    _place: OwnedSemaphorePermit,
    _open: TaskTrackerToken,
}

impl Streams {
    /// Streams that end when they are told to stop, among so many connections at most.
    pub fn new(connections: usize, stop: CancellationToken, metrics: Metrics) -> Self {
        let most = connections - connections / LEFT_OVER;
        Self { most, places: Arc::new(Semaphore::new(most)), open: TaskTracker::new(), stop, metrics }
    }

    /// Waits until all have ended, with a bound. They do so soon after they were told to stop.
    pub async fn ended(&self) {
        self.open.close();
        let _ = tokio::time::timeout(END_LIMIT, self.open.wait()).await;
    }

    fn place(&self, transport: Transport) -> Result<Place, Problem> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let detail = format!("{} clients are following here already; ask another pod", self.most);
            return Err(Problem::new(Code::TooManyStreams, detail).retry_after(RETRY_SECONDS));
        };
        let metrics = self.metrics.clone();
        metrics.stream_clients(transport).inc();
        Ok(Place { transport, metrics, _place: place, _open: self.open.token() })
    }
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

/// What a client asked for: some pairs, or all, also those to come; from a place in the log on, or the newest.
#[derive(Debug)]
struct Wanted {
    pairs: Option<BTreeSet<Pair>>,
    behind: Option<Position>,
}

impl Wanted {
    fn includes(&self, pair: Pair) -> bool {
        self.pairs.as_ref().is_none_or(|pairs| pairs.contains(&pair))
    }

    /// The pairs of the log among these, and the slots of each that are told of.
    fn ranges(&self, state: &State, snapshot: &Snapshot) -> Vec<Range> {
        let wanted = snapshot.pairs.iter().filter(|(pair, _)| self.includes(**pair));
        wanted.map(|(pair, view)| (*pair, state.history_from(view), view.slot.start().next())).collect()
    }
}

/// A pair, and the slots of it from one instant up to another.
type Range = (Pair, Timestamp, Timestamp);

/// Whether nothing behind a position is missing from these ranges. From the very beginning, whatever is there is all
/// that there is.
fn reaches_back(store: &Store, ranges: &[Range], behind: Position) -> Result<bool, StoreError> {
    if behind == Position::default() {
        return Ok(true);
    }
    let reaches = |(pair, from, _): &Range| store.reaches_back(*pair, behind, *from);
    ranges.iter().map(reaches).try_fold(true, |all, reaches| Ok(all && reaches?))
}

/// Where a client wants to go on, and the parameter that said so.
#[derive(Debug)]
struct After {
    cursor: Cursor,
    parameter: &'static str,
}

impl After {
    fn named(parameter: &'static str, cursor: Option<CursorParameter>) -> Option<Self> {
        cursor.map(|cursor| Self { cursor: cursor.0, parameter })
    }

    fn unknown<T>(&self, detail: String) -> Result<T, Problem> {
        Err(Problem::new(Code::UnknownCursor, detail).naming(self.parameter))
    }

    fn is_of_log(&self, snapshot: &Snapshot) -> Result<(), Problem> {
        match &self.cursor.log {
            Some(log) if *log != snapshot.identity.to_string() => {
                self.unknown("that cursor is of another log; begin anew, without it".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Holds what was asked for against the log, and begins to follow it.
async fn follow(
    state: &Arc<State>,
    pairs: Option<PairsParameter>,
    after: Option<After>,
    transport: Transport,
) -> Result<Follower, Problem> {
    let pairs = pairs.map(|pairs| pairs.0.0.into_iter().collect::<BTreeSet<_>>());
    let place = state.streams.place(transport)?;
    let mut snapshots = state.snapshots.clone();
    if let Some(after) = &after {
        after.is_of_log(&snapshots.borrow())?;
    }
    let ahead = after.as_ref().map(|after| after.cursor.position.sequence);
    let arrived = snapshots.wait_for(|snapshot| ahead.is_none_or(|ahead| ahead <= snapshot.sequence));
    // Where it does not come in time, that is found out below.
    let _ = tokio::time::timeout(AHEAD_PATIENCE, arrived).await;
    let snapshot = snapshots.borrow_and_update().clone();
    for pair in pairs.iter().flatten() {
        view(&snapshot, *pair).map_err(|problem| problem.naming("pairs"))?;
    }
    if let Some(after) = after.as_ref().filter(|after| after.cursor.position.sequence > snapshot.sequence) {
        let (ahead, newest) = (after.cursor.position.sequence, snapshot.sequence);
        return after.unknown(format!(
            "{ahead} is beyond the end of the log here, {newest}; ask again, or begin anew"
        ));
    }
    let wanted = Wanted { pairs, behind: after.as_ref().map(|after| after.cursor.position) };
    if let Some((after, behind)) = after.as_ref().zip(wanted.behind)
        && snapshot.recent.behind(behind).is_none()
    {
        let (reading, ranges) = (state.clone(), wanted.ranges(state, &snapshot));
        let reaches = move || Ok(reaches_back(&reading.store, &ranges, behind)?);
        if !state.readers.read(reaches).await? {
            let detail =
                "that is longer ago than history reaches; begin with after=0 for all there is, or without";
            return Err(Problem::new(Code::SequenceGone, detail).naming(after.parameter));
        }
    }
    Ok(Follower::new(state, snapshots, &snapshot, wanted, place))
}

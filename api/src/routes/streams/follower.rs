//! One client's way through the log.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use common::bus::LogIdentity;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Place, Range, State, StreamEnd, Wanted, reaches_back};
use crate::problem::Code;
use ledger::{
    events::Event,
    position::Position,
    snapshot::Snapshot,
    store::{Store, StoreError},
};

/// After so much silence a sign of life is sent.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream lasts at most.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// Events that are given at once from memory: a client that is about to be cut off should not hold many.
const CHUNK: usize = 64;

/// Events that are read from the store at once: a block of a pair or two.
const PAGE: usize = 256;

/// How much further behind the log than it has been before a client may fall.
const MAX_FALLING_BEHIND: u64 = 10_000;

/// What comes next on a stream.
pub(super) enum Step {
    /// Events, in the order of the log.
    Events(Vec<Arc<Event>>),
    /// Nothing for a while.
    Quiet,
    /// Nothing more.
    End(StreamEnd),
}

/// A cursor over the log.
pub(super) struct Follower {
    /// Not held on to: a client that takes nothing must not keep a store open that is to be replaced.
    state: Weak<State>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    wanted: Wanted,
    /// What a client without a cursor begins with.
    first: Option<Vec<Arc<Event>>>,
    /// Everything up to here was given, or not wanted.
    position: Position,
    least_lag: u64,
    log: LogIdentity,
    stop: CancellationToken,
    heartbeat: Instant,
    end_of_life: Instant,
    place: Place,
}

impl Follower {
    pub(super) fn new(
        state: &Arc<State>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        newest: &Snapshot,
        wanted: Wanted,
        place: Place,
    ) -> Self {
        let now = Instant::now();
        let position = wanted.behind.unwrap_or(Position::behind(newest.sequence));
        let first = wanted.behind.is_none().then(|| newest.newest_events(|pair| wanted.includes(pair)));
        Self {
            state: Arc::downgrade(state),
            snapshots,
            wanted,
            first: first.filter(|events| !events.is_empty()),
            position,
            least_lag: u64::MAX,
            log: newest.identity.clone(),
            stop: state.streams.stop.clone(),
            heartbeat: now + HEARTBEAT,
            end_of_life: now + MAX_LIFE,
            place,
        }
    }

    /// The log that is followed.
    pub(super) fn log(&self) -> &LogIdentity {
        &self.log
    }

    /// What comes next. Whoever does not wait for it to the end loses nothing.
    pub(super) async fn next(&mut self) -> Step {
        let step = match self.events().await {
            Ok(events) => {
                self.heartbeat = Instant::now() + HEARTBEAT;
                Step::Events(events)
            }
            Err(None) => {
                self.heartbeat = Instant::now() + HEARTBEAT;
                Step::Quiet
            }
            Err(Some(end)) => Step::End(end),
        };
        if let Step::End(end) = step {
            self.place.ended(end);
        }
        step
    }

    /// The next events, or why there are none: an end, or nothing but time that passed.
    async fn events(&mut self) -> Result<Vec<Arc<Event>>, Option<StreamEnd>> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            if self.stop.is_cancelled() {
                return Err(Some(StreamEnd::ShuttingDown));
            }
            let snapshot = self.snapshots.borrow_and_update().clone();
            self.keeps_up(&snapshot)?;
            let events = match snapshot.recent.behind(self.position) {
                Some(recent) => {
                    let wanted = recent.filter(|event| self.wanted.includes(event.pair()));
                    wanted.take(CHUNK).cloned().collect::<Vec<_>>()
                }
                None => self.read(&snapshot).await?,
            };
            if let Some(last) = events.last() {
                self.position = last.position;
                return Ok(events);
            }
            self.position = self.position.max(Position::behind(snapshot.sequence));
            drop(snapshot);
            tokio::select! {
                changed = self.snapshots.changed() => {
                    if changed.is_err() {
                        let stopping = self.stop.is_cancelled();
                        return Err(Some(if stopping { StreamEnd::ShuttingDown } else { StreamEnd::LogReplaced }));
                    }
                }
                () = self.stop.cancelled() => {}
                () = sleep_until(self.heartbeat) => return Err(None),
                () = sleep_until(self.end_of_life) => return Err(Some(StreamEnd::TooLong)),
            }
        }
    }

    /// Whether the client does not fall ever further behind.
    fn keeps_up(&mut self, snapshot: &Snapshot) -> Result<(), Option<StreamEnd>> {
        let lag = snapshot.sequence.0.saturating_sub(self.position.sequence.0);
        self.least_lag = self.least_lag.min(lag);
        match lag > self.least_lag.saturating_add(MAX_FALLING_BEHIND) {
            true => Err(Some(StreamEnd::TooSlow)),
            false => Ok(()),
        }
    }

    /// The next events, from the store.
    async fn read(&self, snapshot: &Arc<Snapshot>) -> Result<Vec<Arc<Event>>, Option<StreamEnd>> {
        let Some(state) = self.state.upgrade() else { return Err(Some(StreamEnd::LogReplaced)) };
        let ranges = self.wanted.ranges(&state, snapshot);
        let (reading, snapshot, behind) = (state.clone(), snapshot.clone(), self.position);
        let page = move || Ok(page(&reading.store, &snapshot, &ranges, behind)?);
        match state.readers.read(page).await {
            Ok(Some(events)) => Ok(events),
            Ok(None) => Err(Some(StreamEnd::HistoryGone)),
            // All places are taken. It has waited, and will again.
            Err(problem) if problem.code() == Code::Busy => Err(None),
            Err(problem) => {
                tracing::warn!(%problem, "a stream ends, because the store cannot be read");
                Err(Some(StreamEnd::StoreUnavailable))
            }
        }
    }
}

/// The next events of some pairs; nothing where history does not reach back to them any more.
fn page(
    store: &Store,
    snapshot: &Snapshot,
    ranges: &[Range],
    behind: Position,
) -> Result<Option<Vec<Arc<Event>>>, StoreError> {
    let mut events = Vec::new();
    let Some(origin) = snapshot.origin else { return Ok(Some(events)) };
    if !reaches_back(store, ranges, behind)? {
        return Ok(None);
    }
    for placed in store.placed(ranges, behind)? {
        let (position, covering) = placed?;
        // The store may be ahead of the snapshot.
        if position.sequence > snapshot.sequence || events.len() == PAGE {
            break;
        }
        events.push(Arc::new(Event::new(position, covering, origin)));
    }
    Ok(Some(events))
}

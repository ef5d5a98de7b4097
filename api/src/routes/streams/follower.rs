//! Follows the log for one client.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use common::{
    bus::LogIdentity,
    domain::{Pair, Sequence},
};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Place, Range, State, StreamEnd, Subscription, reaches_back};
use crate::problem::Code;
use ledger::{
    events::Event,
    position::Position,
    snapshot::Snapshot,
    store::{Store, StoreError},
};

/// The time without events after which a heartbeat is sent.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The longest that a stream may last.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// How many events are taken from memory at once. The number is small so that a client that does not read holds little
/// memory.
const CHUNK: usize = 64;

/// How many events are read from the store at once: one or two blocks of a pair.
const PAGE: usize = 256;

/// How far a client may fall behind: the number of records by which its lag may exceed the smallest lag that it has
/// had.
const MAX_FALLING_BEHIND: u64 = 10_000;

/// What to send next on a stream.
pub(super) enum Step {
    /// Events in the order of the log.
    Events(Vec<Arc<Event>>),
    /// A heartbeat.
    Heartbeat,
    /// The end of the stream.
    End(StreamEnd),
}

/// Follows the log for one client: keeps the client's position, and returns the events after it.
pub(super) struct Follower {
    /// A weak reference, so that a client that has stopped reading does not keep a store open that is being replaced.
    state: Weak<State>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    subscription: Subscription,
    /// The first events of a client without a cursor.
    first: Option<Vec<Arc<Event>>>,
    /// Every event up to this position was either sent or is not part of the subscription.
    position: Position,
    /// For a client that began at the zero position: the pairs of which it has got events. Of the other pairs, it gets
    /// whatever is kept by then. So a pair that stopped long ago does not keep the client from the others.
    begun: Option<BTreeSet<Pair>>,
    least_lag: u64,
    log: LogIdentity,
    stop: CancellationToken,
    /// Waits for `stop`. This and `timer` are kept, because creating them for each event would take locks that all clients
    /// share.
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Ends at `heartbeat` or earlier.
    timer: Pin<Box<Sleep>>,
    heartbeat: Instant,
    end_of_life: Instant,
    place: Place,
}

impl Follower {
    pub(super) fn new(
        state: &Arc<State>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        newest: &Snapshot,
        subscription: Subscription,
        place: Place,
    ) -> Self {
        let now = Instant::now();
        let position = subscription.after.unwrap_or(Position::after(newest.sequence));
        let is_new = subscription.after.is_none();
        let first = is_new.then(|| {
            let mut events = newest.newest_events(|pair| subscription.includes(pair));
            events.retain(|event| subscription.wants(event));
            events
        });
        Self {
            state: Arc::downgrade(state),
            snapshots,
            begun: (subscription.after == Some(Position::default())).then(BTreeSet::new),
            subscription,
            first: first.filter(|events| !events.is_empty()),
            position,
            least_lag: u64::MAX,
            log: newest.identity.clone(),
            stop: state.streams.stop.clone(),
            stopped: Box::pin(state.streams.stop.clone().cancelled_owned()),
            timer: Box::pin(sleep_until(now + HEARTBEAT)),
            heartbeat: now + HEARTBEAT,
            end_of_life: now + MAX_LIFE,
            place,
        }
    }

    pub(super) fn log(&self) -> &LogIdentity {
        &self.log
    }

    /// The last record before the next events. Before a client without a cursor has its first events, it is the newest
    /// record of the log.
    pub(super) fn sequence(&self) -> Sequence {
        self.position.last()
    }

    /// Waits for the next step. This method is cancel safe: dropping its future loses no events.
    pub(super) async fn next(&mut self) -> Step {
        let step = match self.events().await {
            Ok(events) => {
                self.heartbeat = Instant::now() + HEARTBEAT;
                Step::Events(events)
            }
            Err(None) => {
                self.heartbeat = Instant::now() + HEARTBEAT;
                Step::Heartbeat
            }
            Err(Some(end)) => Step::End(end),
        };
        if let Step::End(end) = step {
            self.place.ended(end);
        }
        step
    }

    /// The next events. The error is the reason why the stream ends, or `None` if it is time for a heartbeat.
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
            let events = match snapshot.recent.after(self.position) {
                Some(recent) => {
                    let subscribed = recent.filter(|event| self.subscription.wants(event));
                    subscribed.take(CHUNK).cloned().collect::<Vec<_>>()
                }
                None => {
                    let mut events = self.read(&snapshot).await?;
                    let last = events.last().map(|event| event.position);
                    events.retain(|event| self.subscription.wants(event));
                    if let (true, Some(last)) = (events.is_empty(), last) {
                        // There may be more in the store behind these.
                        self.position = last;
                        continue;
                    }
                    events
                }
            };
            if let Some(last) = events.last() {
                self.position = last.position;
                if let Some(begun) = &mut self.begun {
                    begun.extend(events.iter().map(|event| event.pair()));
                }
                return Ok(events);
            }
            self.position = self.position.max(Position::after(snapshot.sequence));
            drop(snapshot);
            tokio::select! {
                changed = self.snapshots.changed() => {
                    if changed.is_err() {
                        let stopping = self.stop.is_cancelled();
                        return Err(Some(if stopping { StreamEnd::ShuttingDown } else { StreamEnd::LogReplaced }));
                    }
                }
                () = self.stopped.as_mut() => {}
                () = self.timer.as_mut() => self.wake_up()?,
            }
        }
    }

    /// Decides what to do when the timer has ended, and starts it again.
    fn wake_up(&mut self) -> Result<(), Option<StreamEnd>> {
        let now = Instant::now();
        let is_due = now >= self.heartbeat;
        self.timer.as_mut().reset(if is_due { now + HEARTBEAT } else { self.heartbeat });
        match (now >= self.end_of_life, is_due) {
            (true, _) => Err(Some(StreamEnd::TooLong)),
            (false, true) => Err(None),
            (false, false) => Ok(()),
        }
    }

    /// Ends the stream if the client reads more slowly than records arrive, so that its lag grows too much.
    fn keeps_up(&mut self, snapshot: &Snapshot) -> Result<(), Option<StreamEnd>> {
        let lag = snapshot.sequence.0.saturating_sub(self.position.sequence.0);
        self.least_lag = self.least_lag.min(lag);
        match lag > self.least_lag.saturating_add(MAX_FALLING_BEHIND) {
            true => Err(Some(StreamEnd::TooSlow)),
            false => Ok(()),
        }
    }

    /// Reads the next events from the store.
    async fn read(&self, snapshot: &Arc<Snapshot>) -> Result<Vec<Arc<Event>>, Option<StreamEnd>> {
        let Some(state) = self.state.upgrade() else { return Err(Some(StreamEnd::LogReplaced)) };
        let ranges = self.subscription.ranges(&state, snapshot);
        let needs_all = |pair: &Pair| self.begun.as_ref().is_none_or(|begun| begun.contains(pair));
        let needed: Vec<Range> = ranges.iter().filter(|(pair, ..)| needs_all(pair)).copied().collect();
        let (reading, snapshot, after) = (state.clone(), snapshot.clone(), self.position);
        let page = move || Ok(page(&reading.store, &snapshot, &ranges, &needed, after)?);
        match state.readers.read(page).await {
            Ok(Some(events)) => Ok(events),
            Ok(None) => Err(Some(StreamEnd::HistoryGone)),
            // Too many other requests are reading the store. Send a heartbeat, after which the stream tries again.
            Err(problem) if problem.code() == Code::Busy => Err(None),
            Err(problem) => {
                tracing::warn!(event = "stream_read_failed", %problem, "reading the store failed; ending a stream");
                Err(Some(StreamEnd::StoreUnavailable))
            }
        }
    }
}

/// The next events after a position, or `None` if the store no longer has every event of the `needed` ranges after that
/// position.
fn page(
    store: &Store,
    snapshot: &Snapshot,
    ranges: &[Range],
    needed: &[Range],
    after: Position,
) -> Result<Option<Vec<Arc<Event>>>, StoreError> {
    let mut events = Vec::new();
    let Some(origin) = snapshot.origin else { return Ok(Some(events)) };
    if !reaches_back(store, needed, after)? {
        return Ok(None);
    }
    for placed in store.ticks_and_gaps_after(ranges, after)? {
        let (position, tick_or_gap) = placed?;
        // The store may already have records that are newer than the snapshot.
        if position.sequence > snapshot.sequence || events.len() == PAGE {
            break;
        }
        events.push(Arc::new(Event::new(position, tick_or_gap, origin)));
    }
    Ok(Some(events))
}

//! The chain of records: each pair's slots in order, without holes or repeats, fenced by the log.
//!
//! One rule covers start, restart, a paused process, a full queue and a log that was away: before a
//! slot's record is appended, a gap is appended for every slot since the pair's newest record.
//!
//! And one rule covers every append whose fate is not known: try the same record again under the same
//! fence. If the log says that there is a newer record than expected, the newest one is read: if it is
//! ours, the first try had succeeded; if not, somebody else writes this log, and we stop.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    bus::{AppendError, LogWriter, Newest, ReadError},
    domain::{Body, Epoch, Gap, GapCause, Interval, Lead, Origin, Pair, Record, Sequence, Slot, Timestamp},
    service::TaskError,
    telemetry::chain,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{config::Settings, metrics::Metrics};

/// How many polled slots wait for a log that is away: an hour at the default interval. Later ones are
/// dropped, and covered by a gap.
const QUEUE_SLOTS: usize = 360;

/// The pause between tries of an append.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What was polled for one slot.
#[derive(Debug)]
pub struct PolledSlot {
    /// The slot.
    pub slot: Slot,
    /// Each pair's tick, or the gap in its place.
    pub bodies: Vec<(Pair, Body)>,
}

/// Why publishing ended.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Somebody else wrote to the log.
    #[error(
        "another poller writes this log: {pair} has a record of epoch {theirs}, ours is {ours}; run one poller per log"
    )]
    Fenced {
        /// Where it was noticed.
        pair: Pair,
        /// Our term.
        ours: Epoch,
        /// The other's.
        theirs: Epoch,
    },
    /// The log's newest record cannot be continued.
    #[error("cannot write this log")]
    Log(#[source] ReadError),
    /// Real and invented prices would be mixed.
    #[error(
        "this log holds {theirs} prices, these sources give {ours} ones: use another log \
         (bus.stream and bus.subject_prefix, or store.path for the one in the process)"
    )]
    Origin {
        /// What we would write.
        ours: Origin,
        /// What is there.
        theirs: Origin,
    },
    /// We were told to stop; the rest is covered by a gap at the next start.
    #[error("stopped")]
    Stopped,
}

/// A bounded queue from the slot loop to the publisher.
pub fn queue() -> (mpsc::Sender<PolledSlot>, mpsc::Receiver<PolledSlot>) {
    mpsc::channel(QUEUE_SLOTS)
}

/// Publishes what was polled.
pub struct Publisher {
    writer: Arc<dyn LogWriter>,
    pairs: Vec<Pair>,
    interval: Interval,
    origin: Origin,
    metrics: Metrics,
}

/// The newest record of a pair, as far as we know.
#[derive(Debug, Clone, Copy)]
struct Link {
    sequence: Sequence,
    covered: Option<Timestamp>,
    /// Why slots that are missing from here on are missing.
    cause: GapCause,
}

/// What the log says about a record whose fate was not known.
enum Proof {
    /// It is there, and this is the position after which to go on.
    Stored(Sequence),
    /// It is not; append it after this position.
    TryAgain(Sequence),
}

/// A leader's term: its epoch, and each pair's chain.
struct Term {
    epoch: Epoch,
    chain: BTreeMap<Pair, Link>,
}

impl Publisher {
    /// A publisher for checked settings.
    pub fn new(settings: &Settings, writer: Arc<dyn LogWriter>, metrics: Metrics) -> Self {
        let Settings { interval, origin, .. } = *settings;
        Self { writer, pairs: settings.pairs.clone(), interval, origin, metrics }
    }

    /// Publishes until the slot loop ends, or until stopped while the log does not answer.
    pub async fn run(
        self,
        mut slots: mpsc::Receiver<PolledSlot>,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let published = async {
            let mut term = self.begin(&stop).await?;
            while let Some(polled) = slots.recv().await {
                for (pair, body) in polled.bodies {
                    self.publish(&mut term, pair, body, &stop).await?;
                }
            }
            Ok(())
        };
        match published.await {
            Err(PublishError::Stopped) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes over the chains: reads each pair's newest record, and appends a lead record to it.
    async fn begin(&self, stop: &CancellationToken) -> Result<Term, PublishError> {
        let theirs = self.read(stop, || self.writer.origin()).await?;
        if let Some(theirs) = theirs.filter(|theirs| *theirs != self.origin) {
            return Err(PublishError::Origin { ours: self.origin, theirs });
        }
        let mut chain = BTreeMap::new();
        let mut newest_epoch = Epoch(0);
        for pair in &self.pairs {
            let Newest { sequence, record } = self.newest(*pair, stop).await?;
            newest_epoch = record.as_ref().map_or(newest_epoch, |record| newest_epoch.max(record.epoch));
            let covered = record.and_then(|record| record.covers_up_to());
            chain.insert(*pair, Link { sequence, covered, cause: GapCause::NoLeader });
        }
        let mut term = Term { epoch: newest_epoch.next(), chain };
        for pair in &self.pairs {
            let covered = term.chain.get(pair).and_then(|link| link.covered);
            self.append(&mut term, *pair, Body::Lead(Lead { covered }), stop).await?;
        }
        tracing::info!(epoch = %term.epoch, "leading");
        Ok(term)
    }

    /// Appends a slot's record, and before it the gap since the newest one.
    async fn publish(
        &self,
        term: &mut Term,
        pair: Pair,
        body: Body,
        stop: &CancellationToken,
    ) -> Result<(), PublishError> {
        let slot = match &body {
            Body::Tick(tick) => tick.slot,
            Body::Gap(gap) => gap.slot,
            Body::Lead(_) => return self.append(term, pair, body, stop).await,
        };
        if let Some(Link { covered: Some(covered), cause, .. }) = term.chain.get(&pair).copied() {
            if slot.start() <= covered {
                // The clock was set back: this slot is in the log already.
                tracing::warn!(%pair, %slot, "the log covers this slot already; was the clock set back?");
                return Ok(());
            }
            let from = self.interval.after(covered);
            if from < slot {
                let last = self.interval.before(slot);
                tracing::warn!(%pair, %from, to = %last, %cause, "slots have passed without a price");
                let gap = Gap { from, slot: last, interval: self.interval, cause, evidence: None };
                self.append(term, pair, Body::Gap(gap), stop).await?;
            }
        }
        self.append(term, pair, body, stop).await?;
        if let Some(link) = term.chain.get_mut(&pair) {
            link.cause = GapCause::Missed;
        }
        Ok(())
    }

    /// Appends a record for certain: returns once it is known to be stored, or never can be.
    async fn append(
        &self,
        term: &mut Term,
        pair: Pair,
        body: Body,
        stop: &CancellationToken,
    ) -> Result<(), PublishError> {
        let Some(link) = term.chain.get_mut(&pair) else { return Ok(()) };
        let record = Record { pair, epoch: term.epoch, origin: self.origin, body };
        let mut told = false;
        let sequence = loop {
            match self.writer.append(&record, link.sequence).await {
                Ok(sequence) => break sequence,
                Err(AppendError::WrongLastSequence) => match self.prove(&record, link, stop).await? {
                    Proof::Stored(sequence) => break sequence,
                    Proof::TryAgain(sequence) => link.sequence = sequence,
                },
                Err(AppendError::Unconfirmed(error)) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(reason = chain(&*error), "the log does not take records; trying on");
                    }
                }
            }
            self.metrics.retries.inc();
            pause(stop).await?;
        };
        if told {
            tracing::info!("the log takes records again");
        }
        *link = Link { sequence, covered: record.covers_up_to(), ..*link };
        self.metrics.published(&record.body);
        Ok(())
    }

    /// After "wrong last sequence": what the newest record says about the one we were appending.
    async fn prove(
        &self,
        record: &Record,
        link: &Link,
        stop: &CancellationToken,
    ) -> Result<Proof, PublishError> {
        let pair = record.pair;
        let Newest { sequence, record: newest } = self.newest(pair, stop).await?;
        let Some(newest) = newest else { return Ok(Proof::TryAgain(sequence)) };
        if newest == *record {
            return Ok(Proof::Stored(sequence));
        }
        if newest.epoch > record.epoch || newest.covers_up_to() > link.covered {
            return Err(PublishError::Fenced { pair, ours: record.epoch, theirs: newest.epoch });
        }
        if sequence != link.sequence {
            tracing::warn!(%pair, %sequence, "somebody put a message that is no record into the log");
        }
        Ok(Proof::TryAgain(sequence))
    }

    async fn newest(&self, pair: Pair, stop: &CancellationToken) -> Result<Newest, PublishError> {
        self.read(stop, || self.writer.newest(pair)).await
    }

    /// Reads from the log, again and again while it does not answer.
    async fn read<T, F>(&self, stop: &CancellationToken, ask: impl Fn() -> F) -> Result<T, PublishError>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let mut told = false;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(ReadError::Unavailable(error)) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(reason = chain(&*error), "the log does not answer; trying on");
                    }
                }
                Err(error) => return Err(PublishError::Log(error)),
            }
            pause(stop).await?;
        }
    }
}

async fn pause(stop: &CancellationToken) -> Result<(), PublishError> {
    match stop.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await {
        Some(()) => Ok(()),
        None => Err(PublishError::Stopped),
    }
}

#[cfg(test)]
mod tests;

//! Publishing what was polled, for as long as we lead.
//!
//! One queue leads here from the slot loop. While leading, it goes to the log through the `chain` of the
//! term; while suspended it waits, bounded; while standing by it is dropped, because somebody else covers
//! those slots.

mod chain;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chain::Chain;
use common::{
    bus::{LogWriter, ReadError, lease::Term},
    domain::{Body, Epoch, Interval, Origin, Pair, Slot},
    service::TaskError,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Settings,
    lead::{Leadership, Standing},
    metrics::Metrics,
};

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

/// Why publishing ended, or was interrupted.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Somebody else wrote to the log.
    #[error("another poller writes this log: {pair} has a record of epoch {theirs}, ours is {ours}")]
    Fenced {
        /// Where it was noticed.
        pair: Pair,
        /// Our term.
        ours: Epoch,
        /// The other's.
        theirs: Epoch,
    },
    /// The lease is not ours at the moment.
    #[error("not leading")]
    NotLeading,
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
    leadership: Leadership,
    metrics: Metrics,
    stop: CancellationToken,
}

/// What the publisher has in hand between two looks at the leadership.
struct Desk {
    slots: mpsc::Receiver<PolledSlot>,
    /// What was taken from the queue and is not known to be stored.
    waiting: VecDeque<(Pair, Body)>,
    /// The chain of the newest term in which we led. It stays while we are suspended.
    chain: Option<(Term, Chain)>,
}

impl Publisher {
    /// A publisher for checked settings.
    pub fn new(
        settings: &Settings,
        writer: Arc<dyn LogWriter>,
        leadership: Leadership,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let Settings { interval, origin, .. } = *settings;
        Self { writer, pairs: settings.pairs.clone(), interval, origin, leadership, metrics, stop }
    }

    /// Publishes until the slot loop ends, or until stopped while the log does not answer.
    pub async fn run(mut self, slots: mpsc::Receiver<PolledSlot>) -> Result<(), TaskError> {
        let mut desk = Desk { slots, waiting: VecDeque::new(), chain: None };
        loop {
            let ended = match self.leadership.now() {
                Standing::Leading { term, .. } => self.lead(term, &mut desk).await,
                Standing::Suspended => self.wait(&mut desk).await,
                Standing::Standby => self.stand_by(&mut desk).await,
            };
            match ended {
                Ok(()) => {}
                Err(PublishError::Stopped) => return Ok(()),
                Err(PublishError::NotLeading) => {
                    // The lease may have run out before it was said so.
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(fenced @ PublishError::Fenced { .. }) => {
                    tracing::warn!(reason = %fenced, "standing by: the log shows another leader");
                    desk.chain = None;
                    self.leadership.fenced();
                    self.leadership.until(|standing| *standing == Standing::Standby).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Publishes everything in order, until the term is over.
    async fn lead(&mut self, term: Term, desk: &mut Desk) -> Result<(), PublishError> {
        let before = desk.chain.as_ref().map(|(begun, chain)| (*begun, chain.epoch()));
        if before.is_none_or(|(begun, _)| begun != term) {
            desk.chain = Some((term, self.begin(term, before.map(|(_, epoch)| epoch)).await?));
        }
        let Some((_, chain)) = &mut desk.chain else { return Ok(()) };
        loop {
            while let Some((pair, body)) = desk.waiting.front() {
                chain.publish(*pair, body).await?;
                desk.waiting.pop_front();
            }
            tokio::select! {
                polled = desk.slots.recv() => desk.waiting.extend(polled.ok_or(PublishError::Stopped)?.bodies),
                () = self.leadership.ended(term) => return Ok(()),
            }
        }
    }

    /// Takes over the chains, and says so.
    async fn begin(&self, term: Term, before: Option<Epoch>) -> Result<Chain, PublishError> {
        let chain = Chain::begin(self, term, before).await?;
        tracing::info!(epoch = %chain.epoch(), leader = %self.leadership.id(), "leading");
        self.metrics.epoch(chain.epoch());
        Ok(chain)
    }

    /// Leaves the queue to fill until the log answers.
    async fn wait(&mut self, desk: &mut Desk) -> Result<(), PublishError> {
        tokio::select! {
            () = self.leadership.until(|standing| *standing != Standing::Suspended) => {
                if let Standing::Leading { term, .. } = self.leadership.now()
                    && desk.chain.as_ref().is_some_and(|(begun, _)| *begun == term)
                {
                    tracing::info!("leading again: the log answers");
                }
                Ok(())
            }
            () = self.stop.cancelled() => Err(PublishError::Stopped),
        }
    }

    /// Drops what was polled before we stood by: the new leader covers those slots.
    async fn stand_by(&mut self, desk: &mut Desk) -> Result<(), PublishError> {
        desk.waiting.clear();
        desk.chain = None;
        tokio::select! {
            // What was polled since we lead is not dropped.
            biased;
            () = self.leadership.until(|standing| *standing != Standing::Standby) => Ok(()),
            polled = desk.slots.recv() => polled.map(drop).ok_or(PublishError::Stopped),
        }
    }
}

#[cfg(test)]
mod tests;

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
    domain::{Body, Epoch, Interval, Origin, Pair, Record, Slot},
    readiness::{Check, Condition},
    service::TaskError,
};
use tokio::sync::{mpsc, watch};
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

/// Once told to stop, what was polled has this long to be published. With the slot loop's last poll before it
/// and the lease given back after it, a process is gone within its drain limit.
pub(crate) const LAST_PUBLISH_TIME: Duration = Duration::from_millis(2_200);

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
    /// The log no longer has what we wrote: its newest records were lost, or it was made anew.
    #[error("the log has lost the newest records of {pair}")]
    Rewound {
        /// Where it was noticed.
        pair: Pair,
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

/// What a new leader found in the log.
#[derive(Debug)]
pub struct Takeover {
    /// In which term.
    pub term: Term,
    /// Each pair's newest record, of those that have one.
    pub newest: Vec<Record>,
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
    takeovers: watch::Sender<Option<Arc<Takeover>>>,
    metrics: Metrics,
    check: Check,
    stop: CancellationToken,
}

/// What the publisher has in hand between two looks at the leadership.
struct Desk {
    slots: mpsc::Receiver<PolledSlot>,
    /// What was taken from the queue and is not known to be stored.
    waiting: VecDeque<(Pair, Body)>,
    /// The chain of the newest term in which we led. It stays while we are suspended.
    chain: Option<(Term, Chain)>,
    /// The epoch in which we led last.
    epoch: Option<Epoch>,
}

impl Desk {
    /// Ends the chain, and keeps what was polled for pairs that were in doubt.
    fn end_chain(&mut self) {
        if let Some((_, chain)) = self.chain.take() {
            let newer = std::mem::take(&mut self.waiting);
            self.waiting = chain.into_waiting().chain(newer).collect();
        }
    }
}

impl Publisher {
    /// A publisher for checked settings.
    pub fn new(
        settings: &Settings,
        writer: Arc<dyn LogWriter>,
        leadership: Leadership,
        metrics: Metrics,
        check: Check,
        stop: CancellationToken,
    ) -> Self {
        let Settings { interval, origin, .. } = *settings;
        let (pairs, (takeovers, _)) = (settings.pairs.clone(), watch::channel(None));
        check.set(Condition::Ready);
        Self { writer, pairs, interval, origin, leadership, takeovers, metrics, check, stop }
    }

    /// What it finds in the log each time it begins to lead.
    pub fn takeovers(&self) -> watch::Receiver<Option<Arc<Takeover>>> {
        self.takeovers.subscribe()
    }

    /// Publishes until the slot loop ends, or until stopped while the log does not answer.
    pub async fn run(mut self, slots: mpsc::Receiver<PolledSlot>) -> Result<(), TaskError> {
        let stop = self.stop.clone();
        tokio::select! {
            ended = self.publish_all(slots) => ended,
            () = soon_after(&stop, LAST_PUBLISH_TIME) => {
                tracing::warn!("the log did not answer in time; a gap covers what was polled last");
                Ok(())
            }
        }
    }

    async fn publish_all(&mut self, slots: mpsc::Receiver<PolledSlot>) -> Result<(), TaskError> {
        let mut desk = Desk { slots, waiting: VecDeque::new(), chain: None, epoch: None };
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
                Err(rewound @ PublishError::Rewound { .. }) => {
                    tracing::warn!(event = "chain_restarted", reason = %rewound, "taking over the log again");
                    desk.end_chain();
                }
                Err(fenced @ PublishError::Fenced { .. }) => {
                    tracing::warn!(reason = %fenced, "standing by: the log shows another leader");
                    desk.chain = None;
                    self.metrics.fenced.inc();
                    self.leadership.fenced();
                    self.leadership.until(|standing| *standing == Standing::Standby).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Publishes everything in order, until the term is over.
    async fn lead(&mut self, term: Term, desk: &mut Desk) -> Result<(), PublishError> {
        if desk.chain.as_ref().is_none_or(|(begun, _)| *begun != term) {
            desk.end_chain();
            let chain = self.begin(term, desk.epoch).await?;
            desk.epoch = Some(chain.epoch());
            desk.chain = Some((term, chain));
        }
        let Some((_, chain)) = &mut desk.chain else { return Ok(()) };
        loop {
            while let Some((pair, body)) = desk.waiting.front() {
                chain.publish(*pair, body).await?;
                desk.waiting.pop_front();
            }
            tokio::select! {
                polled = desk.slots.recv() => {
                    desk.waiting.extend(polled.ok_or(PublishError::Stopped)?.bodies);
                    self.metrics.queued(desk.slots.len());
                }
                () = chain.doubt_is_due() => chain.settle_doubts().await?,
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
        (desk.chain, desk.epoch) = (None, None);
        self.metrics.queued(desk.slots.len());
        // Whether the log takes records is the new leader's concern.
        self.check.set(Condition::Ready);
        tokio::select! {
            // What was polled since we lead is not dropped.
            biased;
            () = self.leadership.until(|standing| *standing != Standing::Standby) => Ok(()),
            polled = desk.slots.recv() => polled.map(drop).ok_or(PublishError::Stopped),
        }
    }
}

/// Some time after being told to stop.
pub(crate) async fn soon_after(stop: &CancellationToken, time: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests;

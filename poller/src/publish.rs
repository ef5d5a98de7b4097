//! Publishes polled slots while this poller leads.
//!
//! If the log has no record of a pair yet, the pair's past is published first, from the sources' candles.
//!
//! Slots come from the slot loop through a bounded queue. While this poller leads, the chain of the current
//! term appends their records to the log. While this poller is suspended, the slots wait. While it stands by,
//! the slots are dropped, because another poller publishes them.

mod chain;
mod import;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chain::{Chain, past::WRITE_TIME};
use common::{
    bus::{LogWriter, ReadError, lease::Term},
    domain::{Body, Epoch, Interval, Origin, Pair, Record, Slot},
    readiness::{Check, Condition},
    retry::RETRY_PAUSE,
    service::TaskError,
    telemetry::TraceContext,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field::Empty};

use crate::{
    backfill::Backfill,
    config::Settings,
    lead::{LeadState, Leadership, soon_after},
    metrics::Metrics,
};

/// How many polled slots may wait while the log is unreachable: those of an hour at the default interval of
/// 10 s. Later slots are dropped, and a gap is recorded for them.
const QUEUE_SLOTS: usize = 360;

/// How often the progress of publishing the past is logged.
const PROGRESS_PAUSE: Duration = Duration::from_secs(3);

/// When the process is stopped, this much time is left to finish the last poll and publish what was polled.
/// Together with releasing the lease it must fit into the drain limit.
pub(crate) const LAST_PUBLISH_TIME: Duration = Duration::from_millis(2_200);

/// The result of polling one slot.
#[derive(Debug)]
pub struct PolledSlot {
    /// The slot.
    pub slot: Slot,
    /// The tick or gap of each pair.
    pub bodies: Vec<(Pair, Body)>,
    /// The span of the slot.
    pub trace: Option<TraceContext>,
}

/// A tick or gap that waits to be published.
#[derive(Debug)]
struct Waiting {
    pair: Pair,
    body: Body,
    /// The span of its slot. `None` if it waited for so long that the span no longer matters.
    trace: Option<TraceContext>,
}

/// Why publishing ended or was interrupted.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It is not certain which record of a pair is the newest.
    #[error("it is uncertain which record of {pair} is the newest: {reason}")]
    InDoubt {
        /// The pair.
        pair: Pair,
        /// The reason.
        reason: String,
    },
    /// Another poller writes to the log.
    #[error(
        "another poller writes to this log: {pair} has a record of epoch {theirs}, but this poller's epoch is {ours}"
    )]
    Fenced {
        /// The pair with the unexpected record.
        pair: Pair,
        /// The epoch of our term.
        ours: Epoch,
        /// The epoch of the record.
        theirs: Epoch,
    },
    /// This poller does not have the lease at the moment.
    #[error("this poller does not have the lease at the moment")]
    NotLeading,
    /// The log no longer has our newest record, because the log lost records or was recreated.
    #[error("the log has lost the newest records of {pair}")]
    Rewound {
        /// The pair whose newest record is not the one that this poller expects.
        pair: Pair,
    },
    /// Reading the newest records failed, and retrying does not help.
    #[error("cannot publish to this log")]
    Log(#[source] ReadError),
    /// Live, replayed and simulated prices would be mixed.
    #[error(
        "the prices in this log have the origin `{theirs}`, but the sources in feed.sources have the origin `{ours}`; \
         use another log (set bus.stream and bus.subject_prefix, or store.path if the log is in this process)"
    )]
    Origin {
        /// The origin of our sources.
        ours: Origin,
        /// The origin in the log.
        theirs: Origin,
    },
    /// The log has records of the pair, so nothing can be imported.
    #[error(
        "the log already has records of {0}, and history can only be imported before the first of them; use another log \
         (set bus.stream and bus.subject_prefix, or store.path if bus.url is not set)"
    )]
    HasRecords(Pair),
    /// Another process has the lease, so nothing can be imported.
    #[error("another poller leads this log; stop all pollers, import, and start them again")]
    Led,
    /// The process is stopping. The next leader records a gap for the slots that were not published.
    #[error("stopped")]
    Stopped,
}

/// What this poller found in the log when it started to lead.
#[derive(Debug)]
pub struct Takeover {
    /// The term.
    pub term: Term,
    /// The newest record of each pair that has records.
    pub newest: Vec<Record>,
}

/// The bounded queue from the slot loop to the publisher.
pub fn queue() -> (mpsc::Sender<PolledSlot>, mpsc::Receiver<PolledSlot>) {
    mpsc::channel(QUEUE_SLOTS)
}

/// Publishes polled slots.
pub struct Publisher {
    writer: Arc<dyn LogWriter>,
    pairs: Vec<Pair>,
    backfill: Option<Backfill>,
    interval: Interval,
    origin: Origin,
    leadership: Leadership,
    takeovers: watch::Sender<Option<Arc<Takeover>>>,
    metrics: Metrics,
    check: Check,
    stop: CancellationToken,
}

/// The part of the publisher's state that is kept when the leadership changes.
struct Progress {
    slots: mpsc::Receiver<PolledSlot>,
    /// What was taken from the queue and is not known to be stored.
    waiting: VecDeque<Waiting>,
    /// The chain of the newest term in which this poller led. It is kept while suspended.
    chain: Option<(Term, Chain)>,
    /// The newest epoch in which this poller led.
    epoch: Option<Epoch>,
}

impl Progress {
    /// Ends the chain. Keeps the ticks and gaps that were held back because it was uncertain which record of their pair
    /// is the newest.
    fn end_chain(&mut self) {
        if let Some((_, chain)) = self.chain.take() {
            let newer = std::mem::take(&mut self.waiting);
            let held_back = chain.into_waiting().map(|(pair, body)| Waiting { pair, body, trace: None });
            self.waiting = held_back.chain(newer).collect();
        }
    }
}

impl Publisher {
    /// A publisher for validated settings.
    pub(crate) fn new(
        settings: &Settings,
        backfill: Option<Backfill>,
        writer: Arc<dyn LogWriter>,
        leadership: Leadership,
        metrics: Metrics,
        check: Check,
        stop: CancellationToken,
    ) -> Self {
        let Settings { interval, origin, .. } = *settings;
        let (pairs, (takeovers, _)) = (settings.pairs.keys().copied().collect(), watch::channel(None));
        check.set(Condition::Ready);
        Self { writer, pairs, backfill, interval, origin, leadership, takeovers, metrics, check, stop }
    }

    /// What the publisher finds in the log at the start of each term.
    pub fn takeovers(&self) -> watch::Receiver<Option<Arc<Takeover>>> {
        self.takeovers.subscribe()
    }

    /// Publishes until the slot loop ends, or until the process is stopped and the log does not respond in
    /// time.
    pub async fn run(mut self, slots: mpsc::Receiver<PolledSlot>) -> Result<(), TaskError> {
        let stop = self.stop.clone();
        tokio::select! {
            ended = self.publish_all(slots) => ended,
            () = soon_after(&stop, LAST_PUBLISH_TIME) => {
                tracing::warn!(
                    event = "stopped_unpublished",
                    "stopping before the last slots are published, because the log did not respond in time; the next \
                     leader will record a gap for them"
                );
                Ok(())
            }
        }
    }

    async fn publish_all(&mut self, slots: mpsc::Receiver<PolledSlot>) -> Result<(), TaskError> {
        let mut progress = Progress { slots, waiting: VecDeque::new(), chain: None, epoch: None };
        loop {
            let ended = match self.leadership.now() {
                LeadState::Leading { term, .. } => self.lead(term, &mut progress).await,
                LeadState::Suspended => self.wait(&mut progress).await,
                LeadState::Standby => self.stand_by(&mut progress).await,
            };
            match ended {
                Ok(()) => {}
                Err(PublishError::Stopped) => return Ok(()),
                Err(PublishError::NotLeading) => {
                    // The lease may have run out although the lease keeper has not reported that yet.
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(rewound @ PublishError::Rewound { .. }) => {
                    tracing::warn!(
                        event = "chain_restarted", reason = %rewound,
                        "reading the newest records of the log again and continuing after them"
                    );
                    progress.end_chain();
                }
                Err(fenced @ PublishError::Fenced { .. }) => {
                    let reason = fenced.to_string();
                    tracing::warn!(
                        event = "fenced",
                        reason,
                        "the log shows that another poller leads, so this poller stands by"
                    );
                    progress.chain = None;
                    self.metrics.fenced.inc();
                    self.leadership.fenced();
                    self.leadership.until(|state| *state == LeadState::Standby).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Publishes everything in order until the term ends.
    async fn lead(&mut self, term: Term, progress: &mut Progress) -> Result<(), PublishError> {
        if progress.chain.as_ref().is_none_or(|(begun, _)| *begun != term) {
            progress.end_chain();
            let chain = self.begin(term, progress.epoch).await?;
            progress.epoch = Some(chain.epoch());
            progress.chain = Some((term, chain));
            if let Some((_, chain)) = &mut progress.chain {
                self.append_past(term, chain).await?;
            }
        }
        let Some((_, chain)) = &mut progress.chain else { return Ok(()) };
        loop {
            while let Some(waiting) = progress.waiting.front() {
                let span = self.span(waiting);
                chain.publish(waiting.pair, &waiting.body).instrument(span).await?;
                progress.waiting.pop_front();
            }
            tokio::select! {
                polled = progress.slots.recv() => {
                    let PolledSlot { bodies, trace, .. } = polled.ok_or(PublishError::Stopped)?;
                    progress.waiting.extend(bodies.into_iter().map(|(pair, body)| Waiting { pair, body, trace }));
                    self.metrics.queued(progress.slots.len());
                }
                () = chain.doubt_is_due() => chain.settle_doubts().await?,
                () = self.leadership.ended(term) => return Ok(()),
            }
        }
    }

    /// Appends the past of pairs that have no live record yet. Slots that are polled in the meantime wait in the queue.
    async fn append_past(&mut self, term: Term, chain: &mut Chain) -> Result<(), PublishError> {
        let Some(backfill) = &self.backfill else { return Ok(()) };
        let wanted = chain.wanted(backfill);
        let Some(slots) = wanted.values().map(|wanted| wanted.last).max() else { return Ok(()) };
        tracing::info!(
            event = "backfilling", pairs = wanted.len(), up_to = %slots,
            "the log has no live record of some pairs yet, so their past is published first"
        );
        let past = tokio::select! {
            past = backfill.ask(&wanted) => past,
            () = self.leadership.ended(term) => return Ok(()),
            () = self.stop.cancelled() => return Ok(()),
        };
        if past.is_empty() {
            tracing::warn!(
                event = "nothing_backfilled",
                "the sources have no candles on which enough of them agree, so history begins with the first live slot"
            );
            return Ok(());
        }
        let mut logged = Instant::now();
        let mut progress = |left, total| {
            if logged.elapsed() >= PROGRESS_PAUSE {
                logged = Instant::now();
                tracing::info!(event = "backfill_progress", left, total, "writing the past");
            }
        };
        chain.append_past(past, backfill.interval(), WRITE_TIME, &mut progress).await
    }

    /// The span in which a tick or gap is published, as a child of the slot's span. The writer adds where the record goes.
    fn span(&self, waiting: &Waiting) -> Span {
        let span = tracing::info_span!(
            "publish",
            otel.kind = "producer",
            messaging.system = self.writer.system(),
            messaging.operation.name = "publish",
            messaging.operation.type = "send",
            messaging.destination.name = Empty,
            messaging.message.id = Empty,
            tickwell.pair = %waiting.pair,
        );
        if let Some(trace) = waiting.trace {
            trace.continue_in(&span);
        }
        span
    }

    /// Takes over the chains of all pairs.
    async fn begin(&self, term: Term, before: Option<Epoch>) -> Result<Chain, PublishError> {
        let chain = Chain::begin(self, term, before).await?;
        tracing::info!(event = "leading", epoch = %chain.epoch(), leader = %self.leadership.id(), "leading");
        self.metrics.term(chain.epoch());
        Ok(chain)
    }

    /// Lets the queue fill until this poller is no longer suspended.
    async fn wait(&mut self, progress: &mut Progress) -> Result<(), PublishError> {
        tokio::select! {
            () = self.leadership.until(|state| *state != LeadState::Suspended) => {
                if let LeadState::Leading { term, .. } = self.leadership.now()
                    && progress.chain.as_ref().is_some_and(|(begun, _)| *begun == term)
                {
                    tracing::info!(
                        event = "leading_again",
                        "leading again: the lease was renewed, and the slots that waited will be published now"
                    );
                }
                Ok(())
            }
            () = self.stop.cancelled() => Err(PublishError::Stopped),
        }
    }

    /// Drops the polled slots, because another poller publishes them.
    async fn stand_by(&mut self, progress: &mut Progress) -> Result<(), PublishError> {
        progress.waiting.clear();
        (progress.chain, progress.epoch) = (None, None);
        self.metrics.queued(progress.slots.len());
        // A standby does not publish, so an earlier problem with publishing no longer matters.
        self.check.set(Condition::Ready);
        tokio::select! {
            // Check the state first: slots that were polled after this poller became the leader must not be dropped.
            biased;
            () = self.leadership.until(|state| *state != LeadState::Standby) => Ok(()),
            polled = progress.slots.recv() => polled.map(drop).ok_or(PublishError::Stopped),
        }
    }
}

#[cfg(test)]
mod tests;

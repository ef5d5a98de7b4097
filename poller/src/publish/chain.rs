//! Appends each pair's records during one term. The records of a pair form a chain: their slots are in order,
//! none is missing, and none is repeated. The log refuses an append if another poller has appended a record.
//!
//! One rule handles a start, a takeover, a paused process, a full queue and an unreachable log: before a
//! slot's record is appended, a gap is appended for all slots since the pair's newest record.
//!
//! Another rule handles every append whose result is unknown: the same record is appended again, with the same
//! expected sequence. If the log then reports a newer record than expected, that record is read. If that record
//! is ours, the first attempt had succeeded. Otherwise another poller leads, or the log lost records.
//!
//! A pair is "in doubt" if it is uncertain which of its records is the newest, because the log's servers
//! contradict each other or cannot all be asked. Nothing is appended for such a pair: its polled results wait
//! until the newest record is certain. The other pairs are not affected.

mod log;
pub(super) mod past;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use common::{
    bus::{Newest, lease::Term},
    domain::{Body, Epoch, Gap, GapCause, Lead, Pair, Record, Slot, Tick, Timestamp},
    readiness::Condition,
};
use log::{Found, Link, Log, name};
use tokio::time::Instant;

use super::{PublishError, Publisher, QUEUE_SLOTS, Takeover};

/// The pause before a pair that is in doubt is checked again.
const DOUBT_PAUSE: Duration = Duration::from_secs(1);

/// The chains of all pairs in one term.
pub(super) struct Chain {
    log: Log,
    epoch: Epoch,
    /// The epoch of this process's previous term. None if this is its first term, or if it has stood by since the
    /// previous term.
    before: Option<Epoch>,
    links: BTreeMap<Pair, Link>,
    /// The pairs that are in doubt.
    doubtful: BTreeMap<Pair, Doubtful>,
    /// When the pairs in doubt are checked again.
    next_check: Instant,
    /// The shortest time in which the log has acknowledged a record of this term.
    quickest_append: Duration,
}

/// A pair that is in doubt.
struct Doubtful {
    reason: String,
    /// The polled results that wait until the newest record is certain.
    bodies: VecDeque<Body>,
    /// Whether results were dropped because too many wait.
    is_full: bool,
}

impl Doubtful {
    fn new(reason: String, body: Option<&Body>) -> Self {
        Self { reason, bodies: body.cloned().into_iter().collect(), is_full: false }
    }
}

impl Chain {
    /// Takes over the chains: reads each pair's newest record and appends a lead record. `before` is the
    /// epoch of this process's previous term, if it has not stood by since then.
    pub(super) async fn begin(
        publisher: &Publisher,
        term: Term,
        before: Option<Epoch>,
    ) -> Result<Self, PublishError> {
        let log = Log::new(publisher, term);
        let theirs = log.read(|| log.writer.origin()).await?;
        if let Some(theirs) = theirs.filter(|theirs| *theirs != log.origin) {
            return Err(PublishError::Origin { ours: log.origin, theirs });
        }
        let (mut found, mut doubtful) = (Vec::new(), BTreeMap::new());
        for pair in &publisher.pairs {
            match log.newest(*pair).await? {
                Found::Newest(newest) => found.push((*pair, newest)),
                Found::InDoubt(reason) => {
                    warn_of_doubt(*pair, &reason);
                    doubtful.insert(*pair, Doubtful::new(reason, None));
                }
            }
        }
        let records: Vec<Record> = found.iter().filter_map(|(_, newest)| newest.record.clone()).collect();
        let later_term = records.iter().max_by_key(|record| (record.epoch, record.covers_up_to())).cloned();
        let newest_epoch = records.iter().map(|record| record.epoch).chain(before).max().unwrap_or(Epoch(0));
        publisher.takeovers.send_replace(Some(Arc::new(Takeover { term, newest: records })));
        let epoch = newest_epoch.next().max(Epoch(term.0));
        let (links, next_check, quickest_append) = (BTreeMap::new(), Instant::now(), Duration::MAX);
        let mut chain = Self { log, epoch, before, links, doubtful, next_check, quickest_append };
        for (pair, newest) in found {
            let unconfigured_until = later_term.as_ref().and_then(|later| unconfigured_until(&newest, later));
            match chain.take_over(pair, newest).await {
                Err(PublishError::InDoubt { reason, .. }) => chain.doubt(pair, reason, None),
                taken_over => taken_over?,
            }
            if let Some(link) = chain.links.get_mut(&pair) {
                link.unconfigured_until = unconfigured_until;
            }
        }
        Ok(chain)
    }

    /// Continues a pair's chain after its newest record, with a lead record.
    async fn take_over(&mut self, pair: Pair, newest: Newest) -> Result<(), PublishError> {
        let Newest { sequence, record, covered, lost } = newest;
        let written_in = record.as_ref().map(|record| record.epoch);
        let backfilled = record.as_ref().is_some_and(Record::is_backfilled);
        // If no other poller has led since this process's previous term, this process has been polling all the time. So
        // missing slots are slots that this process missed: there was no time without a leader.
        let cause = match (lost, self.before.is_some() && written_in <= self.before) {
            (true, _) => GapCause::LogLost,
            // No slot is live yet, so no poller has missed one.
            (false, _) if backfilled => GapCause::NotBackfilled,
            (false, true) => GapCause::Missed,
            (false, false) => GapCause::NoLeader,
        };
        let newest = record.as_ref().map(name);
        self.links.insert(
            pair,
            Link {
                sequence,
                newest,
                covered,
                is_backfilled: backfilled,
                is_lost: lost,
                cause,
                unconfigured_until: None,
                is_logged: false,
            },
        );
        let leader = Some(self.log.leadership.id());
        self.append(pair, Body::Lead(Lead { covered, backfilled, leader })).await
    }

    /// Returns when pairs that are in doubt should be checked again. Never returns if no pair is in doubt.
    pub(super) async fn doubt_is_due(&self) {
        match self.doubtful.is_empty() {
            true => std::future::pending().await,
            // This sleeps until an instant and not for a duration. The caller calls this function again after each
            // slot, and if slots come more often than every `DOUBT_PAUSE`, a new pause each time would never end.
            false => tokio::time::sleep_until(self.next_check).await,
        }
    }

    /// Checks the pairs in doubt again. If a pair's newest record is certain now, publishes the pair's waiting
    /// results.
    pub(super) async fn settle_doubts(&mut self) -> Result<(), PublishError> {
        self.next_check = Instant::now() + DOUBT_PAUSE;
        for pair in self.doubtful.keys().copied().collect::<Vec<_>>() {
            let newest = match self.log.newest(pair).await? {
                Found::Newest(newest) => newest,
                Found::InDoubt(reason) => {
                    if let Some(doubtful) = self.doubtful.get_mut(&pair) {
                        doubtful.reason = reason;
                    }
                    self.set_readiness();
                    continue;
                }
            };
            if newest.record.as_ref().is_some_and(|record| record.epoch >= self.epoch) {
                // This term's epoch was chosen without that record, so a new epoch is needed.
                return Err(PublishError::Rewound { pair });
            }
            match self.settle(pair, newest).await {
                Err(PublishError::InDoubt { reason, .. }) => {
                    self.links.remove(&pair);
                    if let Some(doubtful) = self.doubtful.get_mut(&pair) {
                        doubtful.reason = reason;
                    }
                }
                settled => settled?,
            }
        }
        Ok(())
    }

    /// Publishes the waiting results of a pair that is no longer in doubt. Each result is removed only once it is
    /// stored, because the term may end in between.
    async fn settle(&mut self, pair: Pair, newest: Newest) -> Result<(), PublishError> {
        if let Err(error) = self.take_over(pair, newest).await {
            self.links.remove(&pair);
            return Err(error);
        }
        let mut waited = 0_usize;
        while let Some(body) = self.doubtful.get(&pair).and_then(|doubtful| doubtful.bodies.front().cloned())
        {
            self.extend(pair, &body).await?;
            self.doubtful.get_mut(&pair).and_then(|doubtful| doubtful.bodies.pop_front());
            waited = waited.saturating_add(1);
        }
        self.doubtful.remove(&pair);
        self.set_readiness();
        tracing::info!(
            event = "pair_settled", %pair, waited,
            "it is certain again which record of the pair is the newest; the ticks and gaps that were held back have \
             been published"
        );
        Ok(())
    }

    /// Stops publishing a pair until it is certain which of its records is the newest.
    fn doubt(&mut self, pair: Pair, reason: String, body: Option<&Body>) {
        warn_of_doubt(pair, &reason);
        self.links.remove(&pair);
        self.doubtful.insert(pair, Doubtful::new(reason, body));
        self.set_readiness();
    }

    /// Returns the results that wait for pairs that are still in doubt.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = (Pair, Body)> {
        self.doubtful
            .into_iter()
            .flat_map(|(pair, doubtful)| doubtful.bodies.into_iter().map(move |body| (pair, body)))
    }

    fn set_readiness(&self) {
        let doubts: Vec<_> =
            self.doubtful.iter().map(|(pair, doubtful)| format!("{pair}: {}", doubtful.reason)).collect();
        self.log.check.set(match doubts.is_empty() {
            true => Condition::Ready,
            false => Condition::Degraded(format!(
                "the ticks and gaps of some pairs are held back: {}",
                doubts.join("; ")
            )),
        });
    }

    /// Whether the log has no tick and no gap of a pair.
    pub(super) fn is_new(&self, pair: Pair) -> bool {
        self.links.get(&pair).is_some_and(|link| link.covered.is_none() && !link.is_lost)
    }

    /// The epoch of this term.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Appends a slot's record. While the pair is in doubt, queues the result instead, or drops it if the queue is
    /// full.
    pub(super) async fn publish(&mut self, pair: Pair, body: &Body) -> Result<(), PublishError> {
        if let Some(Doubtful { bodies, is_full, .. }) = self.doubtful.get_mut(&pair) {
            // The earliest results are kept and later ones are dropped. Otherwise the gap for the lost records, which
            // has the cause `log_lost`, would also include slots whose results were dropped here.
            if bodies.len() < QUEUE_SLOTS {
                bodies.push_back(body.clone());
                return Ok(());
            }
            self.log.metrics.dropped.inc();
            if !std::mem::replace(is_full, true) {
                tracing::warn!(
                    event = "queue_full", %pair,
                    "the pair's queue is full; new slots are dropped, and a gap will be recorded for them"
                );
            }
            return Ok(());
        }
        match self.extend(pair, body).await {
            Err(PublishError::InDoubt { reason, .. }) => {
                self.doubt(pair, reason, Some(body));
                Ok(())
            }
            extended => extended,
        }
    }

    /// Appends a record for a slot. If slots before it are missing, appends a gap for them first.
    async fn extend(&mut self, pair: Pair, body: &Body) -> Result<(), PublishError> {
        let (Body::Tick(Tick { slot, .. }) | Body::Gap(Gap { slot, .. })) = body else {
            return Ok(());
        };
        let Some(link) = self.links.get_mut(&pair) else { return Ok(()) };
        if let Some(covered) = link.covered.filter(|covered| slot.start() <= *covered) {
            // Another leader has already published the slot, or this machine's clock is behind.
            if !std::mem::replace(&mut link.is_logged, true) && slot.start() < covered {
                tracing::warn!(
                    event = "slot_already_covered", %pair, %slot, %covered,
                    "the log already has a record for this slot, so the polled result is dropped; this machine's \
                     clock may be behind"
                );
            }
            return Ok(());
        }
        let cause = link.cause;
        if let Some(end) = link.unconfigured_until.take() {
            let next = self.log.slot_after(end).min(*slot);
            self.fill(pair, next, GapCause::NotConfigured).await?;
        }
        self.fill(pair, *slot, cause).await?;
        self.append(pair, body.clone()).await?;
        if let Some(link) = self.links.get_mut(&pair) {
            (link.cause, link.is_logged) = (GapCause::Missed, false);
        }
        Ok(())
    }

    /// Appends a gap for the slots of a pair that are missing before this one, if there are any.
    async fn fill(&mut self, pair: Pair, slot: Slot, cause: GapCause) -> Result<(), PublishError> {
        let covered = self.links.get(&pair).and_then(|link| link.covered);
        let Some(gap) = covered.and_then(|covered| self.log.gap_between(covered, slot, cause)) else {
            return Ok(());
        };
        if cause == GapCause::NotBackfilled {
            return self.append(pair, Body::Gap(gap)).await;
        }
        tracing::warn!(
            event = "slots_missing", %pair, from = %gap.from, to = %gap.slot, %cause,
            "slots are missing after the pair's newest record; publishing a gap for them"
        );
        self.append(pair, Body::Gap(gap)).await
    }

    /// Appends a record. Returns once it is known to be stored.
    async fn append(&mut self, pair: Pair, body: Body) -> Result<(), PublishError> {
        let Some(link) = self.links.get_mut(&pair) else { return Ok(()) };
        let record = Record { pair, epoch: self.epoch, origin: self.log.origin, body };
        let begun = Instant::now();
        let sequence = self.log.append(&record, link).await?;
        link.advance(sequence, &record);
        self.quickest_append = self.quickest_append.min(begun.elapsed());
        self.log.metrics.published(&record, begun.elapsed());
        self.set_readiness();
        Ok(())
    }
}

/// Up to which slot another pair was covered in a term that has no record of this pair. The leader of that term did not
/// have this pair in its settings: each leader begins with a record of every pair.
fn unconfigured_until(newest: &Newest, later: &Record) -> Option<Timestamp> {
    let record = newest.record.as_ref()?;
    let is_left_out = record.epoch < later.epoch && !newest.lost;
    later.covers_up_to().filter(|covered| is_left_out && newest.covered.is_some_and(|own| own < *covered))
}

fn warn_of_doubt(pair: Pair, reason: &str) {
    tracing::warn!(
        event = "pair_in_doubt", %pair, reason,
        "it is uncertain which record of the pair is the newest; the pair's new ticks and gaps are held back until that \
         is certain"
    );
}

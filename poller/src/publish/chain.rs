//! The chain of records in one term: each pair's slots in order, without holes or repeats, fenced by the log.
//!
//! One rule covers start, takeover, a paused process, a full queue and a log that was away: before a
//! slot's record is appended, a gap is appended for every slot since the pair's newest record.
//!
//! And one rule covers every append whose fate is not known: try the same record again under the same
//! fence. If the log says that there is a newer record than expected, the newest one is read: if it is
//! ours, the first try had succeeded; if not, somebody else leads.

use std::{collections::BTreeMap, sync::Arc};

use common::{
    bus::{AppendError, LogWriter, Newest, ReadError, lease::Term},
    domain::{
        Body, Epoch, Gap, GapCause, Interval, Lead, Origin, Pair, Record, Sequence, Slot, Tick, Timestamp,
    },
    readiness::{Check, Condition},
    telemetry::chain,
};
use tokio_util::sync::CancellationToken;

use super::{PublishError, Publisher, RETRY_PAUSE, Takeover};
use crate::{lead::Leadership, metrics::Metrics};

/// The chains of all pairs in one term.
pub(super) struct Chain {
    log: Log,
    epoch: Epoch,
    links: BTreeMap<Pair, Link>,
}

/// The newest record of a pair, as far as we know.
#[derive(Debug, Clone)]
struct Link {
    sequence: Sequence,
    /// Which record it is; nothing where the pair has none.
    newest: Option<(Epoch, String)>,
    covered: Option<Timestamp>,
    /// Why slots that are missing from here on are missing.
    cause: GapCause,
    /// Whether it was said that polled slots are covered already.
    told: bool,
}

/// What the log says about a record whose fate was not known.
enum Proof {
    /// It is there, and this is the position after which to go on.
    Stored(Sequence),
    /// It is not; append it after this position.
    TryAgain(Sequence),
}

impl Chain {
    /// Takes over the chains: reads each pair's newest record, and appends a lead record to it. `before` is
    /// the epoch in which this process led last.
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
        let (mut links, mut records) = (BTreeMap::new(), Vec::new());
        let mut newest_epoch = before.unwrap_or(Epoch(0));
        for pair in &publisher.pairs {
            let Newest { sequence, record } = log.newest(*pair).await?;
            let written_in = record.as_ref().map(|record| record.epoch);
            newest_epoch = newest_epoch.max(written_in.unwrap_or(Epoch(0)));
            // Where nobody has led since, we were there all the time, and something else was away.
            let cause =
                if before.is_some() && written_in <= before { GapCause::Missed } else { GapCause::NoLeader };
            let (newest, covered) =
                (record.as_ref().map(name), record.as_ref().and_then(Record::covers_up_to));
            links.insert(*pair, Link { sequence, newest, covered, cause, told: false });
            records.extend(record);
        }
        publisher.takeovers.send_replace(Some(Arc::new(Takeover { term, newest: records })));
        let epoch = newest_epoch.next().max(Epoch(term.0));
        let mut chain = Self { log, epoch, links };
        for pair in &publisher.pairs {
            let covered = chain.links.get(pair).and_then(|link| link.covered);
            let leader = Some(chain.log.leadership.id());
            chain.append(*pair, Body::Lead(Lead { covered, leader })).await?;
        }
        Ok(chain)
    }

    /// The epoch of this term's records.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Appends a slot's record, and before it the gap since the newest one.
    pub(super) async fn publish(&mut self, pair: Pair, body: &Body) -> Result<(), PublishError> {
        let (Body::Tick(Tick { slot, .. }) | Body::Gap(Gap { slot, .. })) = body else {
            return Ok(());
        };
        let Some(link) = self.links.get_mut(&pair) else { return Ok(()) };
        if let Some(covered) = link.covered {
            if slot.start() <= covered {
                // Covered by another leader meanwhile, or our clock is behind.
                if !std::mem::replace(&mut link.told, true) && slot.start() < covered {
                    tracing::warn!(%pair, %slot, %covered, "the log covers this slot already; is the clock behind?");
                }
                return Ok(());
            }
            let cause = link.cause;
            if let Some(gap) = self.log.gap_between(covered, *slot, cause) {
                tracing::warn!(%pair, from = %gap.from, to = %gap.slot, %cause, "slots have passed without a price");
                self.append(pair, Body::Gap(gap)).await?;
            }
        }
        self.append(pair, body.clone()).await?;
        if let Some(link) = self.links.get_mut(&pair) {
            (link.cause, link.told) = (GapCause::Missed, false);
        }
        Ok(())
    }

    /// Appends a record for certain: returns once it is known to be stored.
    async fn append(&mut self, pair: Pair, body: Body) -> Result<(), PublishError> {
        let Some(link) = self.links.get_mut(&pair) else { return Ok(()) };
        let record = Record { pair, epoch: self.epoch, origin: self.log.origin, body };
        let sequence = self.log.append(&record, link).await?;
        (link.sequence, link.newest) = (sequence, Some(name(&record)));
        link.covered = record.covers_up_to();
        self.log.metrics.published(&record.body);
        Ok(())
    }
}

/// The log, for as long as the term lasts.
struct Log {
    writer: Arc<dyn LogWriter>,
    leadership: Leadership,
    term: Term,
    interval: Interval,
    origin: Origin,
    metrics: Metrics,
    check: Check,
    stop: CancellationToken,
}

impl Log {
    fn new(publisher: &Publisher, term: Term) -> Self {
        let Publisher { writer, leadership, interval, origin, metrics, check, stop, .. } = publisher;
        Self {
            writer: writer.clone(),
            leadership: leadership.clone(),
            term,
            interval: *interval,
            origin: *origin,
            metrics: metrics.clone(),
            check: check.clone(),
            stop: stop.clone(),
        }
    }

    /// The slots between the newest covered one and `slot`, if there are any.
    fn gap_between(&self, covered: Timestamp, slot: Slot, cause: GapCause) -> Option<Gap> {
        let from = self.interval.after(covered);
        let last = self.interval.before(slot);
        (from < slot).then_some(Gap { from, slot: last, interval: self.interval, cause, evidence: None })
    }

    async fn append(&self, record: &Record, link: &mut Link) -> Result<Sequence, PublishError> {
        let mut told = false;
        loop {
            if !self.leadership.may_write(self.term) {
                return Err(PublishError::NotLeading);
            }
            match self.writer.append(record, link.sequence).await {
                Ok(sequence) => {
                    if told {
                        tracing::info!("the log takes records again");
                    }
                    self.check.set(Condition::Ready);
                    return Ok(sequence);
                }
                Err(AppendError::WrongLastSequence) => match self.prove(record, link).await? {
                    Proof::Stored(sequence) => return Ok(sequence),
                    Proof::TryAgain(sequence) => link.sequence = sequence,
                },
                Err(AppendError::Unconfirmed(error)) => {
                    let reason = chain(&*error);
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(reason, "the log does not take records; trying on");
                    }
                    // What is the matter may become clear, or change, while it is tried.
                    self.check.set(Condition::Degraded(format!("the log does not take records: {reason}")));
                }
            }
            self.metrics.retries.inc();
            self.pause().await?;
        }
    }

    /// After "wrong last sequence": what the newest record says about the one we were appending.
    async fn prove(&self, record: &Record, link: &Link) -> Result<Proof, PublishError> {
        let pair = record.pair;
        let Newest { sequence, record: newest } = self.newest(pair).await?;
        let Some(newest) = newest else {
            let rewound = Err(PublishError::Rewound { pair });
            return if link.newest.is_some() { rewound } else { Ok(Proof::TryAgain(sequence)) };
        };
        if newest == *record {
            return Ok(Proof::Stored(sequence));
        }
        let led_by_another = match &newest.body {
            Body::Lead(lead) => newest.epoch >= record.epoch && lead.leader != Some(self.leadership.id()),
            Body::Tick(_) | Body::Gap(_) => newest.epoch > record.epoch,
        };
        if led_by_another || newest.covers_up_to() > link.covered {
            return Err(PublishError::Fenced { pair, ours: record.epoch, theirs: newest.epoch });
        }
        if link.newest != Some(name(&newest)) {
            return Err(PublishError::Rewound { pair });
        }
        if sequence != link.sequence {
            tracing::warn!(%pair, %sequence, "somebody put a message that is no record into the log");
        }
        Ok(Proof::TryAgain(sequence))
    }

    async fn newest(&self, pair: Pair) -> Result<Newest, PublishError> {
        self.read(|| self.writer.newest(pair)).await
    }

    /// Reads from the log, again and again while it does not answer.
    async fn read<T, F>(&self, ask: impl Fn() -> F) -> Result<T, PublishError>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let mut told = false;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.trouble().is_some() => {
                    let reason = chain(&error);
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(reason, "the log cannot be read; trying on");
                    }
                    self.check.set(Condition::Degraded(reason));
                }
                Err(error) => return Err(PublishError::Log(error)),
            }
            if !self.leadership.may_write(self.term) {
                return Err(PublishError::NotLeading);
            }
            self.pause().await?;
        }
    }

    async fn pause(&self) -> Result<(), PublishError> {
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
        slept.ok_or(PublishError::Stopped)
    }
}

/// What tells a record from all others, whoever wrote them.
fn name(record: &Record) -> (Epoch, String) {
    (record.epoch, record.id())
}

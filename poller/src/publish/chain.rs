//! The chain of records in one term: each pair's slots in order, without holes or repeats, fenced by the log.
//!
//! One rule covers start, takeover, a paused process, a full queue and a log that was away: before a
//! slot's record is appended, a gap is appended for every slot since the pair's newest record.
//!
//! And one rule covers every append whose fate is not known: try the same record again under the same
//! fence. If the log says that there is a newer record than expected, the newest one is read: if it is
//! ours, the first try had succeeded; if not, somebody else leads.
//!
//! A pair whose newest record is in doubt, because the log's servers contradict what is known or cannot all be asked,
//! is not continued. What is polled for it waits until the doubt is settled; the other pairs go on.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use common::{
    bus::{AppendError, LogWriter, Newest, ReadError, lease::Term},
    domain::{
        Body, Epoch, Gap, GapCause, Interval, Lead, Origin, Pair, Record, Sequence, Slot, Tick, Timestamp,
    },
    readiness::{Check, Condition},
    telemetry::chain,
};
use tokio_util::sync::CancellationToken;

use super::{PublishError, Publisher, QUEUE_SLOTS, RETRY_PAUSE, Takeover};
use crate::{lead::Leadership, metrics::Metrics};

/// The pause between two questions whether a pair's newest record is still in doubt.
const DOUBT_PAUSE: Duration = Duration::from_secs(1);

/// The chains of all pairs in one term.
pub(super) struct Chain {
    log: Log,
    epoch: Epoch,
    /// The epoch in which this process led last.
    before: Option<Epoch>,
    links: BTreeMap<Pair, Link>,
    /// The pairs whose newest record is in doubt.
    doubtful: BTreeMap<Pair, Doubtful>,
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

/// A pair that is not continued for now.
struct Doubtful {
    reason: String,
    /// What was polled for it meanwhile.
    bodies: VecDeque<Body>,
}

/// What the log says about a record whose fate was not known.
enum Proof {
    /// It is there, and this is the position after which to go on.
    Stored(Sequence),
    /// It is not; append it after this position.
    TryAgain(Sequence),
}

/// What the log says about a pair's newest record.
enum Found {
    Newest(Newest),
    /// It cannot be said for certain yet: why.
    InDoubt(String),
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
        let (mut found, mut doubtful) = (Vec::new(), BTreeMap::new());
        for pair in &publisher.pairs {
            match log.newest(*pair).await? {
                Found::Newest(newest) => found.push((*pair, newest)),
                Found::InDoubt(reason) => {
                    tracing::warn!(event = "pair_in_doubt", %pair, reason, "not publishing this pair for now");
                    doubtful.insert(*pair, Doubtful { reason, bodies: VecDeque::new() });
                }
            }
        }
        let records: Vec<Record> = found.iter().filter_map(|(_, newest)| newest.record.clone()).collect();
        let newest_epoch = records.iter().map(|record| record.epoch).chain(before).max().unwrap_or(Epoch(0));
        publisher.takeovers.send_replace(Some(Arc::new(Takeover { term, newest: records })));
        let epoch = newest_epoch.next().max(Epoch(term.0));
        let mut chain = Self { log, epoch, before, links: BTreeMap::new(), doubtful };
        for (pair, newest) in found {
            chain.take_over(pair, newest).await?;
        }
        Ok(chain)
    }

    /// Continues a pair's chain from its newest record, with a lead record.
    async fn take_over(&mut self, pair: Pair, newest: Newest) -> Result<(), PublishError> {
        let Newest { sequence, record, covered, lost } = newest;
        let written_in = record.as_ref().map(|record| record.epoch);
        // Where nobody has led since, we were there all the time, and something else was away.
        let cause = match (lost, self.before.is_some() && written_in <= self.before) {
            (true, _) => GapCause::LogLost,
            (false, true) => GapCause::Missed,
            (false, false) => GapCause::NoLeader,
        };
        let newest = record.as_ref().map(name);
        self.links.insert(pair, Link { sequence, newest, covered, cause, told: false });
        let leader = Some(self.log.leadership.id());
        self.append(pair, Body::Lead(Lead { covered, leader })).await
    }

    /// Returns when pairs that are in doubt should be looked at again; never if there are none.
    pub(super) async fn doubt_is_due(&self) {
        match self.doubtful.is_empty() {
            true => std::future::pending().await,
            false => tokio::time::sleep(DOUBT_PAUSE).await,
        }
    }

    /// Continues the pairs that are no longer in doubt, with what was polled for them meanwhile.
    pub(super) async fn settle_doubts(&mut self) -> Result<(), PublishError> {
        for pair in self.doubtful.keys().copied().collect::<Vec<_>>() {
            let newest = match self.log.newest(pair).await? {
                Found::Newest(newest) => newest,
                Found::InDoubt(reason) => {
                    if let Some(doubtful) = self.doubtful.get_mut(&pair) {
                        doubtful.reason = reason;
                    }
                    self.show();
                    continue;
                }
            };
            if newest.record.as_ref().is_some_and(|record| record.epoch >= self.epoch) {
                // This term's epoch was chosen without knowledge of that record: a new one is needed.
                return Err(PublishError::Rewound { pair });
            }
            let bodies = self.doubtful.remove(&pair).map(|doubtful| doubtful.bodies).unwrap_or_default();
            tracing::info!(event = "pair_settled", %pair, waited = bodies.len(), "publishing this pair again");
            self.take_over(pair, newest).await?;
            for body in &bodies {
                self.publish(pair, body).await?;
            }
        }
        Ok(())
    }

    /// What was polled for the pairs that are still in doubt.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = (Pair, Body)> {
        self.doubtful
            .into_iter()
            .flat_map(|(pair, doubtful)| doubtful.bodies.into_iter().map(move |body| (pair, body)))
    }

    /// Shows how publishing is in the process's readiness.
    fn show(&self) {
        let doubts: Vec<_> =
            self.doubtful.iter().map(|(pair, doubtful)| format!("{pair}: {}", doubtful.reason)).collect();
        self.log.check.set(match doubts.is_empty() {
            true => Condition::Ready,
            false => Condition::Degraded(format!("not publishing {}", doubts.join("; "))),
        });
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
        if let Some(Doubtful { bodies, .. }) = self.doubtful.get_mut(&pair) {
            if bodies.len() == QUEUE_SLOTS {
                bodies.pop_front();
            }
            bodies.push_back(body.clone());
            return Ok(());
        }
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
        self.show();
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
        let Newest { sequence, record: newest, .. } = self.settled_newest(pair).await?;
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

    /// The pair's newest record, or that it is in doubt. Waits while the log does not answer.
    async fn newest(&self, pair: Pair) -> Result<Found, PublishError> {
        let ask = || async {
            match self.writer.newest(pair).await {
                Ok(newest) => Ok(Found::Newest(newest)),
                Err(error @ ReadError::InDoubt(_)) => Ok(Found::InDoubt(error.to_string())),
                Err(error) => Err(error),
            }
        };
        self.read(ask).await
    }

    /// The pair's newest record, once it is not in doubt.
    async fn settled_newest(&self, pair: Pair) -> Result<Newest, PublishError> {
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

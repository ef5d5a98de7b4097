//! The log during one term. Operations are retried until the term ends. If the result of an append is unknown, it is
//! determined from the newest record.

use std::sync::Arc;

use common::{
    bus::{AppendError, LogWriter, Newest, Partly, ReadError, lease::Term},
    domain::{Body, Epoch, Gap, GapCause, Interval, Origin, Pair, Record, Sequence, Slot, Timestamp},
    readiness::{Check, Condition},
    retry::{RETRY_PAUSE, retry},
    telemetry::chain,
};
use tokio_util::sync::CancellationToken;

use super::super::{PublishError, Publisher};
use crate::{lead::Leadership, metrics::Metrics};

/// The end of a pair's chain, as far as we know.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) sequence: Sequence,
    /// Identifies the newest record. None if the pair has none.
    pub(super) newest: Option<(Epoch, String)>,
    pub(super) covered: Option<Timestamp>,
    /// Whether the covered slot was backfilled, so that the pair has no live slot yet.
    pub(super) is_backfilled: bool,
    /// Whether the log has lost records of the pair.
    pub(super) is_lost: bool,
    /// Up to where slots are missing because the pair was not in the settings of the pollers that led.
    pub(super) unconfigured_until: Option<Timestamp>,
    /// The cause of the gap, if slots after the newest record are missing.
    pub(super) cause: GapCause,
    /// Whether it was logged that the log already has a record for a polled slot.
    pub(super) is_logged: bool,
}

impl Link {
    /// Continues after a record that was stored.
    pub(super) fn advance(&mut self, sequence: Sequence, record: &Record) {
        (self.sequence, self.newest) = (sequence, Some(name(record)));
        (self.covered, self.is_backfilled) = (record.covers_up_to(), record.is_backfilled());
    }
}

/// What to do after the log reported an unexpected newest record.
enum Resolution {
    /// The record had been stored, with this sequence.
    Stored(Sequence),
    /// Append the record again, expecting this sequence.
    Retry(Sequence),
}

/// The newest record of a pair, or why it is not certain.
pub(super) enum Found {
    Newest(Newest),
    InDoubt(String),
}

/// The log during one term. Operations are retried until the term ends.
pub(super) struct Log {
    pub(super) writer: Arc<dyn LogWriter>,
    pub(super) leadership: Leadership,
    term: Term,
    interval: Interval,
    pub(super) origin: Origin,
    pub(super) metrics: Metrics,
    pub(super) check: Check,
    stop: CancellationToken,
}

impl Log {
    pub(super) fn new(publisher: &Publisher, term: Term) -> Self {
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

    /// The first slot after a time.
    pub(super) fn slot_after(&self, time: Timestamp) -> Slot {
        self.interval.after(time)
    }

    /// A gap for the slots between `covered` and `slot`. None if there are no slots between them.
    pub(super) fn gap_between(&self, covered: Timestamp, slot: Slot, cause: GapCause) -> Option<Gap> {
        let from = self.interval.after(covered);
        let last = self.interval.before(slot);
        let (interval, backfilled) = (self.interval, cause == GapCause::NotBackfilled);
        (from < slot).then_some(Gap { from, slot: last, interval, cause, backfilled, evidence: None })
    }

    /// Appends consecutive records of a pair and advances the link. Returns how many are stored. The rest may be stored
    /// or not.
    pub(super) async fn append_all(
        &self,
        records: &[Record],
        link: &mut Link,
    ) -> Result<usize, PublishError> {
        if !self.leadership.may_write(self.term) {
            return Err(PublishError::NotLeading);
        }
        let (stored, last) = match self.writer.append_all(records, link.sequence).await {
            Ok(last) => (records.len(), last),
            Err(Partly { stored, last, error }) => {
                tracing::debug!(
                    event = "append_interrupted",
                    error = chain(&error),
                    "appending several records failed"
                );
                (stored, last)
            }
        };
        if let Some(record) = stored.checked_sub(1).and_then(|last| records.get(last)) {
            link.advance(last, record);
        }
        Ok(stored)
    }

    pub(super) async fn append(&self, record: &Record, link: &mut Link) -> Result<Sequence, PublishError> {
        let mut is_logged = false;
        loop {
            if !self.leadership.may_write(self.term) {
                return Err(PublishError::NotLeading);
            }
            match self.writer.append(record, link.sequence).await {
                Ok(sequence) => {
                    if is_logged {
                        tracing::info!(event = "publish_recovered", "the log accepts records again");
                    }
                    return Ok(sequence);
                }
                Err(AppendError::WrongLastSequence) => match self.resolve(record, link).await? {
                    Resolution::Stored(sequence) => return Ok(sequence),
                    Resolution::Retry(sequence) => link.sequence = sequence,
                },
                Err(AppendError::Unconfirmed(error)) => {
                    let reason = chain(&*error);
                    if !std::mem::replace(&mut is_logged, true) {
                        tracing::warn!(
                            event = "publish_failed",
                            reason,
                            "publishing to the log failed; retrying"
                        );
                    }
                    // The reason may change while retrying.
                    self.check.set(Condition::Degraded(format!(
                        "publishing to the log failed; retrying: {reason}"
                    )));
                }
            }
            self.metrics.retries.inc();
            self.pause().await?;
        }
    }

    /// Decides how to continue after the log refused a record because of its expected sequence.
    async fn resolve(&self, record: &Record, link: &Link) -> Result<Resolution, PublishError> {
        let pair = record.pair;
        let Newest { sequence, record: newest, .. } = match self.newest(pair).await? {
            Found::Newest(newest) => newest,
            Found::InDoubt(reason) => return Err(PublishError::InDoubt { pair, reason }),
        };
        let Some(newest) = newest else {
            let rewound = Err(PublishError::Rewound { pair });
            return if link.newest.is_some() { rewound } else { Ok(Resolution::Retry(sequence)) };
        };
        if newest == *record {
            return Ok(Resolution::Stored(sequence));
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
            tracing::warn!(
                event = "foreign_message", %pair, %sequence,
                "the log contains a message that is not a record; skipping it"
            );
        }
        Ok(Resolution::Retry(sequence))
    }

    /// The pair's newest record, or why it is uncertain which record that is. Retries while the log does not
    /// respond.
    pub(super) async fn newest(&self, pair: Pair) -> Result<Found, PublishError> {
        let ask = || async {
            match self.writer.newest(pair).await {
                Ok(newest) => Ok(Found::Newest(newest)),
                Err(error @ ReadError::InDoubt(_)) => Ok(Found::InDoubt(error.to_string())),
                Err(error) => Err(error),
            }
        };
        self.read(ask).await
    }

    /// Reads from the log. Retries while the log does not respond.
    pub(super) async fn read<T, F>(&self, ask: impl Fn() -> F) -> Result<T, PublishError>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let mut is_logged = false;
        let failed = |error: ReadError| {
            if error.trouble().is_none() {
                return Err(PublishError::Log(error));
            }
            let reason = chain(&error);
            if !std::mem::replace(&mut is_logged, true) {
                tracing::warn!(event = "read_failed", reason, "reading from the log failed; retrying");
            }
            self.check.set(Condition::Degraded(reason));
            if self.leadership.may_write(self.term) { Ok(()) } else { Err(PublishError::NotLeading) }
        };
        self.stop.run_until_cancelled(retry(ask, failed)).await.unwrap_or(Err(PublishError::Stopped))
    }

    async fn pause(&self) -> Result<(), PublishError> {
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(RETRY_PAUSE)).await;
        slept.ok_or(PublishError::Stopped)
    }
}

/// Identifies a record among those of all pollers.
pub(super) fn name(record: &Record) -> (Epoch, String) {
    (record.epoch, record.id())
}

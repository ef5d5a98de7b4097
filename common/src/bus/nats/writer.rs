//! Appends records to the stream, and determines where a pair's chain of records continues.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{
    context::PublishErrorKind,
    message::PublishMessage,
    stream::{Info, Stream},
};
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;
use tracing::Span;

use super::{
    Nats, NatsError, NatsLease, SYSTEM,
    memory::{Judgement, LeaderResponse, Memory, SETTLED_AFTER},
    other_servers::Wanted,
    replicas::Replicas,
    search::{Search, SearchError, readable},
    stream::identity,
};
use crate::{
    bus::{AppendError, LogWriter, Newest, ReadError, Source},
    domain::{Body, Lead, Origin, Pair, Record, Sequence, Timestamp},
    telemetry::{TraceContext, chain},
    wire,
};

/// How long the only server of a log must contradict this process's memory before records are considered lost.
const SETTLED_AFTER_ALONE: Duration = Duration::from_secs(1);

/// How long a new process waits for servers that are down or not up to date before it relies on the others. A new process
/// has no memory that could contradict them. After a power failure, the servers of a cluster return within a few seconds of
/// each other.
const NEW_FOR: Duration = Duration::from_secs(10);

const SEE_OPERATIONS: &str = "; see \"The servers of the log contradict each other\" in docs/operations.md";

/// Appends records to the stream. Recreates the stream if it is deleted, provided that the role has the permission.
#[derive(Debug)]
pub struct NatsWriter {
    nats: Nats,
    lease: Arc<NatsLease>,
    stream: Stream,
    memory: Mutex<Memory>,
    opened: Instant,
}

/// The part of a description of a stream that says when the server wrote it.
#[derive(Debug, Deserialize)]
struct ServerTime {
    ts: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{gone}; this process could not create the stream: {}", chain(failure))]
struct NotRecreated {
    gone: ReadError,
    failure: ReadError,
}

impl NatsWriter {
    /// Opens a writer on the stream. The holder of the lease creates the stream if it does not exist.
    pub async fn open(nats: Nats, lease: Arc<NatsLease>) -> Result<Self, NatsError> {
        let stream = nats.ensure_stream(&lease).await?;
        Ok(Self { nats, lease, stream, memory: Mutex::default(), opened: Instant::now() })
    }

    /// Reads and remembers where the stream ends. A standby does this regularly. If the log loses records before the
    /// standby takes over, the standby can tell from its memory, whatever the servers respond.
    pub async fn observe(&self) -> Result<(), ReadError> {
        let info = self.nats.stream_info().await?;
        self.memory().saw_end(&identity(&info), Sequence(info.state.last_sequence));
        Ok(())
    }
}

#[async_trait]
impl LogWriter for NatsWriter {
    fn system(&self) -> &'static str {
        SYSTEM
    }

    async fn server_time(&self) -> Option<Timestamp> {
        let subject = format!("$JS.API.STREAM.INFO.{}", self.nats.stream);
        let ServerTime { ts } = self.nats.ask(&subject, Bytes::new()).await.ok()?;
        ts.parse().ok()
    }

    async fn newest(&self, pair: Pair) -> Result<Newest, ReadError> {
        let subject = self.nats.subjects.of(pair);
        let found = self.newest_under(&subject).await?;
        // Check after reading the message: if the server is the leader now, it also was when it returned the message.
        let info = self.nats.stream_info().await?;
        self.checked(pair, &subject, found, &info).await
    }

    async fn origin(&self) -> Result<Option<Origin>, ReadError> {
        let newest = self.newest_under(&self.nats.subjects.all()).await?;
        Ok(newest.record.map(|record| record.origin))
    }

    async fn append(&self, record: &Record, expected: Sequence) -> Result<Sequence, AppendError> {
        self.nats.require_connection().map_err(|error| AppendError::Unconfirmed(error.into()))?;
        let (subject, id) = (self.nats.subjects.of(record.pair), record.id());
        let span = Span::current();
        span.record("messaging.destination.name", &subject).record("messaging.message.id", &id);
        let mut message = PublishMessage::build()
            .message_id(id)
            .expected_last_subject_sequence(expected.0)
            .header("Content-Type", "application/json")
            .payload(wire::encode(record).into());
        // The header is also sent if the trace is not recorded, so that the readers do not record it either.
        if let Some(trace) = TraceContext::current() {
            message = message.header(TraceContext::HEADER, trace.to_string());
        }
        let end = self.memory().end();
        let sent = self.nats.context.send_publish(subject, message).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            // The log already has a message with this id, from this process or from another one. Servers in a cluster
            // check for duplicates before they check the fence, so this is handled like a record that the fence
            // rejected.
            Ok(acknowledgement) if acknowledgement.duplicate => Err(AppendError::WrongLastSequence),
            Ok(acknowledgement) => {
                let sequence = Sequence(acknowledgement.sequence);
                if sequence <= end {
                    // The caller handles this like a record that the fence rejected: it reads the newest record again.
                    tracing::error!(
                        event = "log_set_back", %sequence, %end,
                        "the log stored a record at a position that it had used before, so it was reset to an older \
                         state and has lost records"
                    );
                    return Err(AppendError::WrongLastSequence);
                }
                self.memory().appended(record.pair, sequence, record.covers_up_to());
                Ok(sequence)
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(AppendError::WrongLastSequence)
            }
            // No stream has this subject. The stream may have been deleted.
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                Err(AppendError::Unconfirmed(self.diagnose_stream(error).await.into()))
            }
            Err(error) => Err(AppendError::Unconfirmed(self.nats.request_error(error).into())),
        }
    }
}

impl NatsWriter {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position of the newest message under a subject (or a wildcard), and the newest record there, according to the
    /// leader.
    async fn newest_under(&self, subject: &str) -> Result<Newest, ReadError> {
        let search = Search { stream: &self.stream, subject, first: 0 };
        let Some(message) = self.or_diagnose(search.newest().await).await? else {
            return Ok(Newest::new(Sequence::default(), None));
        };
        let sequence = Sequence(message.sequence);
        if let Some(record) = readable(message)? {
            return Ok(Newest::new(sequence, Some(record)));
        }
        tracing::warn!(
            event = "foreign_message",
            subject,
            %sequence,
            "the newest message of this subject is not a record; searching for an earlier record"
        );
        let search = Search { first: self.nats.stream_info().await?.state.first_sequence, ..search };
        let record = self.or_diagnose(search.newest_before(sequence.0, Some).await).await?;
        Ok(Newest::new(sequence, record))
    }

    /// Compares what the leader returned for a pair with everything that this process knows about the pair.
    async fn checked(
        &self,
        pair: Pair,
        subject: &str,
        found: Newest,
        info: &Info,
    ) -> Result<Newest, ReadError> {
        let log = identity(info);
        let replicas = Replicas::of(info);
        if !replicas.are_all_current() && self.opened.elapsed() < NEW_FOR {
            let reason = "this process has just started and does not know where the log ended".to_owned();
            return Err(ReadError::InDoubt(reason + &describe_behind(&replicas)));
        }
        let after_end = Sequence(info.state.last_sequence).next();
        // If any server has a message after the leader's last one, the leader has lost records. This check works even
        // if this process has just started and knows nothing about the lost records.
        let has_more = self.nats.is_held_elsewhere(after_end, info).await?;
        if has_more {
            self.memory().saw_end(&log, after_end);
        }
        let response = LeaderResponse {
            log: &log,
            end: Sequence(info.state.last_sequence),
            first: Sequence(info.state.first_sequence),
            newest: found.sequence,
            settled_after: replicas.are_all_current().then_some(match replicas.wanted {
                // No other server can have the record. Wait for a moment only because requests of this process overlap:
                // the memory may already contain a response that is newer than this one.
                1 => SETTLED_AFTER_ALONE,
                _ => SETTLED_AFTER,
            }),
        };
        let mut judgement = self.memory().judge(pair, &response, Instant::now());
        let is_decided = matches!(judgement, Judgement::Consistent | Judgement::Lost { .. });
        if is_decided && found.sequence == Sequence::default() {
            self.look_for_any(pair, subject, info, &replicas).await?;
            judgement = self.memory().judge(pair, &response, Instant::now());
        }
        if let Judgement::Missing(sequence, reason) = &judgement {
            if has_more || self.nats.is_held_elsewhere(*sequence, info).await? {
                self.memory().restart_wait(pair);
                return Err(ReadError::InDoubt(format!(
                    "{reason}, but another server has the missing message{SEE_OPERATIONS}"
                )));
            }
            tracing::error!(
                event = "log_lost",
                %pair,
                reason,
                "the log has lost acknowledged records; recording a gap for their slots"
            );
            self.memory().accept_loss(response.end);
            judgement = self.memory().judge(pair, &response, Instant::now());
        }
        let found = match judgement {
            Judgement::InDoubt(reason) | Judgement::Missing(_, reason) => {
                return Err(ReadError::InDoubt(reason + &describe_behind(&replicas)));
            }
            Judgement::Lost { known: Some(known), .. }
                if self.nats.is_held_elsewhere(known, info).await? =>
            {
                return Err(ReadError::InDoubt(format!(
                    "the leader does not have message {known} of {pair}, but another server has it{SEE_OPERATIONS}"
                )));
            }
            Judgement::Lost { covered, .. } => {
                let found = self.continued(subject, found, info).await?;
                Newest { covered: found.covered.or(covered), lost: true, ..found }
            }
            Judgement::Consistent => self.continued(subject, found, info).await?,
        };
        let lost = found.lost || self.memory().had_later(pair, found.covered);
        let found = Newest { lost, ..found };
        self.memory().saw(&log, pair, found.sequence, found.covered);
        Ok(found)
    }

    /// Searches for a record of a pair in every other way, before it is accepted that the pair has none. Remembers a
    /// record that is found, so that the next judgement finds a contradiction between this record and the leader.
    async fn look_for_any(
        &self,
        pair: Pair,
        subject: &str,
        info: &Info,
        replicas: &Replicas,
    ) -> Result<(), ReadError> {
        if !replicas.are_all_current() {
            let reason = format!("the leader has no record of {pair}");
            return Err(ReadError::InDoubt(reason + &describe_behind(replicas)));
        }
        let first = info.state.first_sequence;
        let search = Search { stream: &self.stream, subject, first };
        // The leader finds a subject's newest message and the messages after a position with two different indexes. The
        // first one found nothing, so try the second one.
        let mut found = self.or_diagnose(search.next(first).await).await?;
        if found.is_none() {
            found = self.nats.ask_any_server(info, Wanted::LastOf(subject), |_| true).await?;
        }
        if let Some(message) = found {
            let sequence = Sequence(message.sequence);
            let covered = readable(message)?.and_then(|record| record.covers_up_to());
            self.memory().saw(&identity(info), pair, sequence, covered);
        }
        Ok(())
    }

    /// A lead record without a slot says that the pair had no earlier record. If the pair does have earlier records,
    /// continues from those. This happens if a previous leader trusted a damaged server.
    async fn continued(&self, subject: &str, found: Newest, info: &Info) -> Result<Newest, ReadError> {
        let starts_chain =
            matches!(found.record, Some(Record { body: Body::Lead(Lead { covered: None, .. }), .. }));
        if !starts_chain {
            return Ok(found);
        }
        let search = Search { stream: &self.stream, subject, first: info.state.first_sequence };
        let covered = search.newest_before(found.sequence.0, |record| record.covers_up_to()).await;
        let covered = self.or_diagnose(covered).await?;
        Ok(Newest { covered, lost: covered.is_some(), ..found })
    }

    async fn or_diagnose<T>(&self, result: Result<T, SearchError>) -> Result<T, ReadError> {
        match result {
            Ok(found) => Ok(found),
            Err(SearchError::Read(error)) => Err(error),
            Err(SearchError::Request(error)) => Err(self.diagnose_stream(error).await),
        }
    }

    /// Finds the reason for a failed request. If the stream was deleted, recreates it, provided that the role has the
    /// permission. The caller's next attempt then finds a log without the expected records.
    async fn diagnose_stream(&self, error: impl Into<Source>) -> ReadError {
        match self.nats.stream_info().await {
            Ok(_) => self.nats.request_error(error),
            Err(gone @ ReadError::Gone { .. }) => match self.nats.recreate_stream(&self.lease).await {
                Ok(()) => {
                    self.memory().forget();
                    gone
                }
                Err(failure) => ReadError::Unavailable(NotRecreated { gone, failure }.into()),
            },
            Err(other) => other,
        }
    }
}

/// The servers that cannot confirm a response, as the end of a sentence.
fn describe_behind(replicas: &Replicas) -> String {
    match replicas.behind.as_slice() {
        [] => String::new(),
        behind => format!("; these servers are down or not up to date: {}", behind.join(", ")),
    }
}

//! Appending to the stream, and finding out where a pair's chain goes on.

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
use tokio::time::Instant;

use super::{
    Nats, NatsError, NatsLease,
    memory::{Answer, Judgement, Memory, SETTLED_AFTER},
    opinions::Wanted,
    replicas::Replicas,
    search::{Search, SearchError, readable},
    stream::identity,
};
use crate::{
    bus::{AppendError, LogWriter, Newest, ReadError, Source},
    domain::{Body, Lead, Origin, Pair, Record, Sequence},
    telemetry::chain,
    wire,
};

const HELD_ELSEWHERE: &str = ": see \"The servers of the log contradict each other\" in docs/operations.md";

/// Appends records to the stream. One that is deleted meanwhile is made anew, if that is allowed.
#[derive(Debug)]
pub struct NatsWriter {
    nats: Nats,
    lease: Arc<NatsLease>,
    stream: Stream,
    memory: Mutex<Memory>,
}

/// The stream is gone, and this process could not create it.
#[derive(Debug, thiserror::Error)]
#[error("{gone}; creating it failed: {}", chain(refused))]
struct NotRemade {
    gone: ReadError,
    refused: ReadError,
}

impl NatsWriter {
    /// A writer on the stream, which is created if it is missing, by whoever holds the lease.
    pub async fn open(nats: Nats, lease: Arc<NatsLease>) -> Result<Self, NatsError> {
        let stream = nats.ensure_stream(&lease).await?;
        Ok(Self { nats, lease, stream, memory: Mutex::default() })
    }

    /// Looks at the stream, and remembers where it ends. A standby does so regularly: what it saw is evidence that does
    /// not depend on the servers, should it have to take over from a log that was damaged.
    pub async fn observe(&self) -> Result<(), ReadError> {
        let info = self.nats.stream_info().await?;
        self.memory().saw_end(&identity(&info), Sequence(info.state.last_sequence));
        Ok(())
    }
}

#[async_trait]
impl LogWriter for NatsWriter {
    async fn newest(&self, pair: Pair) -> Result<Newest, ReadError> {
        let subject = self.nats.subjects.of(pair);
        let found = self.newest_under(&subject).await?;
        // Asked afterwards: a leader that a majority still follows now was the right one to ask.
        let info = self.nats.stream_info().await?;
        self.checked(pair, &subject, found, &info).await
    }

    async fn origin(&self) -> Result<Option<Origin>, ReadError> {
        let newest = self.newest_under(&self.nats.subjects.all()).await?;
        Ok(newest.record.map(|record| record.origin))
    }

    async fn append(&self, record: &Record, expected: Sequence) -> Result<Sequence, AppendError> {
        self.nats.require_connection().map_err(|error| AppendError::Unconfirmed(error.into()))?;
        let message = PublishMessage::build()
            .message_id(record.id())
            .expected_last_subject_sequence(expected.0)
            .header("Content-Type", "application/json")
            .payload(wire::encode(record).into());
        let sent = self.nats.context.send_publish(self.nats.subjects.of(record.pair), message).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            // The log has a record under this id already. Whose it is says only its content: servers in a
            // cluster answer so before they look at the fence.
            Ok(acknowledgement) if acknowledgement.duplicate => Err(AppendError::WrongLastSequence),
            Ok(acknowledgement) => {
                let sequence = Sequence(acknowledgement.sequence);
                self.memory().appended(record.pair, sequence, record.covers_up_to());
                Ok(sequence)
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(AppendError::WrongLastSequence)
            }
            // Nobody takes messages of this subject.
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                Err(AppendError::Unconfirmed(self.look_into(error).await.into()))
            }
            Err(error) => Err(AppendError::Unconfirmed(self.nats.unanswered(error).into())),
        }
    }
}

impl NatsWriter {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest message under one subject, or under all of them, and the newest record there, as the leader has them.
    async fn newest_under(&self, subject: &str) -> Result<Newest, ReadError> {
        let search = Search { stream: &self.stream, subject, first: 0 };
        let Some(message) = self.answered(search.newest().await).await? else {
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
            "the newest message of this subject is not a record; looking for one before it"
        );
        let search = Search { first: self.nats.stream_info().await?.state.first_sequence, ..search };
        let record = self.answered(search.newest_before(sequence.0, Some).await).await?;
        Ok(Newest::new(sequence, record))
    }

    /// What the leader says of a pair, compared with everything else that is known of it.
    async fn checked(
        &self,
        pair: Pair,
        subject: &str,
        found: Newest,
        info: &Info,
    ) -> Result<Newest, ReadError> {
        let log = identity(info);
        let replicas = Replicas::of(info);
        let answer = Answer {
            log: &log,
            end: Sequence(info.state.last_sequence),
            newest: found.sequence,
            settled_after: replicas.are_all_current().then_some(match replicas.wanted {
                // There is no other server that could know better.
                1 => Duration::ZERO,
                _ => SETTLED_AFTER,
            }),
        };
        let mut judgement = self.memory().judge(pair, &answer, Instant::now());
        if judgement == Judgement::Consistent && found.sequence == Sequence::default() {
            self.look_for_any(pair, subject, info, &replicas).await?;
            judgement = self.memory().judge(pair, &answer, Instant::now());
        }
        if let Judgement::Missing(sequence, reason) = &judgement {
            if self.nats.is_held_elsewhere(*sequence, info).await? {
                self.memory().unsettle();
                return Err(ReadError::InDoubt(format!(
                    "{reason}, but another server has it{HELD_ELSEWHERE}"
                )));
            }
            tracing::error!(
                event = "log_lost",
                %pair,
                reason,
                "the log has lost records that it had acknowledged; a gap covers their slots"
            );
            self.memory().give_up(answer.end);
            judgement = self.memory().judge(pair, &answer, Instant::now());
        }
        let found = match judgement {
            Judgement::InDoubt(reason) | Judgement::Missing(_, reason) => {
                return Err(ReadError::InDoubt(reason + &away(&replicas)));
            }
            Judgement::Lost(covered) => Newest { covered: found.covered.or(covered), lost: true, ..found },
            Judgement::Consistent => self.continued(subject, found, info).await?,
        };
        let lost = found.lost || self.memory().had_later(pair, found.covered);
        let found = Newest { lost, ..found };
        self.memory().saw(&log, pair, found.sequence, found.covered);
        Ok(found)
    }

    /// Asks everybody else before it is believed that a pair has no record. What turns up is remembered, and then
    /// contradicts the leader.
    async fn look_for_any(
        &self,
        pair: Pair,
        subject: &str,
        info: &Info,
        replicas: &Replicas,
    ) -> Result<(), ReadError> {
        if !replicas.are_all_current() {
            let reason = format!("the leader has no record of {pair}");
            return Err(ReadError::InDoubt(reason + &away(replicas)));
        }
        let first = info.state.first_sequence;
        let search = Search { stream: &self.stream, subject, first };
        // The leader finds a subject's newest message in one index, and messages after a position in others.
        let mut found = self.answered(search.next(first).await).await?;
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

    /// A pair whose chain was begun from nothing is continued from where it had come to, if it had records before: then
    /// somebody believed a damaged server.
    async fn continued(&self, subject: &str, found: Newest, info: &Info) -> Result<Newest, ReadError> {
        let begun = matches!(found.record, Some(Record { body: Body::Lead(Lead { covered: None, .. }), .. }));
        if !begun {
            return Ok(found);
        }
        let search = Search { stream: &self.stream, subject, first: info.state.first_sequence };
        let covered = search.newest_before(found.sequence.0, |record| record.covers_up_to()).await;
        let covered = self.answered(covered).await?;
        Ok(Newest { covered, lost: covered.is_some(), ..found })
    }

    async fn answered<T>(&self, answer: Result<T, SearchError>) -> Result<T, ReadError> {
        match answer {
            Ok(found) => Ok(found),
            Err(SearchError::Read(error)) => Err(error),
            Err(SearchError::Unanswered(error)) => Err(self.look_into(error).await),
        }
    }

    /// What is the matter with the stream. One that is gone is made anew, if that is allowed: then the next try
    /// meets a log that does not have what it expects, which is for the caller to see.
    async fn look_into(&self, error: impl Into<Source>) -> ReadError {
        match self.nats.stream_info().await {
            Ok(_) => self.nats.unanswered(error),
            Err(gone @ ReadError::Gone { .. }) => match self.nats.make_anew(&self.lease).await {
                Ok(()) => gone,
                Err(refused) => ReadError::Unavailable(NotRemade { gone, refused }.into()),
            },
            Err(other) => other,
        }
    }
}

/// Which servers cannot be asked, for the end of a sentence.
fn away(replicas: &Replicas) -> String {
    match replicas.behind.as_slice() {
        [] => String::new(),
        behind => format!(", while these servers are behind or away: {}", behind.join(", ")),
    }
}

//! Appending to the stream.

use async_nats::jetstream::{
    context::PublishErrorKind,
    message::{PublishMessage, StreamMessage},
    stream::{LastRawMessageErrorKind, Stream},
};
use async_trait::async_trait;

use super::{Nats, NatsError, entry};
use crate::{
    bus::{AppendError, LogWriter, Newest, NotRecord, ReadError, Source},
    domain::{Origin, Pair, Record, Sequence},
    telemetry::chain,
    wire::{self, DecodeError},
};

/// How many messages before one that is no record are searched for the newest record. A few seconds' work.
const MAX_LOOK_BACK: u64 = 10_000;

/// Appends records to the stream. One that is deleted meanwhile is made anew, if that is allowed.
#[derive(Debug)]
pub struct NatsWriter {
    nats: Nats,
    stream: Stream,
}

/// The stream is gone, and this process could not create it.
#[derive(Debug, thiserror::Error)]
#[error("{gone}; creating it failed: {}", chain(refused))]
struct NotRemade {
    gone: ReadError,
    refused: ReadError,
}

impl NatsWriter {
    /// A writer on the stream, which is created if it is missing.
    pub async fn open(nats: Nats) -> Result<Self, NatsError> {
        let stream = nats.ensure_stream().await?;
        Ok(Self { nats, stream })
    }
}

#[async_trait]
impl LogWriter for NatsWriter {
    async fn newest(&self, pair: Pair) -> Result<Newest, ReadError> {
        self.newest_under(&self.nats.subjects.of(pair)).await
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
            Ok(acknowledgement) => Ok(Sequence(acknowledgement.sequence)),
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
    /// What is the matter with the stream. One that is gone is made anew, if that is allowed: then the next try
    /// meets a log that does not have what it expects, which is for the caller to see.
    async fn look_into(&self, error: impl Into<Source>) -> ReadError {
        match self.nats.stream_info().await {
            Ok(_) => self.nats.unanswered(error),
            Err(gone @ ReadError::Gone { .. }) => match self.nats.make_anew().await {
                Ok(()) => gone,
                Err(refused) => ReadError::Unavailable(NotRemade { gone, refused }.into()),
            },
            Err(other) => other,
        }
    }

    /// The newest message under one subject, or under all of them, and the newest record there.
    async fn newest_under(&self, subject: &str) -> Result<Newest, ReadError> {
        // `STREAM.MSG.GET` is answered by the stream's leader; a direct get may come from a follower
        // that is behind, and would make us believe that a stored record is not there.
        let newest = match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(Newest { sequence: Sequence::default(), record: None });
            }
            Err(error) => return Err(self.look_into(error).await),
        };
        let sequence = Sequence(newest.sequence);
        if let Some(record) = readable(newest)? {
            return Ok(Newest { sequence, record: Some(record) });
        }
        tracing::warn!(subject, %sequence, "the newest message is no record; looking before it");
        let record = self.newest_readable_before(subject, sequence).await?;
        Ok(Newest { sequence, record })
    }

    /// JetStream finds a subject's last message, but not the one before it: this walks back. Giving up
    /// and saying that there is none would begin the pair anew, and cover its slots twice.
    async fn newest_readable_before(
        &self,
        subject: &str,
        newest: Sequence,
    ) -> Result<Option<Record>, ReadError> {
        let first = self.nats.stream_info().await?.state.first_sequence;
        let any = subject == self.nats.subjects.all();
        let oldest = newest.0.saturating_sub(MAX_LOOK_BACK).max(first);
        for sequence in (oldest..newest.0).rev() {
            match self.stream.get_raw_message(sequence).await {
                Ok(message) if any || message.subject.as_str() == subject => {
                    if let Some(record) = readable(message)? {
                        return Ok(Some(record));
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(self.nats.unanswered(error)),
            }
        }
        if oldest > first {
            return Err(ReadError::Buried { subject: subject.to_owned(), messages: MAX_LOOK_BACK });
        }
        Ok(None)
    }
}

/// The record in a message; nothing where it is no record. A record of a newer version is an error: going
/// on after it could repeat its slot.
fn readable(message: StreamMessage) -> Result<Option<Record>, ReadError> {
    match entry(message.sequence, Some(&message.headers), message.payload).record() {
        Ok(record) => Ok(Some(record)),
        Err(NotRecord::Undecodable(error @ DecodeError::UnknownVersion { .. })) => {
            Err(ReadError::TooNew(error))
        }
        Err(_) => Ok(None),
    }
}

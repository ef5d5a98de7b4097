//! Following the stream.
//!
//! The ordered consumer of the client library keeps order, but was seen silent for 16 s after a server
//! restart, and starts over from the beginning if it is rebuilt before its first message. So the reader
//! trusts its own cursor alone: it drops what it has seen, and when nothing comes for a while it compares
//! the cursor with the stream's end and rebuilds the consumer if it is behind.

use std::time::Duration;

use async_nats::jetstream::{
    Message,
    consumer::{DeliverPolicy, pull},
};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};

use super::{Nats, RETRY_PAUSE, entry, stream::identity};
use crate::{
    bus::{Batch, LogIdentity, LogReader, ReadError, Source},
    domain::Sequence,
};

/// How many entries a batch has at most: enough to make one store transaction worth its price while
/// catching up, few enough to keep it short.
const MAX_BATCH_ENTRIES: usize = 1_000;

/// After this long without a message the reader looks whether it is behind.
const PATIENCE: Duration = Duration::from_secs(5);

/// Follows the stream with an ordered consumer.
pub struct NatsReader {
    position: Position,
    messages: Option<pull::Ordered>,
    /// Whether a batch was given since the log last did not answer. If not, an empty one says that the
    /// reader is at the log's end.
    told: bool,
}

/// Where the reader stands, and in which log.
struct Position {
    nats: Nats,
    identity: LogIdentity,
    cursor: Sequence,
}

impl Nats {
    /// The identity of the stream, once it is there.
    pub async fn identity(&self) -> LogIdentity {
        identity(self.wait_for_stream().await.cached_info())
    }

    /// Follows the stream from after `cursor`, which must be of the log with this identity.
    pub fn follow(&self, identity: LogIdentity, cursor: Sequence) -> NatsReader {
        let position = Position { nats: self.clone(), identity, cursor };
        NatsReader { position, messages: None, told: false }
    }
}

#[async_trait]
impl LogReader for NatsReader {
    async fn next(&mut self) -> Result<Batch, ReadError> {
        let batch = self.try_next().await;
        self.told = batch.is_ok();
        batch
    }

    async fn stored(&mut self, _sequence: Sequence) {
        // The cursor lives in the reader's store; the server keeps nothing about us.
    }
}

impl Position {
    /// How many entries lie between the cursor and the end of the stream. Fails for good where it is not
    /// the stream that the cursor belongs to.
    async fn behind(&self) -> Result<u64, ReadError> {
        let info = self.nats.stream_info().await?;
        let found = identity(&info);
        if found != self.identity {
            return Err(ReadError::Replaced(format!("it was {}, now it is {found}", self.identity)));
        }
        let last = info.state.last_sequence;
        last.checked_sub(self.cursor.0).ok_or_else(|| {
            let cursor = self.cursor;
            ReadError::Replaced(format!(
                "it ends at {last}, before this reader's {cursor}, so it has lost records; \
                 move the store's folder away to build it anew"
            ))
        })
    }

    async fn consumer(&self) -> Result<pull::Ordered, ReadError> {
        self.try_consumer().await.map_err(ReadError::Unavailable)
    }

    async fn try_consumer(&self) -> Result<pull::Ordered, Source> {
        let stream = self.nats.context.get_stream_no_info(&self.nats.stream).await?;
        // Named, with one filter: then the permission for it can name the filter too.
        let consumer = stream
            .create_consumer(pull::OrderedConfig {
                name: Some(consumer_name()),
                filter_subject: self.nats.subjects.all(),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.cursor.next().0 },
                ..pull::OrderedConfig::default()
            })
            .await?;
        Ok(consumer.messages().await?)
    }

    /// Moves on to a message, unless it was seen before.
    fn advance(&mut self, message: &Message, batch: &mut Batch) {
        let Ok(info) = message.info() else {
            tracing::debug!("a message without JetStream's reply subject; not of the log");
            return;
        };
        let (sequence, pending) = (Sequence(info.stream_sequence), info.pending);
        if sequence <= self.cursor {
            return;
        }
        if sequence > self.cursor.next() {
            // Expired before we read it. No gap is recorded for it yet; averages show that it is not covered.
            let (from, before) = (self.cursor.next().0, sequence.0);
            tracing::warn!(from, before, "the log no longer holds these records");
        }
        self.cursor = sequence;
        batch.pending = pending;
        batch.entries.push(entry(sequence.0, message.headers.as_ref(), message.payload.clone()));
    }
}

impl NatsReader {
    async fn try_next(&mut self) -> Result<Batch, ReadError> {
        loop {
            let behind = match &mut self.messages {
                None => self.open().await?,
                Some(messages) => match tokio::time::timeout(PATIENCE, messages.next()).await {
                    Ok(Some(Ok(message))) => {
                        let batch = self.collect(&message);
                        if !batch.entries.is_empty() {
                            return Ok(batch);
                        }
                        continue;
                    }
                    Ok(Some(Err(error))) => {
                        tracing::debug!(%error, "the consumer failed; making a new one");
                        self.messages = None;
                        continue;
                    }
                    Ok(None) => {
                        self.messages = None;
                        continue;
                    }
                    Err(_silent) => {
                        let behind = self.position.behind().await?;
                        if behind > 0 {
                            tracing::info!(behind, "the consumer fell silent; making a new one");
                            self.messages = None;
                        }
                        behind
                    }
                },
            };
            if behind == 0 && !self.told {
                return Ok(Batch { entries: Vec::new(), pending: 0 });
            }
        }
    }

    /// Opens a consumer after the cursor. Answers how far behind the reader is.
    async fn open(&mut self) -> Result<u64, ReadError> {
        let opened = match self.position.behind().await {
            Ok(behind) => self.position.consumer().await.map(|messages| (behind, messages)),
            Err(error) => Err(error),
        };
        if matches!(opened, Err(ReadError::Unavailable(_))) {
            // The caller asks again at once.
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let (behind, messages) = opened?;
        self.messages = Some(messages);
        Ok(behind)
    }

    /// The message, and whatever else has arrived already.
    fn collect(&mut self, first: &Message) -> Batch {
        let mut batch = Batch { entries: Vec::new(), pending: 0 };
        self.position.advance(first, &mut batch);
        while batch.entries.len() < MAX_BATCH_ENTRIES
            && let Some(messages) = &mut self.messages
            && let Some(next) = messages.next().now_or_never()
        {
            match next {
                Some(Ok(message)) => self.position.advance(&message, &mut batch),
                Some(Err(_)) | None => self.messages = None,
            }
        }
        batch
    }
}

/// A name no other consumer has: names are shared by everyone who reads the stream.
fn consumer_name() -> String {
    format!("tickwell-api-{:016x}", rand::random::<u64>())
}

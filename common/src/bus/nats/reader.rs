//! Follows the stream.
//!
//! The reader relies only on its own cursor. It does not use the client library's ordered consumer, for two reasons.
//! After a server restart, an ordered consumer was seen to deliver nothing for 16 s. And if the stream is deleted, an
//! ordered consumer recreates itself at the old position in whatever stream has the same name by then.
//!
//! Instead, the reader replaces a consumer that fails, skips a message, or was created on an earlier connection. The
//! new consumer starts at the newest message that the reader has seen. Before the reader uses the new consumer's
//! messages, it checks that the log has the same identity as before, and that the first message is the one that the
//! reader has seen.

mod position;

use std::{pin::Pin, time::Duration};

use async_nats::jetstream::{
    Message,
    consumer::pull::{self, MessagesError},
};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream::Peekable};
use position::{Position, StreamCheck};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Nats, REQUEST_TIMEOUT, SYSTEM, entry, stream::identity};
use crate::{
    bus::{Batch, Entry, LogIdentity, LogReader, ReadError},
    domain::{Record, Sequence, Timestamp},
    retry::RETRY_PAUSE,
};

/// The largest number of entries in a batch. Large batches make the store's transactions efficient while the reader
/// catches up. The limit bounds the memory.
const MAX_BATCH_ENTRIES: usize = 1_000;

/// The pause between checks of the stream. The pause and the timeout of a request add up to five seconds. So within
/// five seconds, the reader notices that the log is unavailable, deleted or replaced, whatever the feed's interval is.
const CHECK_PAUSE: Duration = Duration::from_secs(5).saturating_sub(REQUEST_TIMEOUT);

/// The pause before checking again whether the servers agree. It is long because each check sends many requests.
const DOUBT_PAUSE: Duration = Duration::from_secs(3);

/// Follows the stream with consumers of its own.
pub struct NatsReader {
    position: Position,
    messages: Option<Messages>,
    connections: watch::Receiver<u64>,
    /// The earliest time to open another consumer, so that consumers that fail at once are not opened in a tight loop.
    next_open: Instant,
    /// When to check the stream again.
    next_check: Instant,
    /// How many messages of the log the reader did not have yet at the last check; `None` after an error.
    behind: Option<u64>,
    /// Whether a message has arrived since the last check.
    received: bool,
    /// Whether a batch was returned since the last error. If not, the reader returns an empty batch once it has caught
    /// up, so that the caller learns that it has caught up.
    reported: bool,
    /// Whether a message differs from the one seen earlier at the same position. Then the leader's copy must be
    /// checked.
    disputed: bool,
    /// Messages that have arrived and are not returned yet. They must outlive a call of `next` that is cancelled.
    collected: Option<Batch>,
}

/// The messages of one consumer.
struct Messages {
    stream: Peekable<pull::Stream>,
    /// How many messages have arrived. The consumer numbers its messages, so the reader notices if one is lost.
    delivered: u64,
    /// Whether this is known to be the same log as before: the newest message that the reader had seen has arrived
    /// again, or no longer exists.
    proven: bool,
}

impl Nats {
    /// The identity of the current stream.
    pub async fn identity(&self) -> Result<LogIdentity, ReadError> {
        Ok(identity(&self.stream_info().await?))
    }

    /// Follows the log with this identity, starting after `cursor`. `newest` is the newest known message up to the
    /// cursor. If the log has a different message at the position of `newest`, the reader fails, because this is
    /// another log.
    pub fn follow(&self, identity: LogIdentity, cursor: Sequence, newest: Option<Entry>) -> NatsReader {
        let (nats, first) = (self.clone(), Sequence::default());
        let position = Position { nats, identity, cursor, first, has_skipped: false, newest, settings: None };
        let (connections, now) = (self.events.connections(), Instant::now());
        NatsReader {
            position,
            messages: None,
            connections,
            next_open: now,
            next_check: now,
            behind: None,
            received: false,
            reported: false,
            disputed: false,
            collected: None,
        }
    }
}

#[async_trait]
impl LogReader for NatsReader {
    fn system(&self) -> &'static str {
        SYSTEM
    }

    async fn next(&mut self) -> Result<Batch, ReadError> {
        let batch = self.try_next().await;
        self.reported = batch.is_ok();
        if batch.as_ref().is_err_and(|error| error.trouble().is_some()) {
            self.behind = None;
            // The caller retries immediately, so pause here.
            let in_doubt = matches!(batch, Err(ReadError::InDoubt(_)));
            sleep(if in_doubt { DOUBT_PAUSE } else { RETRY_PAUSE }).await;
        }
        batch
    }

    async fn stored(&mut self, _sequence: Sequence) {
        // There is nothing to do: the pod saves the cursor in its store, and the server keeps no state for the reader.
    }

    async fn newest_slot(&mut self) -> Option<Timestamp> {
        self.position.nats.newest_slot().await
    }

    async fn rewind(&mut self, sequence: Sequence) {
        (self.position.cursor, self.position.newest) = (sequence, None);
        (self.messages, self.behind, self.collected) = (None, None, None);
    }

    async fn require(&mut self, sequence: Sequence, record: &Record) -> Result<(), ReadError> {
        self.position
            .require_on_leader(sequence, |entry| entry.record().is_ok_and(|found| found == *record))
            .await
    }
}

impl NatsReader {
    async fn try_next(&mut self) -> Result<Batch, ReadError> {
        loop {
            if let Some(batch) = self.take_collected().await? {
                return Ok(batch);
            }
            if self.messages.is_none() {
                self.open().await?;
            }
            if self.has_caught_up() {
                return Ok(Batch { entries: Vec::new(), pending: 0, first: self.position.first });
            }
            let Some(messages) = &mut self.messages else { continue };
            tokio::select! {
                // Take messages first, because a check is only needed if none arrive.
                biased;
                message = messages.stream.next() => self.collected = Some(self.collect(message)),
                _ = self.connections.changed() => {
                    tracing::debug!(event = "consumer_outdated", "reconnected; creating a new consumer");
                    self.messages = None;
                }
                () = sleep_until(self.next_check) => self.check_again().await?,
            }
        }
    }

    /// The messages that were collected, if there are any. Until they are returned, they stay where they are.
    async fn take_collected(&mut self) -> Result<Option<Batch>, ReadError> {
        if self.collected.is_some() && self.position.has_skipped {
            // Messages are missing. The first position of the log shows whether they have expired or were lost, so read
            // it. If reading it fails, the next check reports the error.
            let _ = self.position.check().await;
            self.position.has_skipped = false;
        }
        if std::mem::take(&mut self.disputed) {
            self.messages = None;
            self.position.verify_newest().await?;
        }
        let collected = self.collected.take().filter(|batch| !batch.entries.is_empty());
        Ok(collected.map(|batch| Batch { first: self.position.first, ..batch }))
    }

    /// Opens a consumer, and checks the stream before and after. A consumer is deleted together with its stream. So the
    /// consumer belongs to the stream that the second check finds.
    async fn open(&mut self) -> Result<(), ReadError> {
        sleep_until(self.next_open).await;
        self.next_open = Instant::now() + RETRY_PAUSE;
        self.connections.mark_unchanged();
        // Do not create a consumer while the stream is missing or being restored: nats-server 2.15.1 may accept the
        // request, fail to find the stream, and report itself as unhealthy from then on.
        self.position.check().await?;
        let opened = self.position.consumer().await;
        // If the consumer could not be created, this check explains why. So return its error rather than that of
        // `opened`.
        let StreamCheck { behind, .. } = self.position.check().await?;
        let first = self.position.first;
        let proven = self.position.newest.as_ref().is_none_or(|newest| newest.sequence < first);
        self.messages = Some(Messages { stream: opened?.peekable(), delivered: 0, proven });
        self.checked(behind);
        Ok(())
    }

    /// Checks the stream. Drops the consumer if it has delivered nothing since the last check although it should have.
    async fn check_again(&mut self) -> Result<(), ReadError> {
        let behind = match self.position.check().await {
            Ok(check) => check.behind,
            // A message has arrived meanwhile, so the log works.
            Err(ReadError::Unavailable(_) | ReadError::Refused(_)) if self.has_message() => {
                self.next_check = Instant::now() + CHECK_PAUSE;
                return Ok(());
            }
            Err(error) => {
                self.messages = None;
                return Err(error);
            }
        };
        if !self.received && behind > 0 {
            self.messages = None;
            if let Some(denial) = self.position.nats.events.denial() {
                return Err(ReadError::Refused(denial));
            }
            tracing::info!(
                event = "consumer_silent",
                behind,
                "JetStream delivers no messages although the log has more; creating a new consumer"
            );
        } else if let Some(messages) = &mut self.messages {
            // The consumer starts at the newest message that the reader has seen. If nothing has arrived by now, the
            // stream no longer has that message, so there is nothing to compare.
            messages.proven |= !self.received;
        }
        self.checked(behind);
        Ok(())
    }

    fn checked(&mut self, behind: u64) {
        self.next_check = Instant::now() + CHECK_PAUSE;
        (self.behind, self.received) = (Some(behind), false);
    }

    fn has_message(&mut self) -> bool {
        let waiting =
            self.messages.as_mut().map(|messages| Pin::new(&mut messages.stream).peek().now_or_never());
        matches!(waiting, Some(Some(Some(Ok(_)))))
    }

    /// Whether the reader has caught up and has not reported that yet.
    fn has_caught_up(&self) -> bool {
        !self.reported
            && self.behind == Some(0)
            && self.messages.as_ref().is_some_and(|messages| messages.proven)
    }

    /// Collects this message and all others that have already arrived.
    fn collect(&mut self, first: Option<Result<Message, MessagesError>>) -> Batch {
        let mut batch = Batch { entries: Vec::new(), pending: 0, first: self.position.first };
        let mut arrived = Some(first);
        while let Some(message) = arrived {
            self.take(message, &mut batch);
            arrived = match &mut self.messages {
                Some(messages) if batch.entries.len() < MAX_BATCH_ENTRIES => {
                    messages.stream.next().now_or_never()
                }
                _ => None,
            };
        }
        if let Some(newest) = batch.entries.last() {
            self.position.newest = Some(newest.clone());
        }
        batch
    }

    fn take(&mut self, message: Option<Result<Message, MessagesError>>, batch: &mut Batch) {
        let Some(messages) = &mut self.messages else { return };
        let message = match message {
            Some(Ok(message)) => message,
            ended => {
                let error = ended.and_then(Result::err).map(|error| error.to_string());
                tracing::debug!(event = "consumer_ended", error, "the consumer ended; creating a new one");
                self.messages = None;
                return;
            }
        };
        let Ok(info) = message.info() else {
            tracing::debug!(
                event = "message_without_position",
                "ignored a message that is not from the log's stream"
            );
            return;
        };
        messages.delivered += 1;
        if info.consumer_sequence != messages.delivered {
            tracing::info!(
                event = "consumer_messages_lost",
                "some messages from JetStream did not arrive; reading them again with a new consumer"
            );
            self.messages = None;
            return;
        }
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let entry = entry(sequence, message.headers.as_ref(), message.payload.clone());
        if self.position.contradicts(&entry) {
            (self.disputed, self.messages) = (true, None);
            return;
        }
        (messages.proven, self.received) = (true, true);
        if entry.sequence > self.position.cursor {
            batch.pending = pending;
            self.position.advance(entry, batch);
        }
    }
}

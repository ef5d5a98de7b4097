//! Follows the stream.
//!
//! The reader relies only on its own cursor. It does not use the client library's ordered consumer, for two reasons: after
//! a server restart, that was seen to deliver nothing for 16 s; and if its stream is deleted, it recreates itself at the
//! old position in whatever stream has the same name by then.
//!
//! Instead, the reader replaces a consumer that fails, skips a message, or was created on an earlier connection. The new
//! consumer starts at the newest message that the reader has seen. Before the reader uses its messages, it compares the
//! identity of the log, and that first message, with what it knows.

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

use super::{Nats, REQUEST_TIMEOUT, entry, stream::identity};
use crate::{
    bus::{Batch, Entry, LogIdentity, LogReader, ReadError},
    domain::{Record, Sequence, Timestamp},
    retry::RETRY_PAUSE,
};

/// The largest number of entries in a batch: enough to make store transactions efficient while catching up, few enough to
/// keep them short.
const MAX_BATCH_ENTRIES: usize = 1_000;

/// The pause between checks of the stream. Together with the timeout of a request this is five seconds, so the reader
/// notices within that time that the log is unavailable, was deleted or was replaced, whatever the feed's interval is.
const CHECK_PAUSE: Duration = Duration::from_secs(5).saturating_sub(REQUEST_TIMEOUT);

/// The pause before checking again whether the servers agree. Each check sends several requests to all of them.
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
    /// How far the reader was behind at the last check; `None` after an error.
    behind: Option<u64>,
    /// Whether a message has arrived since the last check.
    received: bool,
    /// Whether a batch was returned since the last error. If not, an empty batch reports that the reader has caught up.
    reported: bool,
    /// Whether a message contradicts one that was seen before, so that the log's leader must decide.
    disputed: bool,
}

/// The messages of one consumer.
struct Messages {
    stream: Peekable<pull::Stream>,
    /// How many messages have arrived. The consumer numbers its messages, so a lost one is noticed.
    delivered: u64,
    /// Whether the newest message seen before has arrived again, or has expired.
    proven: bool,
}

impl Nats {
    /// The identity of the current stream.
    pub async fn identity(&self) -> Result<LogIdentity, ReadError> {
        Ok(identity(&self.stream_info().await?))
    }

    /// Follows the log with this identity, starting after `cursor`. `newest` is the newest known message up to the cursor. If
    /// the log has another message at that position, it is another log.
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
        }
    }
}

#[async_trait]
impl LogReader for NatsReader {
    async fn next(&mut self) -> Result<Batch, ReadError> {
        let batch = self.try_next().await;
        self.reported = batch.is_ok();
        if batch.as_ref().is_err_and(|error| error.trouble().is_some()) {
            self.behind = None;
            // The caller retries immediately.
            let in_doubt = matches!(batch, Err(ReadError::InDoubt(_)));
            sleep(if in_doubt { DOUBT_PAUSE } else { RETRY_PAUSE }).await;
        }
        batch
    }

    async fn stored(&mut self, _sequence: Sequence) {
        // The cursor is saved in the reader's store; the server keeps no state for us.
    }

    async fn newest_slot(&mut self) -> Option<Timestamp> {
        self.position.nats.newest_slot().await
    }

    async fn rewind(&mut self, sequence: Sequence) {
        (self.position.cursor, self.position.newest) = (sequence, None);
        (self.messages, self.behind) = (None, None);
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
            if self.messages.is_none() {
                self.open().await?;
            }
            if self.has_caught_up() {
                return Ok(Batch { entries: Vec::new(), pending: 0, first: self.position.first });
            }
            let Some(messages) = &mut self.messages else { continue };
            tokio::select! {
                // Messages first: a check is only needed if none arrive.
                biased;
                message = messages.stream.next() => {
                    let mut batch = self.collect(message);
                    if std::mem::take(&mut self.position.has_skipped) {
                        // The first position of the log shows whether the messages have expired or were lost. Any error
                        // is reported by the next check.
                        let _ = self.position.check().await;
                        batch.first = self.position.first;
                    }
                    if std::mem::take(&mut self.disputed) {
                        self.messages = None;
                        self.position.verify_newest().await?;
                    }
                    if !batch.entries.is_empty() {
                        return Ok(batch);
                    }
                }
                _ = self.connections.changed() => {
                    tracing::debug!(event = "consumer_outdated", "reconnected; creating a new consumer");
                    self.messages = None;
                }
                () = sleep_until(self.next_check) => self.check_again().await?,
            }
        }
    }

    /// Opens a consumer, and checks the stream afterwards. A consumer is deleted together with its stream, so a consumer
    /// that was created before the check belongs to the stream that the check found.
    async fn open(&mut self) -> Result<(), ReadError> {
        sleep_until(self.next_open).await;
        self.next_open = Instant::now() + RETRY_PAUSE;
        self.connections.mark_unchanged();
        // No consumer must be created while the stream is missing or being restored: nats-server 2.15.1 may accept it, fail
        // to find the stream, and report itself as unhealthy from then on.
        self.position.check().await?;
        let opened = self.position.consumer().await;
        // If no consumer could be created, the check explains why, so its error comes first.
        let StreamCheck { behind, .. } = self.position.check().await?;
        let first = self.position.first;
        let proven = self.position.newest.as_ref().is_none_or(|newest| newest.sequence < first);
        self.messages = Some(Messages { stream: opened?.peekable(), delivered: 0, proven });
        self.checked(behind);
        Ok(())
    }

    /// Checks the stream, and whether the consumer should have delivered a message.
    async fn check_again(&mut self) -> Result<(), ReadError> {
        let behind = match self.position.check().await {
            Ok(check) => check.behind,
            // Messages have arrived meanwhile, so the log works.
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
                "the consumer delivers nothing; creating a new one"
            );
        } else if let Some(messages) = &mut self.messages {
            // The newest message seen before would have arrived by now if the stream still had it.
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

    /// Collects the message and all others that have already arrived.
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
                "ignored a message that JetStream did not deliver"
            );
            return;
        };
        messages.delivered += 1;
        if info.consumer_sequence != messages.delivered {
            tracing::info!(
                event = "consumer_messages_lost",
                "the consumer lost messages; creating a new one"
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

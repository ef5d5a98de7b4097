//! Following the stream.
//!
//! The reader trusts its own cursor alone. The ordered consumer of the client library is not used: it was seen
//! silent for 16 s after a server restart, and when its stream is deleted it makes itself anew, at the old
//! position, in whatever stream has the name by then. Here a consumer that fails, leaves something out or was
//! there before the connection was lost is replaced by one that begins with the newest message seen, and every
//! new one is held against the log's identity and that message before it is believed.

use std::{pin::Pin, time::Duration};

use async_nats::jetstream::{
    Message,
    consumer::{
        AckPolicy, Consumer, DeliverPolicy,
        pull::{self, MessagesError},
    },
    stream::{Config, Info, RawMessageErrorKind},
};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, stream::Peekable};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Nats, REQUEST_TIMEOUT, RETRY_PAUSE, entry, replicas::Replicas, stream::identity};
use crate::{
    bus::{Batch, Entry, LogIdentity, LogReader, ReadError},
    domain::{Record, Sequence, Timestamp},
};

/// How many entries a batch has at most: enough to make one store transaction worth its price while
/// catching up, few enough to keep it short.
const MAX_BATCH_ENTRIES: usize = 1_000;

/// How many messages the server is asked for at once.
const PULL_MESSAGES: usize = 500;

/// The reader looks at the stream this often. Together with the time of one request this is five seconds: so
/// soon it is noticed, whatever the interval, that the log is away, gone, or another one.
const LOOK_PAUSE: Duration = Duration::from_secs(5).saturating_sub(REQUEST_TIMEOUT);

/// The server forgets a consumer that nobody asks for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Follows the stream with consumers that only it knows.
pub struct NatsReader {
    position: Position,
    messages: Option<Messages>,
    connections: watch::Receiver<u64>,
    /// When a consumer may be opened again, if the last one fails at once.
    next_open: Instant,
    /// When the stream is to be looked at again.
    next_look: Instant,
    /// How far behind the reader was when it was looked at; not known since there is trouble.
    behind: Option<u64>,
    /// Whether a message has come since.
    heard: bool,
    /// Whether a batch was given since the log was in trouble last. If not, an empty one says that the reader is
    /// at the log's end.
    told: bool,
    /// Whether a message contradicted what was seen before, and the log's leader is to be asked.
    disputed: bool,
}

/// Where the reader stands, and in which log.
struct Position {
    nats: Nats,
    identity: LogIdentity,
    cursor: Sequence,
    /// The oldest message that the stream held when it was looked at last.
    first: Sequence,
    /// Whether messages were missing since.
    has_skipped: bool,
    /// The newest message that was seen, to know the log by.
    newest: Option<Entry>,
    /// The stream's settings when it was looked at last.
    settings: Option<Config>,
}

/// The messages of one consumer.
struct Messages {
    stream: Peekable<pull::Stream>,
    /// How many it has delivered: it counts them itself, so one that was lost on the way is missed.
    delivered: u64,
    /// Whether the newest message that was seen before has come again, or is no longer there to come.
    proven: bool,
}

/// What a look at the stream shows.
struct Look {
    /// How many messages lie between the cursor and the stream's end.
    behind: u64,
    info: Info,
}

impl Nats {
    /// The identity of the stream as it is now.
    pub async fn identity(&self) -> Result<LogIdentity, ReadError> {
        Ok(identity(&self.stream_info().await?))
    }

    /// Follows the log with this identity from after `cursor`. `newest` is the newest message up to there that
    /// is known: a log that has another one in its place is another log.
    pub fn follow(&self, identity: LogIdentity, cursor: Sequence, newest: Option<Entry>) -> NatsReader {
        let (nats, first) = (self.clone(), Sequence::default());
        let position = Position { nats, identity, cursor, first, has_skipped: false, newest, settings: None };
        let (connections, now) = (self.reports.connections(), Instant::now());
        NatsReader {
            position,
            messages: None,
            connections,
            next_open: now,
            next_look: now,
            behind: None,
            heard: false,
            told: false,
            disputed: false,
        }
    }
}

#[async_trait]
impl LogReader for NatsReader {
    async fn next(&mut self) -> Result<Batch, ReadError> {
        let batch = self.try_next().await;
        self.told = batch.is_ok();
        if batch.as_ref().is_err_and(|error| error.trouble().is_some()) {
            self.behind = None;
            // The caller asks again at once.
            sleep(RETRY_PAUSE).await;
        }
        batch
    }

    async fn stored(&mut self, _sequence: Sequence) {
        // The cursor lives in the reader's store; the server keeps nothing about us.
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

impl Position {
    /// Looks at the stream. Fails for good where it is not the one that the cursor belongs to.
    async fn look(&mut self) -> Result<Look, ReadError> {
        let info = self.nats.stream_info().await?;
        let found = identity(&info);
        if found != self.identity {
            return Err(ReadError::Replaced(format!("it was {}, now it is {found}", self.identity)));
        }
        if self.settings.as_ref() != Some(&info.config) {
            self.nats.tell_differing(&info.config);
            self.settings = Some(info.config.clone());
        }
        let (last, cursor) = (info.state.last_sequence, self.cursor);
        self.first = Sequence(info.state.first_sequence);
        let Some(behind) = last.checked_sub(cursor.0) else {
            let reason = format!("it ends at {last}, before this reader's {cursor}");
            return Err(self.gone_or_in_doubt(cursor, reason, &info).await);
        };
        Ok(Look { behind, info })
    }

    /// A consumer that begins with the newest message seen.
    async fn consumer(&self) -> Result<pull::Stream, ReadError> {
        self.nats.require_connection()?;
        let begin = self.newest.as_ref().map_or(self.cursor.next(), |newest| newest.sequence);
        let config = pull::Config {
            // Named, with one filter: then the permission for it can name the filter too.
            name: Some(consumer_name()),
            filter_subject: self.nats.subjects.all(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: begin.0 },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let created = self.nats.context.create_consumer_on_stream(config, &self.nats.stream).await;
        let consumer: Consumer<pull::Config> = created.map_err(|error| self.nats.unanswered(error))?;
        let messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES).messages().await;
        messages.map_err(|error| self.nats.unanswered(error))
    }

    /// Fails unless the stream's leader has the expected message at a position, or none because it was dropped for its
    /// age.
    async fn require_on_leader(
        &mut self,
        sequence: Sequence,
        is_expected: impl Fn(&Entry) -> bool,
    ) -> Result<(), ReadError> {
        let stream = self.nats.context.get_stream_no_info(&self.nats.stream).await;
        let stream = stream.map_err(|error| self.nats.unanswered(error))?;
        let found = stream.get_raw_message(sequence.0).await;
        // Asked afterwards: a leader that a majority still follows now was the right one to ask.
        let Look { info, .. } = self.look().await?;
        let holds = match found {
            Ok(message) => is_expected(&entry(message.sequence, Some(&message.headers), message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => sequence < self.first,
            Err(error) => return Err(self.nats.unanswered(error)),
        };
        if !holds {
            let reason = format!("its message {sequence} is another one");
            return Err(self.gone_or_in_doubt(sequence, reason, &info).await);
        }
        Ok(())
    }

    /// Moves on to a message, unless it was seen before.
    fn advance(&mut self, entry: Entry, batch: &mut Batch) {
        if entry.sequence > self.cursor.next() {
            // Whoever takes the messages in sees the hole, too.
            let (from, before) = (self.cursor.next().0, entry.sequence.0);
            tracing::warn!(
                event = "messages_missing",
                from,
                before,
                "the log no longer holds these messages"
            );
            self.has_skipped = true;
        }
        self.cursor = entry.sequence;
        batch.entries.push(entry);
    }

    /// Whether a message contradicts the one that was seen at the same position.
    fn contradicts(&self, found: &Entry) -> bool {
        let seen = self.newest.as_ref().filter(|newest| newest.sequence == found.sequence);
        seen.is_some_and(|seen| !is_same(seen, found))
    }

    /// A consumer lives on one server, which may be a damaged one: only the leader decides whether this is another log.
    async fn settle(&mut self) -> Result<(), ReadError> {
        let Some(newest) = self.newest.clone() else { return Ok(()) };
        let sequence = newest.sequence;
        self.require_on_leader(sequence, |found| is_same(&newest, found)).await?;
        tracing::warn!(
            event = "replica_differs",
            %sequence,
            "a NATS server delivered another message than the stream's leader has; creating a new consumer"
        );
        Ok(())
    }

    /// The log does not have what this reader has seen. That is final unless another server has it, or may have it.
    async fn gone_or_in_doubt(&self, sequence: Sequence, reason: String, info: &Info) -> ReadError {
        let replicas = Replicas::of(info);
        if !replicas.are_all_current() {
            let behind = replicas.behind.join(", ");
            return ReadError::InDoubt(format!("{reason}, while these servers are behind or away: {behind}"));
        }
        match self.nats.is_held_elsewhere(sequence, info).await {
            Ok(true) => ReadError::InDoubt(format!("{reason}, and not all servers agree on that")),
            Ok(false) => ReadError::Replaced(format!("{reason}, so it has lost records")),
            Err(error) => error,
        }
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
                // While messages come there is nothing to look for.
                biased;
                message = messages.stream.next() => {
                    let mut batch = self.collect(message);
                    if std::mem::take(&mut self.position.has_skipped) {
                        // Whether they were dropped for their age, or lost, shows where the log begins now. What
                        // else is the matter with it, the next look will say.
                        let _ = self.position.look().await;
                        batch.first = self.position.first;
                    }
                    if std::mem::take(&mut self.disputed) {
                        self.messages = None;
                        self.position.settle().await?;
                    }
                    if !batch.entries.is_empty() {
                        return Ok(batch);
                    }
                }
                _ = self.connections.changed() => {
                    tracing::debug!("the connection is a new one; so shall the consumer be");
                    self.messages = None;
                }
                () = sleep_until(self.next_look) => self.look_again().await?,
            }
        }
    }

    /// Opens a consumer, and looks at the stream afterwards: a consumer goes with its stream, so one that was
    /// there before the look is of the stream that is found.
    async fn open(&mut self) -> Result<(), ReadError> {
        sleep_until(self.next_open).await;
        self.next_open = Instant::now() + RETRY_PAUSE;
        self.connections.mark_unchanged();
        // A consumer must not be asked for while the stream is missing or being restored: the server may accept it, fail to
        // find the stream, and call itself unhealthy from then on (2.15.1).
        self.position.nats.stream_info().await?;
        let opened = self.position.consumer().await;
        // What the look says explains why there is no consumer, if there is none.
        let Look { behind, .. } = self.position.look().await?;
        let first = self.position.first;
        let proven = self.position.newest.as_ref().is_none_or(|newest| newest.sequence < first);
        self.messages = Some(Messages { stream: opened?.peekable(), delivered: 0, proven });
        self.looked(behind);
        Ok(())
    }

    /// Looks at the stream, and whether the consumer should have said something.
    async fn look_again(&mut self) -> Result<(), ReadError> {
        let behind = match self.position.look().await {
            Ok(look) => look.behind,
            // Messages have come meanwhile all the same.
            Err(ReadError::Unavailable(_) | ReadError::Refused(_)) if self.has_message() => {
                self.next_look = Instant::now() + LOOK_PAUSE;
                return Ok(());
            }
            Err(error) => {
                self.messages = None;
                return Err(error);
            }
        };
        if !self.heard && behind > 0 {
            self.messages = None;
            if let Some(refusal) = self.position.nats.reports.refusal() {
                return Err(ReadError::Refused(refusal));
            }
            tracing::info!(behind, "the consumer fell silent; making a new one");
        } else if let Some(messages) = &mut self.messages {
            // If it were to come again, it would have come.
            messages.proven |= !self.heard;
        }
        self.looked(behind);
        Ok(())
    }

    fn looked(&mut self, behind: u64) {
        self.next_look = Instant::now() + LOOK_PAUSE;
        (self.behind, self.heard) = (Some(behind), false);
    }

    fn has_message(&mut self) -> bool {
        let waiting =
            self.messages.as_mut().map(|messages| Pin::new(&mut messages.stream).peek().now_or_never());
        matches!(waiting, Some(Some(Some(Ok(_)))))
    }

    /// Whether the reader is at the log's end, and has not said so.
    fn has_caught_up(&self) -> bool {
        !self.told && self.behind == Some(0) && self.messages.as_ref().is_some_and(|messages| messages.proven)
    }

    /// The message, and whatever else has arrived already.
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
                tracing::debug!(error, "the consumer ended; making a new one");
                self.messages = None;
                return;
            }
        };
        let Ok(info) = message.info() else {
            tracing::debug!("a message without JetStream's reply subject; not of the log");
            return;
        };
        messages.delivered += 1;
        if info.consumer_sequence != messages.delivered {
            tracing::info!("messages were lost on the way; making a new consumer");
            self.messages = None;
            return;
        }
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let entry = entry(sequence, message.headers.as_ref(), message.payload.clone());
        if self.position.contradicts(&entry) {
            (self.disputed, self.messages) = (true, None);
            return;
        }
        (messages.proven, self.heard) = (true, true);
        if entry.sequence > self.position.cursor {
            batch.pending = pending;
            self.position.advance(entry, batch);
        }
    }
}

/// What comes from a store is the record, less what its codec does not know.
fn is_same(one: &Entry, other: &Entry) -> bool {
    one == other || matches!((one.record(), other.record()), (Ok(one), Ok(other)) if one == other)
}

/// A name no other consumer has: names are shared by everyone who reads the stream.
fn consumer_name() -> String {
    format!("tickwell-api-{:016x}", rand::random::<u64>())
}

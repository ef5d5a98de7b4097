//! The reader's position in the log. Checks that the log is still the one to which the position belongs.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
    stream::{Config, Info, RawMessageErrorKind},
};

use super::super::{Nats, entry, replicas::Replicas, stream::identity};
use crate::{
    bus::{Batch, Entry, LogIdentity, ReadError},
    domain::Sequence,
};

/// How many messages the reader requests from the server at once.
const PULL_MESSAGES: usize = 500;

/// The server deletes a consumer that has been idle for this long.
const CONSUMER_EXPIRES_AFTER: Duration = Duration::from_secs(30);

/// The reader's position, and the log to which it belongs.
pub(super) struct Position {
    pub(super) nats: Nats,
    pub(super) identity: LogIdentity,
    pub(super) cursor: Sequence,
    /// The position of the stream's oldest message at the last check.
    pub(super) first: Sequence,
    /// Whether messages are missing before the newest one. If so, `first` must be updated.
    pub(super) has_skipped: bool,
    /// The newest message that the reader has seen. If the stream has a different message at that position, the stream
    /// is another log.
    pub(super) newest: Option<Entry>,
    /// The stream's options at the last check.
    pub(super) settings: Option<Config>,
}

/// The result of a check of the stream.
pub(super) struct StreamCheck {
    /// How many messages there are after the cursor.
    pub(super) behind: u64,
    pub(super) info: Info,
}

impl Position {
    /// Checks the stream. Fails permanently if it is not the stream to which the cursor belongs.
    pub(super) async fn check(&mut self) -> Result<StreamCheck, ReadError> {
        let info = self.nats.stream_info().await?;
        let found = identity(&info);
        if found != self.identity {
            return Err(ReadError::Replaced(format!(
                "the identity of the log was {}, but now it is {found}",
                self.identity
            )));
        }
        if self.settings.as_ref() != Some(&info.config) {
            self.nats.log_differences(&info.config);
            self.settings = Some(info.config.clone());
        }
        let (last, cursor) = (info.state.last_sequence, self.cursor);
        self.first = Sequence(info.state.first_sequence);
        let Some(behind) = last.checked_sub(cursor.0) else {
            let reason = format!("the log ends at sequence {last}, but this reader is already at {cursor}");
            let error = self.gone_or_in_doubt(cursor, reason.clone(), &info).await;
            // While many messages arrive, a busy leader reports them later than another server delivers them. If this is
            // another log that has grown meanwhile, the newest message that the reader has seen differs.
            let is_late = matches!(error, ReadError::Replaced(_))
                && self.nats.stream_info().await?.state.last_sequence >= cursor.0;
            return Err(if is_late {
                ReadError::InDoubt(format!("{reason}, and a moment later it was longer"))
            } else {
                error
            });
        };
        Ok(StreamCheck { behind, info })
    }

    /// Creates a consumer that starts at the newest message that the reader has seen.
    pub(super) async fn consumer(&self) -> Result<pull::Stream, ReadError> {
        self.nats.require_connection()?;
        let begin = self.newest.as_ref().map_or(self.cursor.next(), |newest| newest.sequence);
        let config = pull::Config {
            // With a name and a single filter, the request's subject contains the filter, so a permission can restrict
            // it.
            name: Some(consumer_name()),
            filter_subject: self.nats.subjects.all(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: begin.0 },
            ack_policy: AckPolicy::None,
            inactive_threshold: CONSUMER_EXPIRES_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let created = self.nats.context.create_consumer_on_stream(config, &self.nats.stream).await;
        let consumer: Consumer<pull::Config> = created.map_err(|error| self.nats.request_error(error))?;
        let messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES).messages().await;
        messages.map_err(|error| self.nats.request_error(error))
    }

    /// Fails unless the stream's leader has the expected message at a position, or the message has expired.
    pub(super) async fn require_on_leader(
        &mut self,
        sequence: Sequence,
        is_expected: impl Fn(&Entry) -> bool,
    ) -> Result<(), ReadError> {
        let stream = self.nats.context.get_stream_no_info(&self.nats.stream).await;
        let stream = stream.map_err(|error| self.nats.request_error(error))?;
        let found = stream.get_raw_message(sequence.0).await;
        // Check after reading the message: if the server is the leader now, it also was when it returned the message.
        let StreamCheck { info, .. } = self.check().await?;
        let holds = match found {
            Ok(message) => is_expected(&entry(message.sequence, Some(&message.headers), message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => sequence < self.first,
            Err(error) => return Err(self.nats.request_error(error)),
        };
        if !holds {
            let reason = format!("message {sequence} of the log is missing or has changed");
            return Err(self.gone_or_in_doubt(sequence, reason, &info).await);
        }
        Ok(())
    }

    /// Moves the cursor to a message and adds it to the batch.
    pub(super) fn advance(&mut self, entry: Entry, batch: &mut Batch) {
        if entry.sequence > self.cursor.next() {
            // The code that processes the batch detects the missing messages from the jump in the sequences.
            let (from, before) = (self.cursor.next().0, entry.sequence.0);
            tracing::warn!(
                event = "messages_missing",
                from,
                before,
                "messages are missing in the log, because they have expired or were lost"
            );
            self.has_skipped = true;
        }
        self.cursor = entry.sequence;
        batch.entries.push(entry);
    }

    /// Whether a message differs from the one that the reader has seen at the same position.
    pub(super) fn contradicts(&self, found: &Entry) -> bool {
        let seen = self.newest.as_ref().filter(|newest| newest.sequence == found.sequence);
        seen.is_some_and(|seen| !is_same(seen, found))
    }

    /// Checks that the leader still has the newest message that the reader has seen. If it does, the different message
    /// came from a damaged copy on the server that runs the consumer, and not from another log.
    pub(super) async fn verify_newest(&mut self) -> Result<(), ReadError> {
        let Some(newest) = self.newest.clone() else { return Ok(()) };
        let sequence = newest.sequence;
        self.require_on_leader(sequence, |found| is_same(&newest, found)).await?;
        tracing::warn!(
            event = "replica_differs",
            %sequence,
            "ignored a message from a NATS server that differs from the leader's copy; creating a new consumer"
        );
        Ok(())
    }

    /// The error if the log does not have a message that this reader has seen. The error is permanent unless another
    /// server has the message, or may have it.
    async fn gone_or_in_doubt(&self, sequence: Sequence, reason: String, info: &Info) -> ReadError {
        let replicas = Replicas::of(info);
        if !replicas.are_all_current() {
            let behind = replicas.behind.join(", ");
            return ReadError::InDoubt(format!(
                "{reason}; these servers are down or not up to date: {behind}"
            ));
        }
        let end = Sequence(info.state.last_sequence);
        let held = match self.nats.is_held_elsewhere(sequence, info).await {
            Ok(false) => self.nats.is_held_elsewhere(end.next(), info).await,
            held => held,
        };
        match held {
            Ok(true) => ReadError::InDoubt(format!(
                "{reason}, but another server has messages that the leader does not have"
            )),
            Ok(false) => ReadError::Replaced(format!("{reason}, so the log has lost records")),
            Err(error) => error,
        }
    }
}

/// Whether two messages are equal, or contain the same record. A message that was rebuilt from the store may have other
/// bytes, because it lacks the fields that this version does not know.
fn is_same(one: &Entry, other: &Entry) -> bool {
    one == other || matches!((one.record(), other.record()), (Ok(one), Ok(other)) if one == other)
}

/// A unique name, because the consumers of one stream must have different names.
fn consumer_name() -> String {
    format!("tickwell-api-{:016x}", rand::random::<u64>())
}

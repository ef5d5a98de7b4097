//! Ensures that the stream exists, and compares it with its definition.

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind},
    stream::{Config, Info, Stream},
};

use super::{
    BY_HAND, Nats, NatsError,
    difference::{Difference, differences},
    entry,
    lease::{NatsLease, NotHeld},
    replicas::Replicas,
    room::too_small,
};
use crate::{
    bus::{LogIdentity, ReadError},
    domain::Timestamp,
    retry::retry_until_success,
    telemetry::chain,
};

/// The definition. It is a separate file so that operators can use it with the NATS command line.
const DEFINITION: &str = include_str!("../../../../nats/stream.json");

/// The key in a stream's metadata that marks a stream into which a backup is being restored. nats-server 2.15.1 shows
/// such a stream as soon as it has the first block, and keeps the partial stream if the restore is interrupted. The
/// mark tells readers and writers not to use the stream.
pub(super) const RESTORE_MARK: &str = "tickwell_restore";

/// The key in a stream's metadata that a restore sets to a new random value. The creation time of a restored stream is
/// the one of the stream in the backup, so it does not tell whether a stream was restored.
pub(super) const RESTORED_MARK: &str = "tickwell_restored";

/// Why a stream cannot be used yet.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    /// It is unknown whether the stream exists and is complete.
    #[error(transparent)]
    Unknown(ReadError),
    /// The stream does not exist, and the server did not create it.
    #[error(transparent)]
    NotCreated(ReadError),
    /// The stream does not exist, and this process must not create it because it does not hold the lease.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
}

impl Nats {
    /// Returns the log's stream, and creates it if it does not exist. Only the holder of the lease creates it, so that
    /// no poller creates it while a backup is being restored. Waits while JetStream does not respond.
    pub(super) async fn ensure_stream(&self, lease: &NatsLease) -> Result<Stream, NatsError> {
        let wanted = self.definition()?;
        let stream = self.ensure(&wanted, Some(lease)).await;
        self.check_definition(&wanted, &stream.cached_info().config)?;
        Ok(stream)
    }

    /// The number of replicas of the log's stream, or of the one that will be created. Waits while JetStream does not
    /// respond.
    pub(super) async fn replicas(&self) -> usize {
        let attempt = || async {
            match self
                .context
                .get_stream(&self.stream)
                .await
                .map_err(|error| self.not_found(&self.stream, error))
            {
                Ok(found) => Ok(found.cached_info().config.num_replicas),
                Err(ReadError::Gone { .. }) => Ok(self.replicas),
                Err(error) => Err(Obstacle::Unknown(error)),
            }
        };
        retry_until_success(0, attempt, |obstacle| log_obstacle(&self.stream, obstacle)).await
    }

    /// Returns a stream, and creates it if it does not exist. If a lease is given, takes that lease while it creates
    /// the stream. While JetStream does not respond or denies permission, logs a warning and waits.
    pub(super) async fn ensure(&self, wanted: &Config, lease: Option<&NatsLease>) -> Stream {
        let attempt = || self.try_ensure(wanted, lease);
        retry_until_success(0, attempt, |obstacle| log_obstacle(&wanted.name, obstacle)).await
    }

    async fn try_ensure(&self, wanted: &Config, lease: Option<&NatsLease>) -> Result<Stream, Obstacle> {
        match self.context.get_stream(&wanted.name).await {
            Ok(found) if is_being_restored(&found.cached_info().config) => {
                return Err(Obstacle::Unknown(self.restoring()));
            }
            Ok(found) => return Ok(found),
            Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {}
            Err(error) => return Err(Obstacle::Unknown(self.request_error(error))),
        }
        let creating = self.context.create_stream(wanted);
        let created = match lease {
            Some(lease) => lease.while_held(creating).await?,
            None => creating.await,
        };
        let created = created.map_err(|error| Obstacle::NotCreated(self.creation_error(wanted, error)))?;
        tracing::info!(event = "stream_created", stream = wanted.name, "created the stream");
        Ok(created)
    }

    /// Returns information about the stream. Fails unless the stream has the subjects of the records and no others. The
    /// subjects of a stream that copies another one are not checked, because a mirror has none of its own.
    pub(super) async fn stream_info(&self) -> Result<Info, ReadError> {
        let info = self.led_stream_info().await;
        if info.is_err() {
            self.replica_report.unknown();
        }
        info
    }

    async fn led_stream_info(&self) -> Result<Info, ReadError> {
        self.require_connection()?;
        let stream = self.context.get_stream(&self.stream).await;
        let info = stream.map_err(|error| self.not_found(&self.stream, error))?.cached_info().clone();
        if is_being_restored(&info.config) {
            return Err(self.restoring());
        }
        // Without a majority, any server responds with the state of its own copy, which may be incomplete.
        let replicas = Replicas::of(&info);
        self.replica_report.report(&replicas);
        if !replicas.is_led {
            return Err(ReadError::Unavailable(
                "the stream has no leader that is followed by a majority of the servers".into(),
            ));
        }
        let Config { subjects, mirror, sources, .. } = &info.config;
        let copied = mirror.is_some() || sources.as_ref().is_some_and(|sources| !sources.is_empty());
        let wanted = self.subjects.all();
        if copied || *subjects == [wanted.as_str()] {
            return Ok(info);
        }
        let found = subjects.join(", ");
        let by_hand = format!("nats stream edit {} --subjects='{wanted}'", self.stream);
        Err(ReadError::Reconfigured { stream: self.stream.clone(), found, wanted, by_hand })
    }

    pub(super) fn not_found(&self, stream: &str, error: GetStreamError) -> ReadError {
        match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                ReadError::Gone { stream: stream.to_owned(), by_hand: BY_HAND.to_owned() }
            }
            _ => self.request_error(error),
        }
    }

    /// The error for a stream that the server did not create. If the server has too little storage, the error says what
    /// to do; the process retries, because an operator can raise the limit meanwhile.
    fn creation_error(&self, wanted: &Config, error: CreateStreamError) -> ReadError {
        match error.kind() {
            CreateStreamErrorKind::JetStream(reason) => match too_small(&reason, wanted.max_bytes) {
                Some(explained) => ReadError::Unavailable(explained.into()),
                None => self.request_error(error),
            },
            _ => self.request_error(error),
        }
    }

    pub(super) fn restoring(&self) -> ReadError {
        ReadError::Restoring { stream: self.stream.clone() }
    }

    /// Recreates the stream after it was deleted while this process was running, if this process holds the lease.
    pub(super) async fn recreate_stream(&self, lease: &NatsLease) -> Result<(), ReadError> {
        if !lease.is_ours().await {
            return Err(ReadError::Unavailable("this process does not hold the lease on the log".into()));
        }
        let definition = self.definition().map_err(|error| ReadError::Unavailable(error.into()))?;
        let created = self.context.create_stream(&definition).await;
        created.map_err(|error| self.creation_error(&definition, error))?;
        tracing::warn!(
            event = "stream_recreated",
            stream = self.stream,
            "the stream was deleted; recreated it, which starts a new log"
        );
        Ok(())
    }

    /// The slot of the stream's newest message, if the message can be read and is a record. At most the time at which the
    /// server stored it, because the slot may be ahead if a poller's clock was.
    pub(super) async fn newest_slot(&self) -> Option<Timestamp> {
        let stream = self.context.get_stream(&self.stream).await.ok()?;
        let last = stream.cached_info().state.last_sequence;
        let message = stream.direct_get(last).await.ok()?;
        let stored = Timestamp::from_unix_millis(message.time.timestamp_millis()).ok()?;
        let slot = entry(last, Some(&message.headers), message.payload).record().ok()?.covers_up_to();
        slot.map(|slot| slot.min(stored))
    }

    /// Logs which options of the stream differ from the definition.
    pub(super) fn log_differences(&self, found: &Config) {
        if let Ok(wanted) = self.definition() {
            log_differences(&wanted, found);
        }
    }

    pub(super) fn definition(&self) -> Result<Config, NatsError> {
        let definition: Config = serde_json::from_str(DEFINITION)
            .map_err(|error| self.unusable(format!("nats/stream.json: {error}")))?;
        let (name, subjects) = (self.stream.clone(), vec![self.subjects.all()]);
        Ok(Config { name, subjects, num_replicas: self.replicas, ..definition })
    }

    /// Fails if the stream has the wrong subjects. Other differences from the definition are only logged: an operator may
    /// have chosen them, or the server may be too old to know the option.
    fn check_definition(&self, wanted: &Config, found: &Config) -> Result<(), NatsError> {
        // Messages under other subjects are not records, but readers would count them as records that they have yet to
        // read.
        if found.subjects != wanted.subjects {
            let (expected, found) = (self.subjects.all(), found.subjects.join(", "));
            return Err(self.unusable(format!(
                "it has the subjects {found}, but it must have {expected} and no others; change bus.stream or \
                 bus.subject_prefix"
            )));
        }
        log_differences(wanted, found);
        Ok(())
    }

    fn unusable(&self, reason: String) -> NatsError {
        NatsError::Stream { stream: self.stream.clone(), reason }
    }
}

fn log_obstacle(stream: &str, obstacle: &Obstacle) {
    let reason = chain(obstacle);
    match obstacle {
        Obstacle::Unknown(_) => tracing::warn!(
            event = "stream_unknown",
            stream,
            reason,
            "cannot determine whether the stream exists and is complete; retrying"
        ),
        Obstacle::NotCreated(_) | Obstacle::NotHeld(_) => tracing::warn!(
            event = "stream_missing",
            stream,
            reason,
            by_hand = BY_HAND,
            "the stream does not exist, and this process could not create it; retrying"
        ),
    }
}

/// Whether the stream is marked as incomplete.
pub(super) fn is_being_restored(config: &Config) -> bool {
    config.metadata.contains_key(RESTORE_MARK)
}

/// Logs the differences from the definition. Compression is logged separately, because it can damage records.
fn log_differences(wanted: &Config, found: &Config) {
    let differing = differences(wanted, found).unwrap_or_default();
    let (compression, differing) = differing.into_iter().partition::<Vec<_>, _>(Difference::is_compression);
    for difference in compression {
        let (reason, by_hand) = (difference.reason(), BY_HAND);
        tracing::warn!(
            event = "log_compressed",
            stream = found.name,
            reason,
            by_hand,
            "the log's stream is compressed, which can lose records; turn compression off"
        );
    }
    if !differing.is_empty() {
        let options = differing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        tracing::warn!(
            event = "stream_options_differ",
            stream = found.name,
            options,
            by_hand = BY_HAND,
            "the stream's options differ from nats/stream.json"
        );
    }
}

/// The identity is derived from the creation time, so a stream that was deleted and recreated has another identity.
pub(super) fn identity(info: &Info) -> LogIdentity {
    let created = info.created.timestamp_nanos_opt().unwrap_or_default();
    LogIdentity(format!("{created:x}"))
}

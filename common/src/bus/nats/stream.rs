//! The stream's one definition, and holding it against what the server has.

use async_nats::jetstream::{
    ErrorCode,
    context::{GetStreamError, GetStreamErrorKind},
    stream::{Config, Info, Stream},
};

use super::{
    BY_HAND, Nats, NatsError, RETRY_PAUSE,
    difference::{Difference, differences},
    entry,
    lease::{NatsLease, NotHeld},
    replicas::Replicas,
};
use crate::{
    bus::{LogIdentity, ReadError},
    domain::Timestamp,
    telemetry::chain,
};

/// The definition, kept where operators look for it.
const DEFINITION: &str = include_str!("../../../../nats/stream.json");

/// The key in a stream's metadata that says that a backup is being restored into it. nats-server 2.15.1 shows such a stream
/// from the first block on, and keeps what it has if the restore is cut off, so readers and writers have to be told.
pub(super) const RESTORE_MARK: &str = "tickwell_restore";

/// Why a stream is not there yet.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    /// Whether it is there, and whole, could not be found out.
    #[error(transparent)]
    Unknown(ReadError),
    /// It is not there, and the server did not create it.
    #[error(transparent)]
    NotCreated(ReadError),
    /// It is not there, and this process must not create it.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
}

impl Nats {
    /// The log's stream, created if it is missing. Only the holder of the lease creates it, so that nobody does while a
    /// backup is restored. Waits while JetStream does not answer.
    pub(super) async fn ensure_stream(&self, lease: &NatsLease) -> Result<Stream, NatsError> {
        let wanted = self.definition()?;
        let stream = self.ensure(&wanted, Some(lease)).await;
        self.hold_against(&wanted, &stream.cached_info().config)?;
        Ok(stream)
    }

    /// How many replicas the log's stream has, or will have where it does not exist yet. Waits while JetStream does not
    /// answer.
    pub(super) async fn replicas(&self) -> usize {
        let mut reported = false;
        loop {
            match self.context.get_stream(&self.stream).await.map_err(|error| self.not_found(error)) {
                Ok(found) => return found.cached_info().config.num_replicas,
                Err(ReadError::Gone { .. }) => return self.replicas,
                Err(error) => report_once(&mut reported, &self.stream, &Obstacle::Unknown(error)),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// A stream, created if it is missing; under the lease, if there is one. Waits while JetStream does not answer or
    /// refuses, and says which command creates the stream.
    pub(super) async fn ensure(&self, wanted: &Config, lease: Option<&NatsLease>) -> Stream {
        let mut reported = false;
        loop {
            match self.try_ensure(wanted, lease).await {
                Ok(stream) => return stream,
                Err(obstacle) => report_once(&mut reported, &wanted.name, &obstacle),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn try_ensure(&self, wanted: &Config, lease: Option<&NatsLease>) -> Result<Stream, Obstacle> {
        match self.context.get_stream(&wanted.name).await {
            Ok(found) if is_being_restored(&found.cached_info().config) => {
                return Err(Obstacle::Unknown(self.restoring()));
            }
            Ok(found) => return Ok(found),
            Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {}
            Err(error) => return Err(Obstacle::Unknown(self.unanswered(error))),
        }
        let creating = self.context.create_stream(wanted);
        let created = match lease {
            Some(lease) => lease.while_held(creating).await?,
            None => creating.await,
        };
        let created = created.map_err(|error| Obstacle::NotCreated(self.unanswered(error)))?;
        tracing::info!(event = "stream_created", stream = wanted.name, "created the stream");
        Ok(created)
    }

    /// The stream as it is now, if it holds the records and nothing else. A mirror has no subjects of its own.
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
        let info = stream.map_err(|error| self.not_found(error))?.cached_info().clone();
        if is_being_restored(&info.config) {
            return Err(self.restoring());
        }
        // Without a majority any server answers with what it has, which may be less than the log.
        let replicas = Replicas::of(&info);
        self.replica_report.report(&replicas);
        if !replicas.is_led {
            return Err(ReadError::Unavailable(
                "the stream has no leader that a majority of the servers follows".into(),
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

    pub(super) fn not_found(&self, error: GetStreamError) -> ReadError {
        match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                ReadError::Gone { stream: self.stream.clone(), by_hand: BY_HAND.to_owned() }
            }
            _ => self.unanswered(error),
        }
    }

    pub(super) fn restoring(&self) -> ReadError {
        ReadError::Restoring { stream: self.stream.clone() }
    }

    /// Creates the stream again after it was deleted while this process ran, if this process still leads.
    pub(super) async fn make_anew(&self, lease: &NatsLease) -> Result<(), ReadError> {
        if !lease.is_ours().await {
            return Err(ReadError::Unavailable("this process does not hold the lease".into()));
        }
        let definition = self.definition().map_err(|error| ReadError::Unavailable(error.into()))?;
        self.context.create_stream(&definition).await.map_err(|error| self.unanswered(error))?;
        tracing::warn!(
            event = "stream_recreated",
            stream = self.stream,
            "the stream was gone; made it anew: this is another log"
        );
        Ok(())
    }

    /// Up to which slot the newest message covers its pair, if it can be had and is a record.
    pub(super) async fn newest_slot(&self) -> Option<Timestamp> {
        let stream = self.context.get_stream(&self.stream).await.ok()?;
        let last = stream.cached_info().state.last_sequence;
        let message = stream.direct_get(last).await.ok()?;
        entry(last, Some(&message.headers), message.payload).record().ok()?.covers_up_to()
    }

    /// Says which options of the stream are not as they are defined.
    pub(super) fn tell_differing(&self, found: &Config) {
        if let Ok(wanted) = self.definition() {
            tell_differing(&wanted, found);
        }
    }

    pub(super) fn definition(&self) -> Result<Config, NatsError> {
        let definition: Config = serde_json::from_str(DEFINITION)
            .map_err(|error| self.unusable(format!("nats/stream.json: {error}")))?;
        let (name, subjects) = (self.stream.clone(), vec![self.subjects.all()]);
        Ok(Config { name, subjects, num_replicas: self.replicas, ..definition })
    }

    /// Refuses a stream that breaks an invariant, and names what else differs from the definition: an
    /// operator may have chosen it, or the server may be too old to know the option.
    fn hold_against(&self, wanted: &Config, found: &Config) -> Result<(), NatsError> {
        // Other subjects would count as records that never come.
        if found.subjects != wanted.subjects {
            let (expected, found) = (self.subjects.all(), found.subjects.join(", "));
            return Err(self.unusable(format!(
                "it holds the subjects {found}, not {expected} alone: set bus.stream or bus.subject_prefix to match"
            )));
        }
        tell_differing(wanted, found);
        Ok(())
    }

    fn unusable(&self, reason: String) -> NatsError {
        NatsError::Stream { stream: self.stream.clone(), reason }
    }
}

/// Says why the stream is not there yet, unless that was said before.
fn report_once(reported: &mut bool, stream: &str, obstacle: &Obstacle) {
    if std::mem::replace(reported, true) {
        return;
    }
    let reason = chain(obstacle);
    match obstacle {
        Obstacle::Unknown(_) => tracing::warn!(
            event = "stream_unknown",
            stream,
            reason,
            "cannot find out whether the stream can be used; retrying"
        ),
        Obstacle::NotCreated(_) | Obstacle::NotHeld(_) => tracing::warn!(
            event = "stream_missing",
            stream,
            reason,
            by_hand = BY_HAND,
            "the stream does not exist and could not be created; retrying"
        ),
    }
}

/// Whether the stream is marked as one that does not have all of its records yet.
pub(super) fn is_being_restored(config: &Config) -> bool {
    config.metadata.contains_key(RESTORE_MARK)
}

/// An operator may have chosen them, or the server may be too old to know them. Those that decide for how long
/// the log remembers are among them. Compression is a danger to the records, so it is reported by itself.
fn tell_differing(wanted: &Config, found: &Config) {
    let differing = differences(wanted, found).unwrap_or_default();
    let (compression, differing) = differing.into_iter().partition::<Vec<_>, _>(Difference::is_compression);
    for difference in compression {
        let (reason, by_hand) = (difference.reason(), BY_HAND);
        tracing::warn!(
            event = "log_compressed",
            stream = found.name,
            reason,
            by_hand,
            "the log's stream is compressed; turn compression off"
        );
    }
    if !differing.is_empty() {
        let options = differing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        tracing::warn!(stream = found.name, options, "the stream's options differ from nats/stream.json");
    }
}

/// A stream that was deleted and made anew has another creation time, and so another identity.
pub(super) fn identity(info: &Info) -> LogIdentity {
    let created = info.created.timestamp_nanos_opt().unwrap_or_default();
    LogIdentity(format!("{created:x}"))
}

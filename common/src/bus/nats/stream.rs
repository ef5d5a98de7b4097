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
    replicas::Replicas,
};
use crate::{
    bus::{LogIdentity, ReadError},
    domain::Timestamp,
    telemetry::chain,
};

/// The definition, kept where operators look for it.
const DEFINITION: &str = include_str!("../../../../nats/stream.json");

impl Nats {
    /// The log's stream, created if it is missing. Waits while JetStream does not answer.
    pub(super) async fn ensure_stream(&self) -> Result<Stream, NatsError> {
        let wanted = self.definition()?;
        let stream = self.ensure(&wanted).await;
        self.hold_against(&wanted, &stream.cached_info().config)?;
        Ok(stream)
    }

    /// How many replicas the log's stream has.
    pub(super) async fn replicas(&self) -> Result<usize, NatsError> {
        let stream = self.ensure(&self.definition()?).await;
        Ok(stream.cached_info().config.num_replicas)
    }

    /// A stream, created if it is missing. Waits while JetStream does not answer, or does not let us, and says
    /// which command creates it.
    pub(super) async fn ensure(&self, wanted: &Config) -> Stream {
        let stream = &wanted.name;
        let mut told = false;
        loop {
            let (known, failed) = match self.context.get_stream(stream).await {
                Ok(found) => return found,
                Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {
                    match self.context.create_stream(wanted).await {
                        Ok(created) => {
                            tracing::info!(stream, "created the stream");
                            return created;
                        }
                        Err(error) => (true, chain(&self.unanswered(error))),
                    }
                }
                Err(error) => (false, chain(&self.unanswered(error))),
            };
            if !std::mem::replace(&mut told, true) {
                let (reason, by_hand) = (failed, BY_HAND);
                if known {
                    tracing::warn!(
                        stream,
                        reason,
                        by_hand,
                        "the stream is not there and could not be created; trying on"
                    );
                } else {
                    tracing::warn!(
                        stream,
                        reason,
                        "the server does not say whether the stream is there; trying on"
                    );
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
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

    /// Creates the stream again after it was deleted while this process ran.
    pub(super) async fn make_anew(&self) -> Result<(), ReadError> {
        let definition = self.definition().map_err(|error| ReadError::Unavailable(error.into()))?;
        self.context.create_stream(&definition).await.map_err(|error| self.unanswered(error))?;
        tracing::warn!(stream = self.stream, "the stream was gone; made it anew: this is another log");
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

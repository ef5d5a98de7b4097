//! The stream's one definition, and holding it against what the server has.

use async_nats::jetstream::{
    context::GetStreamErrorKind,
    stream::{Config, Info, Stream},
};

use super::{Nats, NatsError, RETRY_PAUSE};
use crate::{
    bus::{LogIdentity, ReadError},
    telemetry::chain,
};

/// The definition, kept where operators look for it.
const DEFINITION: &str = include_str!("../../../../nats/stream.json");

impl Nats {
    /// The log's stream, created if it is missing. Waits while JetStream does not answer.
    pub(super) async fn ensure_stream(&self) -> Result<Stream, NatsError> {
        let wanted = self.definition()?;
        let stream = self.ensure(&wanted, "nats stream add --config nats/stream.json").await;
        self.hold_against(&wanted, &stream.cached_info().config)?;
        Ok(stream)
    }

    /// A stream, created if it is missing. Waits while JetStream does not answer, or does not let us; `by_hand`
    /// is the command with which somebody else can create it.
    pub(super) async fn ensure(&self, wanted: &Config, by_hand: &str) -> Stream {
        let stream = &wanted.name;
        let mut told = false;
        loop {
            let failed = match self.context.get_stream(stream).await {
                Ok(found) => return found,
                Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {
                    match self.context.create_stream(wanted).await {
                        Ok(created) => {
                            tracing::info!(stream, "created the stream");
                            return created;
                        }
                        Err(error) => chain(&error),
                    }
                }
                Err(error) => chain(&error),
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    stream,
                    reason = failed,
                    by_hand,
                    "the stream is not there and could not be created; trying on"
                );
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// The stream, once the poller has created it.
    pub(super) async fn wait_for_stream(&self) -> Stream {
        let mut told = false;
        loop {
            match self.context.get_stream(&self.stream).await {
                Ok(stream) => return stream,
                Err(error) if !told => {
                    tracing::warn!(stream = self.stream, %error, "waiting for the stream, which the poller creates");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// The stream as its leader knows it.
    pub(super) async fn stream_info(&self) -> Result<Info, ReadError> {
        let stream = self.context.get_stream(&self.stream).await;
        let info = stream.map_err(|error| ReadError::Unavailable(error.into()))?.cached_info().clone();
        // Without a majority any server answers with what it has, which may be less than the log.
        if info.cluster.as_ref().is_some_and(|cluster| cluster.leader.is_none()) {
            return Err(ReadError::Unavailable("the stream has no leader".into()));
        }
        Ok(info)
    }

    fn definition(&self) -> Result<Config, NatsError> {
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
        let differing = [
            ("storage", wanted.storage != found.storage),
            ("retention", wanted.retention != found.retention),
            ("compression", wanted.compression != found.compression),
            ("max_age", wanted.max_age != found.max_age),
            ("max_bytes", wanted.max_bytes != found.max_bytes),
            ("max_msgs", wanted.max_messages != found.max_messages),
            ("max_msgs_per_subject", wanted.max_messages_per_subject != found.max_messages_per_subject),
            ("duplicate_window", found.duplicate_window < wanted.duplicate_window),
            ("num_replicas", found.num_replicas < wanted.num_replicas),
            ("allow_direct", wanted.allow_direct != found.allow_direct),
            ("deny_delete", wanted.deny_delete != found.deny_delete),
            ("deny_purge", wanted.deny_purge != found.deny_purge),
        ];
        let differing: Vec<&str> =
            differing.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        if !differing.is_empty() {
            tracing::warn!(
                stream = self.stream,
                options = differing.join(", "),
                "the stream's options differ from nats/stream.json"
            );
        }
        Ok(())
    }

    fn unusable(&self, reason: String) -> NatsError {
        NatsError::Stream { stream: self.stream.clone(), reason }
    }
}

/// A stream that was deleted and made anew has another creation time, and so another identity.
pub(super) fn identity(info: &Info) -> LogIdentity {
    let created = info.created.timestamp_nanos_opt().unwrap_or_default();
    LogIdentity(format!("{created:x}"))
}

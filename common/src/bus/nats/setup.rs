//! Creates and corrects the log's stream and the lease bucket. Operators do this with their own key, so that pollers
//! and pods do not need the permission to do it.

use async_nats::jetstream::{
    self, ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind},
    stream::{Config, Info},
};

use super::{
    Nats, NatsError,
    difference::{Difference, corrected, differences},
    lease,
    replicas::Replicas,
    room::{retry_until_freed, too_small},
    stream::is_being_restored,
};
use crate::{bus::ReadError, domain::Span};

/// How a stream compares with its definition.
#[derive(Debug)]
pub struct StreamReport {
    /// The stream's name.
    pub stream: String,
    /// Whether the stream exists.
    pub presence: Presence,
    /// The differences that were corrected.
    pub corrected: Vec<Difference>,
    /// The differences that remain.
    pub differing: Vec<Difference>,
    /// The servers of a cluster that are down or do not have a complete copy yet. While this list is not empty, the
    /// loss of another server can lose records.
    pub behind: Vec<String>,
}

/// Whether a stream exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The stream does not exist.
    Missing,
    /// The stream was created by this call.
    Created,
    /// The stream existed before this call.
    Found,
    /// The stream exists, but it is a copy of an earlier log.
    Outdated,
    /// The stream is not needed, for this reason.
    LeftOut(&'static str),
}

impl StreamReport {
    pub(super) fn missing(stream: &str) -> Self {
        let (presence, stream) = (Presence::Missing, stream.to_owned());
        Self { stream, presence, corrected: Vec::new(), differing: Vec::new(), behind: Vec::new() }
    }

    /// Adds to this report what an earlier call did to the stream.
    pub fn after(self, earlier: Self) -> Self {
        let presence = if earlier.presence == Presence::Created { Presence::Created } else { self.presence };
        let corrected = earlier.corrected.into_iter().chain(self.corrected).collect();
        Self { presence, corrected, ..self }
    }
}

impl Nats {
    /// Compares the log's stream, the lease bucket and the mirror with their definitions. `lease` is `bus.lease`.
    pub async fn verify(&self, lease: Span) -> Result<Vec<StreamReport>, NatsError> {
        let mut reports = Vec::new();
        for wanted in self.definitions(lease)? {
            reports.push(self.report(&self.context, &wanted).await?.1);
        }
        reports.push(self.verify_mirror().await?);
        Ok(reports)
    }

    /// Creates the log's stream, the lease bucket and the mirror if they do not exist, and corrects differences from
    /// their definitions, except where that would lose records. A server without an account for external subscribers
    /// gets no mirror. `max_bytes` is the size limit of the log, if it should be larger than in the definition.
    pub async fn apply(&self, lease: Span, max_bytes: Option<i64>) -> Result<Vec<StreamReport>, NatsError> {
        let [log, bucket] = self.definitions(lease)?;
        let log = Config { max_bytes: max_bytes.unwrap_or_default().max(log.max_bytes), ..log };
        let log = self.apply_one(&self.context, &log).await?;
        let bucket = self.apply_one(&self.context, &bucket).await?;
        Ok(vec![log, bucket, self.apply_mirror().await?])
    }

    fn definitions(&self, lease: Span) -> Result<[Config; 2], NatsError> {
        Ok([self.definition()?, lease::definition(self, lease, self.replicas)?])
    }

    /// Creates a stream, or corrects it.
    pub(super) async fn apply_one(
        &self,
        context: &jetstream::Context,
        wanted: &Config,
    ) -> Result<StreamReport, NatsError> {
        let (found, before) = self.report(context, wanted).await?;
        let Some(found) = found else {
            self.create(context, wanted).await?;
            let (_, now) = self.report(context, wanted).await?;
            return Ok(StreamReport { presence: Presence::Created, ..now });
        };
        // Lowering a limit of the lease bucket does no harm, because the bucket's only key is rewritten all the time.
        let may_narrow = wanted.name != self.stream;
        // A stream with other subjects belongs to another program.
        let is_ours = found.subjects == wanted.subjects;
        let allowed = |it: &Difference| is_ours && (it.loses_nothing() || (may_narrow && it.is_limit()));
        let (correctable, _) = before.differing.into_iter().partition::<Vec<_>, _>(allowed);
        // Limits come last: a server may not have enough space for a larger `max_bytes`, and that must not prevent the
        // other corrections.
        let (limits, rest) = correctable.into_iter().partition::<Vec<_>, _>(Difference::is_limit);
        let mut changed = found;
        let mut done = Vec::new();
        for differences in [rest, limits] {
            if !differences.is_empty() {
                changed = self.change(context, wanted, &changed, &differences).await?;
            }
            done.extend(differences);
        }
        let (_, now) = self.report(context, wanted).await?;
        Ok(StreamReport { corrected: done, ..now })
    }

    /// Creates a stream. In a cluster, waits a while for the space of a stream that was deleted just before.
    async fn create(&self, context: &jetstream::Context, wanted: &Config) -> Result<(), NatsError> {
        let lacks_room = |error: &CreateStreamError| {
            matches!(
                error.kind(),
                CreateStreamErrorKind::JetStream(reason) if too_small(&reason, wanted.max_bytes).is_some()
            )
        };
        let created = retry_until_freed(self.replicas, || context.create_stream(wanted), lacks_room).await;
        created.map(drop).map_err(|error| self.setup_error("create", wanted, error))
    }

    /// Corrects these differences, and returns the new options of the stream.
    async fn change(
        &self,
        context: &jetstream::Context,
        wanted: &Config,
        found: &Config,
        differences: &[Difference],
    ) -> Result<Config, NatsError> {
        let better = corrected(found, differences).map_err(|error| unreadable(wanted, &error))?;
        let changed = context.update_stream(&better).await;
        changed.map_err(|error| self.setup_error("change", wanted, error))?;
        Ok(better)
    }

    /// The stream's options, if it exists, and how they compare with the definition.
    pub(super) async fn report(
        &self,
        context: &jetstream::Context,
        wanted: &Config,
    ) -> Result<(Option<Config>, StreamReport), NatsError> {
        let stream = wanted.name.clone();
        let info = match context.get_stream(&stream).await.map_err(|error| self.not_found(&stream, error)) {
            Ok(found) if is_being_restored(&found.cached_info().config) => {
                return Err(self.restoring().into());
            }
            Ok(found) => Some(found.cached_info().clone()),
            Err(ReadError::Gone { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let behind = info.as_ref().map(servers_behind).unwrap_or_default();
        let found = info.map(|info| info.config);
        let presence = if found.is_some() { Presence::Found } else { Presence::Missing };
        let differing = found.as_ref().map_or(Ok(Vec::new()), |found| differences(wanted, found));
        let differing = differing.map_err(|error| unreadable(wanted, &error))?;
        Ok((found, StreamReport { stream, presence, corrected: Vec::new(), differing, behind }))
    }

    /// The error for a stream that the server could not create or change. The error is temporary if the cluster may
    /// still be starting.
    fn setup_error(&self, act: &str, wanted: &Config, error: CreateStreamError) -> NatsError {
        let is_temporary = |reason: &jetstream::Error| {
            reason.code() == 503 || reason.error_code() == ErrorCode::CLUSTER_NO_PEERS
        };
        if let CreateStreamErrorKind::JetStream(reason) = error.kind()
            && let Some(reason) = too_small(&reason, wanted.max_bytes)
        {
            return NatsError::Stream { stream: wanted.name.clone(), reason };
        }
        match error.kind() {
            CreateStreamErrorKind::JetStream(reason) if !is_temporary(&reason) => NatsError::Stream {
                stream: wanted.name.clone(),
                reason: format!("the server cannot {act} it: {reason}"),
            },
            _ => self.request_error(error).into(),
        }
    }
}

/// The servers that are down or do not have a complete copy. Without a leader this is unknown: any server may respond
/// then, and that server reports the others as outdated even if only its own copy is.
fn servers_behind(info: &Info) -> Vec<String> {
    match Replicas::of(info) {
        Replicas { is_led: true, behind, .. } => behind,
        _ => vec!["unknown, because the stream has no leader".to_owned()],
    }
}

fn unreadable(wanted: &Config, error: &serde_json::Error) -> NatsError {
    NatsError::Stream {
        stream: wanted.name.clone(),
        reason: format!("its options cannot be converted: {error}"),
    }
}

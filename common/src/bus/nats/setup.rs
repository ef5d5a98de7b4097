//! Making the log's stream and the lease's bucket, and setting them right: what whoever runs the log does, and its
//! processes need no right to.

use async_nats::jetstream::{
    self, ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind},
    stream::Config,
};

use super::{
    BY_HAND, Nats, NatsError,
    difference::{Difference, corrected, differences},
    lease,
    replicas::Replicas,
    stream::is_being_restored,
};
use crate::{bus::ReadError, domain::Span};

/// How a stream stands beside its definition.
#[derive(Debug)]
pub struct Standing {
    /// The stream's name.
    pub stream: String,
    /// Whether it is there, and since when.
    pub presence: Presence,
    /// What was set right.
    pub corrected: Vec<Difference>,
    /// In what it differs from its definition.
    pub differing: Vec<Difference>,
    /// The servers of a cluster that do not have all of it, or are away. A replica is only asked for by the
    /// definition; until it is there, the server that has it must not be lost.
    pub behind: Vec<String>,
}

/// Whether a stream is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is not.
    Missing,
    /// It was made just now.
    Made,
    /// It was there.
    Found,
}

impl Standing {
    /// How the stream stands now, and what was done before it stood so.
    pub fn after(self, earlier: Self) -> Self {
        let presence = if earlier.presence == Presence::Made { Presence::Made } else { self.presence };
        let corrected = earlier.corrected.into_iter().chain(self.corrected).collect();
        Self { presence, corrected, ..self }
    }
}

impl Nats {
    /// Holds the log's stream and the lease's bucket against their definitions. `lease` is `bus.lease`.
    pub async fn verify(&self, lease: Span) -> Result<Vec<Standing>, NatsError> {
        let mut standings = Vec::new();
        for wanted in self.definitions(lease)? {
            standings.push(self.standing(&wanted).await?.1);
        }
        Ok(standings)
    }

    /// Makes the log's stream and the lease's bucket where they are missing, and sets right in what they differ
    /// from their definitions, as far as no record is lost by it. `max_bytes` is the room for the log, where the
    /// definition's is too small.
    pub async fn apply(&self, lease: Span, max_bytes: Option<i64>) -> Result<Vec<Standing>, NatsError> {
        let [log, bucket] = self.definitions(lease)?;
        let log = Config { max_bytes: max_bytes.unwrap_or_default().max(log.max_bytes), ..log };
        Ok(vec![self.apply_one(&log).await?, self.apply_one(&bucket).await?])
    }

    fn definitions(&self, lease: Span) -> Result<[Config; 2], NatsError> {
        Ok([self.definition()?, lease::definition(self, lease, self.replicas)?])
    }

    async fn apply_one(&self, wanted: &Config) -> Result<Standing, NatsError> {
        let (found, before) = self.standing(wanted).await?;
        let Some(found) = found else {
            let made = self.context.create_stream(wanted).await;
            made.map_err(|error| self.not_done("make", wanted, error))?;
            let (_, now) = self.standing(wanted).await?;
            return Ok(Standing { presence: Presence::Made, ..now });
        };
        // The bucket holds one key, which its holder writes again all the time.
        let may_narrow = wanted.name != self.stream;
        // Whose records are others is somebody else's stream.
        let is_ours = found.subjects == wanted.subjects;
        let allowed = |it: &Difference| is_ours && (it.loses_nothing() || (may_narrow && it.is_limit()));
        let (able, _) = before.differing.into_iter().partition::<Vec<_>, _>(allowed);
        // Limits come last: a server may have no room for a larger one, and that must not stop the rest.
        let (limits, rest) = able.into_iter().partition::<Vec<_>, _>(Difference::is_limit);
        let mut changed = found;
        let mut done = Vec::new();
        for differences in [rest, limits] {
            if !differences.is_empty() {
                changed = self.change(wanted, &changed, &differences).await?;
            }
            done.extend(differences);
        }
        let (_, now) = self.standing(wanted).await?;
        Ok(Standing { corrected: done, ..now })
    }

    /// Sets these differences right, and returns the options that the stream has then.
    async fn change(
        &self,
        wanted: &Config,
        found: &Config,
        differences: &[Difference],
    ) -> Result<Config, NatsError> {
        let better = corrected(found, differences).map_err(|error| unreadable(wanted, &error))?;
        let changed = self.context.update_stream(&better).await;
        changed.map_err(|error| self.not_done("change", wanted, error))?;
        Ok(better)
    }

    /// The stream with the definition's name, and how it stands beside it.
    async fn standing(&self, wanted: &Config) -> Result<(Option<Config>, Standing), NatsError> {
        let stream = wanted.name.clone();
        let info = match self.context.get_stream(&stream).await.map_err(|error| self.not_found(error)) {
            Ok(found) if is_being_restored(&found.cached_info().config) => {
                return Err(self.restoring().into());
            }
            Ok(found) => Some(found.cached_info().clone()),
            Err(ReadError::Gone { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let behind = info.as_ref().map(|info| Replicas::of(info).behind).unwrap_or_default();
        let found = info.map(|info| info.config);
        let presence = if found.is_some() { Presence::Found } else { Presence::Missing };
        let differing = found.as_ref().map_or(Ok(Vec::new()), |found| differences(wanted, found));
        let differing = differing.map_err(|error| unreadable(wanted, &error))?;
        Ok((found, Standing { stream, presence, corrected: Vec::new(), differing, behind }))
    }

    /// The server may say why itself. Until its cluster has come together, the reason is a passing one.
    fn not_done(&self, act: &str, wanted: &Config, error: CreateStreamError) -> NatsError {
        let passes = |reason: &jetstream::Error| {
            reason.code() == 503 || reason.error_code() == ErrorCode::CLUSTER_NO_PEERS
        };
        match error.kind() {
            CreateStreamErrorKind::JetStream(reason) if has_no_room(&reason) => NatsError::Stream {
                stream: wanted.name.clone(),
                reason: format!(
                    "the server does not {act} it, because it may use too little disk for max_bytes = {} \
                     ({reason}): raise max_file_store in the configuration of every server, as \
                     nats/nats.conf has it, restart them one at a time, and run `{BY_HAND}` again",
                    wanted.max_bytes
                ),
            },
            CreateStreamErrorKind::JetStream(reason) if !passes(&reason) => NatsError::Stream {
                stream: wanted.name.clone(),
                reason: format!("the server does not {act} it: {reason}"),
            },
            _ => self.unanswered(error).into(),
        }
    }
}

/// The server sets `max_bytes` aside when a stream is created or changed. A cluster says in words alone that none of
/// its servers has that much left.
fn has_no_room(reason: &jetstream::Error) -> bool {
    match reason.error_code() {
        ErrorCode::STORAGE_RESOURCES_EXCEEDED => true,
        ErrorCode::CLUSTER_NO_PEERS => reason.to_string().contains("insufficient storage"),
        _ => false,
    }
}

fn unreadable(wanted: &Config, error: &serde_json::Error) -> NatsError {
    NatsError::Stream { stream: wanted.name.clone(), reason: format!("its options are not JSON: {error}") }
}

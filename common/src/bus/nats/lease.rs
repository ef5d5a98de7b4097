//! The lease is a key in a KV bucket whose `max_age` is the span of the lease.
//!
//! The server deletes the key unless its holder rewrites it in time. Every write names the revision that it replaces,
//! so if two pollers compete, one of them is rejected. The age limit belongs to the bucket and not to the key, because
//! keys with an age limit of their own were seen to lose that limit (see `docs/decisions/0008-leadership.md`).

use std::time::Duration;

use async_nats::jetstream::{
    context::{GetStreamErrorKind, KeyValueError},
    kv::{Entry, Operation, Store, UpdateErrorKind},
    stream::Config,
};
use async_trait::async_trait;
use bytes::Bytes;

use super::{BY_HAND, Nats, NatsError};
use crate::{
    bus::{
        Source,
        config::{LONGEST_LEASE, SHORTEST_LEASE},
        lease::{Claim, Hold, Lease, LeaseError, Term, random_id},
    },
    domain::{LeaderId, Span},
    retry::{RETRY_PAUSE, retry_until_success},
    telemetry::chain,
};

/// The definition of the bucket. It is a separate file so that operators can use it with the NATS command line.
const DEFINITION: &str = include_str!("../../../../nats/lease.json");

/// The only key in the bucket.
const KEY: &str = "poller";

/// How many times seizing the lease is attempted. An attempt fails if the holder renews the lease between our read and
/// our write, which is unlikely to happen every time.
const SEIZE_ATTEMPTS: usize = 20;

/// Why an action that needs the lease was not performed.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHeld {
    /// The lease could not be claimed.
    #[error(transparent)]
    Unclaimed(#[from] LeaseError),
    /// Another process holds the lease.
    #[error(
        "another process holds the lease on the log, because it is creating the stream or restoring a backup into it"
    )]
    Taken,
}

/// The lease on writing the log.
#[derive(Debug)]
pub struct NatsLease {
    nats: Nats,
    bucket: Store,
    definition: Config,
    id: LeaderId,
    span: Duration,
}

impl NatsLease {
    /// Opens the lease on writing this connection's stream. If the lease's bucket does not exist, it is created with
    /// the span `wanted` and with as many replicas as the stream has, or with `bus.replicas` if there is no stream yet.
    /// If the bucket exists, its `max_age` is the span.
    pub async fn open(nats: Nats, wanted: Span) -> Result<Self, NatsError> {
        let name = bucket_name(&nats);
        let definition = definition(&nats, wanted, nats.replicas().await)?;
        let stream = nats.ensure(&definition, None).await;
        let found = stream.cached_info().config.max_age;
        if !(SHORTEST_LEASE.duration()..=LONGEST_LEASE.duration()).contains(&found) {
            let reason = format!(
                "its max_age is {found:?}, but a lease must last from {SHORTEST_LEASE} to {LONGEST_LEASE}; run \
                 `{BY_HAND}` to set it to bus.lease"
            );
            return Err(NatsError::Stream { stream: definition.name, reason });
        }
        if found != wanted.duration() {
            tracing::warn!(
                event = "lease_span_differs",
                bucket = name,
                ?found,
                %wanted,
                "the max_age of the lease bucket differs from bus.lease; using the bucket's max_age"
            );
        }
        let definition = with_max_age(definition, found);
        let bucket = bucket(&nats, &name).await;
        Ok(Self { nats, bucket, definition, id: random_id(), span: found })
    }

    /// Whether this process holds the lease now.
    pub(super) async fn is_ours(&self) -> bool {
        matches!(self.bucket.entry(KEY).await, Ok(Some(entry)) if holder(&entry) == Some(self.id))
    }

    /// Takes the lease, performs an action, and releases the lease. Fails if another process holds it.
    pub(super) async fn while_held<T>(&self, act: impl Future<Output = T>) -> Result<T, NotHeld> {
        match self.claim(None).await? {
            Claim::Held(hold) => {
                let done = act.await;
                self.release(hold).await;
                Ok(done)
            }
            Claim::Taken(_) => Err(NotHeld::Taken),
        }
    }

    /// Takes the lease even if another process holds it. That process notices when it tries to renew the lease. Also
    /// returns the previous holder.
    pub(super) async fn seize(&self) -> Result<(Hold, Option<LeaderId>), LeaseError> {
        let mut from = None;
        for _try in 0..SEIZE_ATTEMPTS {
            match self.claim(None).await? {
                Claim::Held(hold) => return Ok((hold, from)),
                Claim::Taken(by) => from = by.or(from),
            }
            let entry = self.bucket.entry(KEY).await.map_err(|error| self.request_error(error))?;
            // The update fails if the holder renews the lease in between, or if a replica returned an outdated
            // revision.
            if let Some(entry) = entry
                && let Some(revision) = self.update(entry.revision).await?
            {
                return Ok((Hold { term: Term(revision), revision }, from));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(LeaseError("the holder of the lease renewed it before every attempt to take it".into()))
    }

    /// Writes the key if it still has this revision (zero: if it does not exist). Returns the new revision, or `None` if the
    /// revision has changed.
    async fn update(&self, revision: u64) -> Result<Option<u64>, LeaseError> {
        match self.bucket.update(KEY, self.value(), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(self.request_error(error)),
        }
    }

    fn request_error(&self, error: impl Into<Source>) -> LeaseError {
        LeaseError(self.nats.request_error(error).into())
    }

    async fn try_claim(&self, held: Option<Hold>) -> Result<Claim, LeaseError> {
        if let Some(Hold { term, revision }) = held
            && let Some(revision) = self.update(revision).await?
        {
            return Ok(Claim::Held(Hold { term, revision }));
        }
        let entry = self.bucket.entry(KEY).await.map_err(|error| self.request_error(error))?;
        let held = entry.as_ref().filter(|entry| entry.operation == Operation::Put);
        match held.map(holder) {
            Some(holder) if holder != Some(self.id) => return Ok(Claim::Taken(holder)),
            // The lease is free, or an unconfirmed write of ours has taken it. Another process may have held it before
            // that write, so this is a new term.
            _ => {}
        }
        let revision = entry.map_or(0, |entry| entry.revision);
        Ok(match self.update(revision).await? {
            Some(revision) => Claim::Held(Hold { term: Term(revision), revision }),
            None => Claim::Taken(None),
        })
    }

    /// Recreates the bucket if it was deleted. Returns whether the bucket was recreated.
    async fn recreate_bucket_if_missing(&self) -> bool {
        let Err(error) = self.nats.context.get_stream(&self.definition.name).await else { return false };
        let recreated = matches!(error.kind(), GetStreamErrorKind::JetStream(_))
            && self.nats.context.create_stream(&self.definition).await.is_ok();
        if recreated {
            tracing::warn!(
                event = "lease_bucket_recreated",
                bucket = self.bucket.name,
                "the lease bucket was deleted; recreated it"
            );
        }
        recreated
    }

    fn value(&self) -> Bytes {
        self.id.to_string().into()
    }
}

#[async_trait]
impl Lease for NatsLease {
    fn id(&self) -> LeaderId {
        self.id
    }

    fn span(&self) -> Duration {
        self.span
    }

    async fn is_reachable(&self) -> bool {
        self.nats.is_connected() && self.bucket.entry(KEY).await.is_ok()
    }

    async fn claim(&self, held: Option<Hold>) -> Result<Claim, LeaseError> {
        self.nats.require_connection().map_err(|error| LeaseError(error.into()))?;
        match self.try_claim(held).await {
            Err(_) if self.recreate_bucket_if_missing().await => self.try_claim(held).await,
            claim => claim,
        }
    }

    async fn release(&self, held: Hold) -> bool {
        self.nats.is_connected() && self.bucket.delete_expect_revision(KEY, Some(held.revision)).await.is_ok()
    }
}

/// Opens the bucket, which is known to exist. Waits while the server does not respond.
async fn bucket(nats: &Nats, name: &str) -> Store {
    let log = |error: &KeyValueError| {
        tracing::warn!(
            event = "lease_bucket_unreachable",
            bucket = name,
            reason = chain(error),
            "cannot open the lease bucket; retrying"
        );
    };
    retry_until_success(0, || nats.context.get_key_value(name), log).await
}

/// The process that holds the lease, if any. After a release, the key has no value.
fn holder(entry: &Entry) -> Option<LeaderId> {
    std::str::from_utf8(&entry.value).ok()?.parse().ok()
}

/// The stream in which the bucket is kept.
pub(super) fn stream_name(nats: &Nats) -> String {
    format!("KV_{}", bucket_name(nats))
}

fn bucket_name(nats: &Nats) -> String {
    format!("{}_lease", nats.stream)
}

/// The definition of the bucket, which is a stream with as many replicas as the log.
pub(super) fn definition(nats: &Nats, span: Span, num_replicas: usize) -> Result<Config, NatsError> {
    let bucket = bucket_name(nats);
    let definition: Config = serde_json::from_str(DEFINITION).map_err(|error| NatsError::Stream {
        stream: bucket.clone(),
        reason: format!("nats/lease.json: {error}"),
    })?;
    let (name, subjects) = (format!("KV_{bucket}"), vec![format!("$KV.{bucket}.>")]);
    Ok(with_max_age(Config { name, subjects, num_replicas, ..definition }, span.duration()))
}

/// Sets `max_age`. Shortens the duplicate window to `max_age` if necessary, because the server does not allow a longer
/// window.
fn with_max_age(definition: Config, max_age: Duration) -> Config {
    Config { max_age, duplicate_window: max_age.min(definition.duplicate_window), ..definition }
}

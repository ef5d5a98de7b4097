//! The lease as a key of a KV bucket whose `max_age` is the lease's span.
//!
//! The server forgets the key unless its holder writes it again in time. Every write names the revision that
//! it replaces, so of two pollers that want it one is refused. The age is the bucket's and not the key's:
//! a key with an age of its own was seen to lose it (see the traps in the decision on leadership).

use std::time::Duration;

use async_nats::jetstream::{
    context::GetStreamErrorKind,
    kv::{Entry, Operation, Store, UpdateErrorKind},
    stream::Config,
};
use async_trait::async_trait;
use bytes::Bytes;

use super::{BY_HAND, Nats, NatsError, RETRY_PAUSE};
use crate::{
    bus::{
        Source,
        config::{LONGEST_LEASE, SHORTEST_LEASE},
        lease::{Claim, Hold, Lease, LeaseError, Term, random_id},
    },
    domain::{LeaderId, Span},
    telemetry::chain,
};

/// The bucket's definition, kept where operators look for it.
const DEFINITION: &str = include_str!("../../../../nats/lease.json");

/// The one key of the bucket.
const KEY: &str = "poller";

/// The lease is written by its holder about once a second at most, so one try in between succeeds.
const SEIZE_TRIES: usize = 20;

/// Why something was not done under the lease.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHeld {
    /// It does not answer.
    #[error(transparent)]
    Unanswered(#[from] LeaseError),
    /// Another process holds it.
    #[error("another process holds the lease: it creates the stream, or restores a backup into it")]
    Taken,
}

/// The lease on the stream's log.
#[derive(Debug)]
pub struct NatsLease {
    nats: Nats,
    bucket: Store,
    definition: Config,
    id: LeaderId,
    span: Duration,
}

impl NatsLease {
    /// The lease on writing this connection's stream. Its bucket is created if it is missing, with as many replicas as
    /// the stream has; if there is no stream yet, as `bus.replicas` says. If the bucket exists, its span wins over
    /// `wanted`.
    pub async fn open(nats: Nats, wanted: Span) -> Result<Self, NatsError> {
        let name = bucket_name(&nats);
        let definition = definition(&nats, wanted, nats.replicas().await)?;
        let stream = nats.ensure(&definition, None).await;
        let found = stream.cached_info().config.max_age;
        if !(SHORTEST_LEASE.duration()..=LONGEST_LEASE.duration()).contains(&found) {
            let reason = format!(
                "its entries live for {found:?}, and a lease for {SHORTEST_LEASE} to {LONGEST_LEASE}: \
                 `{BY_HAND}` sets it to bus.lease"
            );
            return Err(NatsError::Stream { stream: definition.name, reason });
        }
        if found != wanted.duration() {
            tracing::warn!(bucket = name, ?found, %wanted, "the lease's bucket has another max_age than bus.lease; it wins");
        }
        let definition = aged(definition, found);
        let bucket = bucket(&nats, &name).await;
        Ok(Self { nats, bucket, definition, id: random_id(), span: found })
    }

    /// Whether this process holds the lease now.
    pub(super) async fn is_ours(&self) -> bool {
        matches!(self.bucket.entry(KEY).await, Ok(Some(entry)) if holder(&entry) == Some(self.id))
    }

    /// Does something while this process holds the lease, unless another one does.
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

    /// Takes the lease, even from another process, which finds out when it renews it. Also returns who had it.
    pub(super) async fn seize(&self) -> Result<(Hold, Option<LeaderId>), LeaseError> {
        let mut from = None;
        for _try in 0..SEIZE_TRIES {
            match self.claim(None).await? {
                Claim::Held(hold) => return Ok((hold, from)),
                Claim::Taken(by) => from = by.or(from),
            }
            let entry = self.bucket.entry(KEY).await.map_err(|error| self.unanswered(error))?;
            // Its holder may renew it in between, and a replica may give an answer that is out of date.
            if let Some(entry) = entry
                && let Some(revision) = self.update(entry.revision).await?
            {
                return Ok((Hold { term: Term(revision), revision }, from));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(LeaseError("its holder renews it too often".into()))
    }

    /// Writes the key if its revision is still this one; zero: if there is none. Answers the new revision.
    async fn update(&self, revision: u64) -> Result<Option<u64>, LeaseError> {
        match self.bucket.update(KEY, self.value(), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(self.unanswered(error)),
        }
    }

    fn unanswered(&self, error: impl Into<Source>) -> LeaseError {
        LeaseError(self.nats.unanswered(error).into())
    }

    async fn try_claim(&self, held: Option<Hold>) -> Result<Claim, LeaseError> {
        if let Some(Hold { term, revision }) = held
            && let Some(revision) = self.update(revision).await?
        {
            return Ok(Claim::Held(Hold { term, revision }));
        }
        let entry = self.bucket.entry(KEY).await.map_err(|error| self.unanswered(error))?;
        let held = entry.as_ref().filter(|entry| entry.operation == Operation::Put);
        match held.map(holder) {
            Some(holder) if holder != Some(self.id) => return Ok(Claim::Taken(holder)),
            // Free, given back, or a write of ours of which we had no news. Somebody else may have led
            // before it: a new term.
            _ => {}
        }
        let revision = entry.map_or(0, |entry| entry.revision);
        Ok(match self.update(revision).await? {
            Some(revision) => Claim::Held(Hold { term: Term(revision), revision }),
            None => Claim::Taken(None),
        })
    }

    /// Makes the bucket anew if somebody has deleted it.
    async fn was_missing(&self) -> bool {
        let Err(error) = self.nats.context.get_stream(&self.definition.name).await else { return false };
        let made = matches!(error.kind(), GetStreamErrorKind::JetStream(_))
            && self.nats.context.create_stream(&self.definition).await.is_ok();
        if made {
            tracing::warn!(bucket = self.bucket.name, "the lease's bucket was gone; made it anew");
        }
        made
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

    async fn answers(&self) -> bool {
        self.nats.is_connected() && self.bucket.entry(KEY).await.is_ok()
    }

    async fn claim(&self, held: Option<Hold>) -> Result<Claim, LeaseError> {
        self.nats.require_connection().map_err(|error| LeaseError(error.into()))?;
        match self.try_claim(held).await {
            Err(_) if self.was_missing().await => self.try_claim(held).await,
            claim => claim,
        }
    }

    async fn release(&self, held: Hold) -> bool {
        self.nats.is_connected() && self.bucket.delete_expect_revision(KEY, Some(held.revision)).await.is_ok()
    }
}

/// The bucket, which was there a moment ago. Waits while the server does not answer.
async fn bucket(nats: &Nats, name: &str) -> Store {
    let mut told = false;
    loop {
        match nats.context.get_key_value(name).await {
            Ok(bucket) => return bucket,
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!(
                    bucket = name,
                    reason = chain(&error),
                    "the lease's bucket does not answer; trying on"
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Who wrote the key. After the lease was given back, the key has no value.
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

/// What the bucket should be, as the stream that it is. It has as many replicas as the log.
pub(super) fn definition(nats: &Nats, span: Span, num_replicas: usize) -> Result<Config, NatsError> {
    let bucket = bucket_name(nats);
    let definition: Config = serde_json::from_str(DEFINITION).map_err(|error| NatsError::Stream {
        stream: bucket.clone(),
        reason: format!("nats/lease.json: {error}"),
    })?;
    let (name, subjects) = (format!("KV_{bucket}"), vec![format!("$KV.{bucket}.>")]);
    Ok(aged(Config { name, subjects, num_replicas, ..definition }, span.duration()))
}

/// The server wants messages to be remembered as duplicates for no longer than they live.
fn aged(definition: Config, max_age: Duration) -> Config {
    Config { max_age, duplicate_window: max_age.min(definition.duplicate_window), ..definition }
}

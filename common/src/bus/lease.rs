//! The lease on writing a log. At most one poller holds it at a time.
//!
//! The lease provides liveness: one poller leads, and if that poller dies, another one takes over soon. The lease does
//! not provide safety: a holder that was paused does not know that its lease has expired, and may write once more. The
//! fence provides safety, because the log rejects such a record if the new holder has written (see [`crate::bus`]).

use std::time::Duration;

use async_trait::async_trait;

use super::Source;
use crate::domain::LeaderId;

/// Identifies a period for which one process holds the lease without interruption. Later terms are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(pub u64);

/// What the holder of the lease needs to renew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The term. If the lease is lost and taken again, the term is greater.
    pub term: Term,
    /// The revision of the lease after this holder's last write.
    pub revision: u64,
}

/// The result of trying to take or renew the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// This process holds the lease for [`Lease::span`], counted from the moment when the claim was sent.
    Held(Hold),
    /// Another process holds the lease. Contains the id of that process, if it could be read.
    Taken(Option<LeaderId>),
}

/// The lease could not be claimed. Retrying makes sense.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or write the lease")]
pub struct LeaseError(#[source] pub Source);

/// The right to write one log.
#[async_trait]
pub trait Lease: Send + Sync {
    /// The id of this process.
    fn id(&self) -> LeaderId;

    /// How long the lease lasts without being renewed.
    fn span(&self) -> Duration;

    /// Whether other processes may compete for the lease.
    fn is_contested(&self) -> bool {
        true
    }

    /// Whether a claim would get a response at the moment.
    async fn is_reachable(&self) -> bool;

    /// Takes the lease, or renews the one that is held.
    async fn claim(&self, held: Option<Hold>) -> Result<Claim, LeaseError>;

    /// Releases the lease, so that another process need not wait for it to expire. Returns whether the release was
    /// confirmed.
    async fn release(&self, held: Hold) -> bool;
}

/// The lease on a log that no other process can write: the in-process log, which is protected by the store's lock.
#[derive(Debug)]
pub struct Uncontested(LeaderId);

impl Uncontested {
    /// This lease does not expire, so its span is arbitrary. The span only determines how often the lease is renewed.
    const SPAN: Duration = Duration::from_secs(60);

    /// Creates a lease that this process always holds.
    pub fn new() -> Self {
        Self(random_id())
    }
}

impl Default for Uncontested {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Lease for Uncontested {
    fn id(&self) -> LeaderId {
        self.0
    }

    fn span(&self) -> Duration {
        Self::SPAN
    }

    fn is_contested(&self) -> bool {
        false
    }

    async fn is_reachable(&self) -> bool {
        true
    }

    async fn claim(&self, _held: Option<Hold>) -> Result<Claim, LeaseError> {
        Ok(Claim::Held(Hold { term: Term(0), revision: 0 }))
    }

    async fn release(&self, _held: Hold) -> bool {
        true
    }
}

/// Returns a random id, which identifies this process until it ends.
pub(super) fn random_id() -> LeaderId {
    LeaderId(rand::random())
}

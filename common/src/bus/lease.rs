//! The lease on writing a log. As far as clocks can tell, at most one poller holds it.
//!
//! The lease provides liveness: one poller leads, and if it dies, another one takes over soon. It does not provide
//! safety, because a paused holder does not know that its lease has expired. Safety comes from the fence.

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
    /// The term. A lease that was lost and taken again has a later one.
    pub term: Term,
    /// The revision of the lease after this holder's last write.
    pub revision: u64,
}

/// The result of trying to take or renew the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// This process holds the lease for its span, starting when the claim was sent.
    Held(Hold),
    /// Another process holds the lease; its id, if it could be read.
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
    /// Arbitrary, because this lease does not expire. It only determines how often the lease is renewed.
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

/// Draws an id for the lifetime of this process.
pub(super) fn random_id() -> LeaderId {
    LeaderId(rand::random())
}

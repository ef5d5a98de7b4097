//! The lease on writing a log: at most one poller holds it, as far as clocks can tell.
//!
//! It gives liveness: somebody leads, and if it dies, somebody else does soon. It gives no safety, because a
//! paused holder does not know that it has expired: that is the fence's part.

use std::time::Duration;

use async_trait::async_trait;

use super::Source;
use crate::domain::LeaderId;

/// One holding of the lease, from when it was taken to when it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(pub u64);

/// What the holder knows of its lease, to keep it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Since when it is held; a lease that was lost and taken again has a later one.
    pub term: Term,
    /// The lease's revision as this holder last wrote it.
    pub revision: u64,
}

/// Whose lease it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Ours, from when it was asked for, for as long as it lasts.
    Held(Hold),
    /// Somebody else's; who, if that could be read.
    Taken(Option<LeaderId>),
}

/// The lease could not be asked for; trying again makes sense.
#[derive(Debug, thiserror::Error)]
#[error("the lease did not answer")]
pub struct LeaseError(#[source] pub Source);

/// The right to write one log.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Who we are.
    fn id(&self) -> LeaderId;

    /// How long it lasts without being renewed.
    fn span(&self) -> Duration;

    /// Whether somebody else may want it.
    fn is_contested(&self) -> bool {
        true
    }

    /// Whether it could be asked for just now.
    async fn answers(&self) -> bool;

    /// Takes the lease, or renews the one that is held.
    async fn claim(&self, held: Option<Hold>) -> Result<Claim, LeaseError>;

    /// Gives it back, so that somebody else need not wait for it to expire. Answers whether that is known to
    /// have worked.
    async fn release(&self, held: Hold) -> bool;
}

/// The lease on a log that nobody else can write, as the in-process log is: the store's lock keeps others out.
#[derive(Debug)]
pub struct Uncontested(LeaderId);

impl Uncontested {
    /// Renewing means nothing here; this is how often it is done.
    const SPAN: Duration = Duration::from_secs(60);

    /// A lease that is always ours.
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

    async fn answers(&self) -> bool {
        true
    }

    async fn claim(&self, _held: Option<Hold>) -> Result<Claim, LeaseError> {
        Ok(Claim::Held(Hold { term: Term(0), revision: 0 }))
    }

    async fn release(&self, _held: Hold) -> bool {
        true
    }
}

/// An id for this process's life.
pub(super) fn random_id() -> LeaderId {
    LeaderId(rand::random())
}

//! Replaces the other servers' copies of the log with the leader's.
//!
//! nats-server does not notice that copies differ, and never corrects them: a server whose stream is longer than the
//! leader's keeps its own messages (see decision 0022). But a server that gets a new copy gets the leader's. So the stream
//! is first reduced to the leader's copy, and then gets its other replicas back.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, Info};
use tokio::time::{sleep, timeout};

use super::{Nats, NatsError, lease, replicas::Replicas};
use crate::{bus::ReadError, domain::Sequence, retry::RETRY_PAUSE};

/// How long the bucket's copies may take. It holds one key, so anything longer is a server that is stuck, and the log does
/// not depend on it.
const BUCKET_PATIENCE: Duration = Duration::from_secs(30);

/// The leader's copy, from which all others are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadersCopy {
    /// The name of the leader.
    pub server: String,
    /// The servers that are down or not up to date, according to the leader.
    pub behind: Vec<String>,
    /// The number of messages in the copy.
    pub messages: u64,
    /// The last sequence in the copy.
    pub last: Sequence,
    /// How many servers should have a copy.
    pub replicas: usize,
}

impl Nats {
    /// Returns the copy that [`Nats::repair`] would keep.
    pub async fn leaders_copy(&self) -> Result<LeadersCopy, NatsError> {
        let info = self.stream_info().await?;
        let Replicas { wanted: replicas, behind, .. } = Replicas::of(&info);
        let server = info.cluster.and_then(|cluster| cluster.leader).unwrap_or_default();
        let (messages, last) = (info.state.messages, Sequence(info.state.last_sequence));
        Ok(LeadersCopy { server, behind, messages, last, replicas })
    }

    /// Replaces every other server's copy of the log and of the lease's bucket with the leader's. What damaged the one
    /// has damaged the other. Waits for as long as that takes; if it is interrupted, `tickwell log apply` gives both their
    /// replicas back.
    pub async fn repair(&self) -> Result<LeadersCopy, NatsError> {
        let replicas = self.stream_info().await?.config.num_replicas;
        self.renew_copies(&self.stream, replicas).await?;
        let bucket = lease::stream_name(self);
        if timeout(BUCKET_PATIENCE, self.renew_copies(&bucket, replicas)).await.is_err() {
            tracing::warn!(
                event = "bucket_not_repaired",
                bucket,
                "the copies of the lease's bucket are not complete yet; `tickwell log verify` shows when they are"
            );
        }
        self.leaders_copy().await
    }

    async fn renew_copies(&self, stream: &str, replicas: usize) -> Result<(), NatsError> {
        let is_alone = |info: &Info| info.cluster.as_ref().is_none_or(|cluster| cluster.replicas.is_empty());
        self.reach(stream, 1, is_alone).await?;
        self.reach(stream, replicas, |info| Replicas::of(info).are_all_current()).await
    }

    /// Sets a stream's number of replicas, and waits until `is_reached`. The servers elect a leader meanwhile, and while
    /// they do, requests get no response.
    async fn reach(
        &self,
        stream: &str,
        num_replicas: usize,
        is_reached: impl Fn(&Info) -> bool,
    ) -> Result<(), NatsError> {
        loop {
            match self.info_from_leader(stream).await {
                Ok(info) if info.config.num_replicas != num_replicas => {
                    let config = Config { num_replicas, ..info.config };
                    let updated = self.context.update_stream(&config).await;
                    match updated.map_err(|error| self.unanswered(error)) {
                        Ok(_) | Err(ReadError::Unavailable(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(info) if is_reached(&info) => return Ok(()),
                Ok(_) | Err(ReadError::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn info_from_leader(&self, stream: &str) -> Result<Info, ReadError> {
        let found = self.context.get_stream(stream).await.map_err(|error| self.not_found(error))?;
        let info = found.cached_info().clone();
        match Replicas::of(&info).is_led {
            true => Ok(info),
            false => Err(ReadError::Unavailable("the stream has no leader".into())),
        }
    }
}

//! Replaces the other servers' copies of the log with the leader's.
//!
//! nats-server does not notice that copies differ, and never corrects them: a server whose stream is longer than the
//! leader's keeps its own messages (see decision 0022). But a server that gets a new copy gets the leader's. So the stream
//! is first reduced to the leader's copy, and then gets its other replicas back.

use async_nats::jetstream::stream::{Config, Info};
use tokio::time::sleep;

use super::{Nats, NatsError, RETRY_PAUSE, replicas::Replicas};
use crate::{bus::ReadError, domain::Sequence};

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

    /// Deletes every other server's copy and recreates it from the leader's. Waits until that is complete. If it is
    /// interrupted, `tickwell log apply` restores the number of replicas.
    pub async fn repair(&self) -> Result<LeadersCopy, NatsError> {
        let replicas = self.stream_info().await?.config.num_replicas;
        self.set_replicas(1, |info| info.cluster.as_ref().is_none_or(|cluster| cluster.replicas.is_empty()))
            .await?;
        self.set_replicas(replicas, |info| Replicas::of(info).are_all_current()).await?;
        self.leaders_copy().await
    }

    /// Sets the number of replicas, and waits until the change is complete. Meanwhile the servers elect a leader, and do not
    /// respond while they do.
    async fn set_replicas(
        &self,
        num_replicas: usize,
        is_complete: impl Fn(&Info) -> bool,
    ) -> Result<(), NatsError> {
        loop {
            match self.stream_info().await {
                Ok(info) if info.config.num_replicas != num_replicas => {
                    let config = Config { num_replicas, ..info.config };
                    let updated = self.context.update_stream(&config).await;
                    match updated.map_err(|error| self.unanswered(error)) {
                        Ok(_) | Err(ReadError::Unavailable(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(info) if is_complete(&info) => return Ok(()),
                Ok(_) | Err(ReadError::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

//! Making the servers' copies of the log the same again.
//!
//! nats-server notices no difference between the copies, and never corrects one: a server whose stream is longer than
//! the leader's keeps what it has (see decision 0022). But a server that gets a copy for the first time gets the
//! leader's. So the stream is reduced to its leader's copy and then given its other replicas back.

use async_nats::jetstream::stream::{Config, Info};
use tokio::time::sleep;

use super::{Nats, NatsError, RETRY_PAUSE, replicas::Replicas};
use crate::{bus::ReadError, domain::Sequence};

/// The copy from which all others are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadersCopy {
    /// The server that has it.
    pub server: String,
    /// The servers that are behind or away, as far as the leader knows.
    pub behind: Vec<String>,
    /// How many messages it has.
    pub messages: u64,
    /// Its last position.
    pub last: Sequence,
    /// How many servers should have a copy.
    pub replicas: usize,
}

impl Nats {
    /// The copy that [`Nats::repair`] would keep.
    pub async fn leaders_copy(&self) -> Result<LeadersCopy, NatsError> {
        let info = self.stream_info().await?;
        let Replicas { wanted: replicas, behind, .. } = Replicas::of(&info);
        let server = info.cluster.and_then(|cluster| cluster.leader).unwrap_or_default();
        let (messages, last) = (info.state.messages, Sequence(info.state.last_sequence));
        Ok(LeadersCopy { server, behind, messages, last, replicas })
    }

    /// Fills every other server's copy again from the leader's. Waits for as long as that takes; if it is interrupted,
    /// `tickwell log apply` gives the log its replicas back.
    pub async fn repair(&self) -> Result<LeadersCopy, NatsError> {
        let replicas = self.stream_info().await?.config.num_replicas;
        self.reach(1, |info| info.cluster.as_ref().is_none_or(|cluster| cluster.replicas.is_empty())).await?;
        self.reach(replicas, |info| Replicas::of(info).are_all_current()).await?;
        self.leaders_copy().await
    }

    /// Sets the number of replicas, and waits until it is so. Servers elect a leader meanwhile, and while they do,
    /// questions get no answer.
    async fn reach(&self, num_replicas: usize, is_so: impl Fn(&Info) -> bool) -> Result<(), NatsError> {
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
                Ok(info) if is_so(&info) => return Ok(()),
                Ok(_) | Err(ReadError::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

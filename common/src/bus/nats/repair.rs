//! Replaces the other servers' copies of the log with the leader's.
//!
//! nats-server does not notice that copies differ, and never corrects them: a server whose stream is longer than the
//! leader's keeps its own messages (see `docs/decisions/0022-a-log-that-lost-records.md`). But a new copy is always made from
//! the leader's. So the stream is first reduced to one replica, which is the leader's, and then gets its other replicas back.

use std::time::Duration;

use async_nats::jetstream::{
    response::Response,
    stream::{Config, Info},
};
use futures::{TryStreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Nats, NatsError, lease, replicas::Replicas};
use crate::{bus::ReadError, domain::Sequence, retry::RETRY_PAUSE, telemetry::chain};

/// How long to wait until the copies of the lease bucket are complete. The bucket holds a single key, so if this takes
/// longer, a server is stuck. The repair then succeeds anyway, because the copies of the log do not depend on the
/// bucket.
const BUCKET_PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for the servers to remove the other copies. After that, the stream's consumers are deleted, because
/// they may prevent the removal.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// How many times the consumers are deleted before another server is asked to lead.
const DELETIONS: usize = 3;

/// How long to wait until another server leads.
const ELECTION_TIME: Duration = Duration::from_secs(10);

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

    /// Replaces every other server's copy of the log and of the lease bucket with the leader's. The bucket is included,
    /// because whatever damaged a server's copy of the log has probably damaged its copy of the bucket too.
    ///
    /// Waits until the copies of the log are complete, however long that takes. If it is interrupted,
    /// `tickwell log apply` restores the number of replicas of the log and the bucket. Calls `report` with each step.
    pub async fn repair(&self, report: impl Fn(&str)) -> Result<LeadersCopy, NatsError> {
        let replicas = self.stream_info().await?.config.num_replicas;
        self.renew_copies(&self.stream, replicas, &report).await?;
        let bucket = lease::stream_name(self);
        let problem = match timeout(BUCKET_PATIENCE, self.renew_copies(&bucket, replicas, &report)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(elapsed) => Some(chain(&elapsed)),
        };
        if let Some(problem) = problem {
            report(&format!(
                "{bucket}: the copies are not complete yet ({problem}); `tickwell log verify` shows when they are \
                 complete"
            ));
        }
        self.leaders_copy().await
    }

    async fn renew_copies(
        &self,
        stream: &str,
        replicas: usize,
        report: &impl Fn(&str),
    ) -> Result<(), NatsError> {
        report(&format!("{stream}: removing the copies of the other servers"));
        let has_one_replica =
            |info: &Info| info.cluster.as_ref().is_none_or(|cluster| cluster.replicas.is_empty());
        loop {
            tokio::select! {
                removed = self.set_replicas(stream, 1, has_one_replica) => break removed?,
                () = self.delete_stuck_consumers(report), if stream == self.stream => {}
            }
            self.change_leader(stream, replicas, report).await?;
        }
        report(&format!("{stream}: waiting until {replicas} servers have the leader's copy"));
        self.set_replicas(stream, replicas, |info| Replicas::of(info).are_all_current()).await
    }

    /// Deletes the log's consumers a few times, if the other copies are not removed soon.
    ///
    /// The servers move every consumer to the remaining server first, and wait forever for consumers whose state was lost
    /// when volumes were rolled back (nats-server 2.15.1). Pods notice that their consumer is gone and create a new one.
    async fn delete_stuck_consumers(&self, report: &impl Fn(&str)) {
        for _attempt in 0..DELETIONS {
            sleep(REMOVAL_PATIENCE).await;
            report(&match self.delete_consumers().await {
                Ok(count) => {
                    format!("{}: deleted {count} consumers, which may prevent the removal", self.stream)
                }
                Err(error) => format!(
                    "{}: cannot delete the consumers, which may prevent the removal; retrying: {}",
                    self.stream,
                    chain(&error)
                ),
            });
        }
    }

    /// Makes another server the leader of the stream. Fails if that server's copy ends at a different sequence.
    ///
    /// A leader may wait for a consumer of its own store that the rest of the cluster does not know. Such a consumer cannot
    /// be deleted, and it outlives a restart of the server. The other servers do not have it.
    async fn change_leader(
        &self,
        stream: &str,
        replicas: usize,
        report: &impl Fn(&str),
    ) -> Result<(), NatsError> {
        let before = self.info_from_leader(stream).await?;
        let leader = |info: &Info| info.cluster.as_ref().and_then(|cluster| cluster.leader.clone());
        let (old, end) = (leader(&before), before.state.last_sequence);
        self.set_replicas(stream, replicas, |_| true).await?;
        report(&format!("{stream}: the other copies are still there; trying again with another leader"));
        let subject = format!("STREAM.LEADER.STEPDOWN.{stream}");
        let response: Result<Response<Value>, _> = self.context.request(subject, &json!({})).await;
        response.map_err(|error| self.request_error(error))?;
        let is_new = |info: &Info| leader(info) != old;
        // If the same server is elected again, the next attempt may elect another one.
        let elected = timeout(ELECTION_TIME, self.set_replicas(stream, replicas, is_new)).await;
        elected.unwrap_or(Ok(()))?;
        let after = self.info_from_leader(stream).await?;
        if after.state.last_sequence == end {
            return Ok(());
        }
        Err(NatsError::Stream {
            stream: stream.to_owned(),
            reason: format!(
                "{} leads now, and its copy ends at sequence {} instead of {end}: decide again whose copy to keep, and \
                 repeat `tickwell log repair`",
                leader(&after).unwrap_or_default(),
                after.state.last_sequence
            ),
        })
    }

    async fn delete_consumers(&self) -> Result<usize, ReadError> {
        let stream = self.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| self.request_error(error))?;
        let names: Vec<String> =
            stream.consumer_names().try_collect().await.map_err(|error| self.request_error(error))?;
        // The servers delete a stuck consumer without confirming the deletion, so errors are ignored.
        let _ = join_all(names.iter().map(|name| stream.delete_consumer(name))).await;
        Ok(names.len())
    }

    /// Sets a stream's number of replicas, and waits until `is_done` returns true. Retries if there is no response,
    /// because requests get none while the servers elect a leader.
    async fn set_replicas(
        &self,
        stream: &str,
        num_replicas: usize,
        is_done: impl Fn(&Info) -> bool,
    ) -> Result<(), NatsError> {
        loop {
            match self.info_from_leader(stream).await {
                Ok(info) if info.config.num_replicas != num_replicas => {
                    let config = Config { num_replicas, ..info.config };
                    let updated = self.context.update_stream(&config).await;
                    match updated.map_err(|error| self.request_error(error)) {
                        Ok(_) | Err(ReadError::Unavailable(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(info) if is_done(&info) => return Ok(()),
                Ok(_) | Err(ReadError::Unavailable(_)) => {}
                Err(error) => return Err(error.into()),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Returns information about the stream. Fails unless it comes from a leader that a majority follows.
    async fn info_from_leader(&self, stream: &str) -> Result<Info, ReadError> {
        let found = self.context.get_stream(stream).await.map_err(|error| self.not_found(stream, error))?;
        let info = found.cached_info().clone();
        match Replicas::of(&info).is_led {
            true => Ok(info),
            false => Err(ReadError::Unavailable("the stream has no leader".into())),
        }
    }
}

//! Restores a backup of the stream to a server that does not have the stream.
//!
//! nats-server 2.15.1 writes the pieces directly into the stream, and shows the stream as soon as it has the first
//! block. If the restore is interrupted, by the client or by a server, the partial stream stays: a single server then
//! shows a stream that looks complete, and a cluster shows an empty one. So the stream's metadata has a mark until the
//! stream is complete. Pods and pollers do not use a marked stream, and the next restore deletes it.
//!
//! While there is no stream yet, the lease prevents others from creating it: pollers create the stream only while they
//! hold the lease, and a restore takes the lease, even from a leading poller.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Cut, Nats, NatsLease, REQUEST_TIMEOUT,
    maintenance::{Contents, Description, MaintenanceError, STEP_TIMEOUT, json, read, refused_or, silent},
    replicas::Replicas,
    room::{retry_until_freed, too_small},
    stream::{RESTORE_MARK, RESTORED_MARK, is_being_restored},
};
use crate::{
    bus::{
        ReadError,
        lease::{Claim, Hold, Lease},
    },
    domain::{LeaderId, Span, Timestamp},
    retry::retry,
};

/// How long a poller may take to notice that it lost the lease, and to finish its last request. A poller renews the
/// lease at least once a second, and no request takes longer than the timeout.
const UNTIL_POLLER_STOPS: Duration = Duration::from_secs(1).saturating_add(REQUEST_TIMEOUT);

/// The smallest number of renewals of the lease within its span. If the span is long, the lease is renewed more often:
/// once a second.
const RENEWALS_PER_SPAN: u32 = 5;

/// How long sending a piece of the backup is retried if no server receives the piece. It may take this long until every
/// server of a cluster knows which server receives the pieces.
const ROUTES_SPREAD: Duration = Duration::from_secs(10);

/// The option of a stream that denies deletes.
const DENY_DELETE: &str = "deny_delete";

/// What existed under the stream's name before the restore, which deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No stream.
    Nothing,
    /// A stream that never held a message.
    Empty,
    /// A partial stream that an interrupted restore left behind.
    Remnant,
    /// A stream with messages.
    Log {
        /// How many messages it had.
        messages: u64,
        /// The sequence of the newest message.
        last: u64,
    },
}

/// The servers' copies of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// Whether the stream has a leader and a majority of the servers has a complete copy.
    pub is_safe: bool,
    /// The servers that are down or do not have a complete copy.
    pub behind: Vec<String>,
}

/// A restore in progress. It renews the lease until it is dropped.
pub struct Restore {
    nats: Nats,
    description: Description,
    lease: SeizedLease,
    found: Found,
    /// The time of the last slot whose records are restored, if some are to be left out.
    until: Option<Timestamp>,
    /// The subject to which the pieces are sent; empty before [`Restore::begin`].
    target: String,
    /// Whether [`Restore::begin`] was called. If so, the server may have a part of the stream.
    has_begun: bool,
}

/// The lease while a restore holds it.
struct SeizedLease {
    lease: Arc<NatsLease>,
    from: Option<LeaderId>,
    stop: CancellationToken,
    /// Renews the lease until `stop` is cancelled. Returns `None` if the lease is lost.
    keeper: AbortOnDropHandle<Option<Hold>>,
}

#[derive(Deserialize)]
struct Target {
    deliver_subject: String,
}

#[derive(Deserialize)]
struct Restored {
    state: Contents,
}

#[derive(Deserialize)]
struct Configured {
    config: Map<String, Value>,
}

impl Nats {
    /// Prepares a restore: takes the lease, and deletes any existing stream. Fails if that stream has messages, unless
    /// `replace` is set. Waits at most `patience` for servers that do not respond yet. If the lease's bucket does not
    /// exist, it is created with the span `span`.
    pub async fn prepare_restore(
        &self,
        description: Description,
        span: Span,
        replace: bool,
        patience: Duration,
    ) -> Result<Restore, MaintenanceError> {
        let check_existing = async || match self.existing_stream().await? {
            Found::Log { messages, last } if !replace => {
                Err(MaintenanceError::Occupied { stream: self.stream.clone(), messages, last })
            }
            found => Ok(found),
        };
        self.retry_for(patience, check_existing).await?;
        let nats = Self { replicas: description.replicas(), ..self.clone() };
        let lease = timeout(patience, NatsLease::open(nats.clone(), span)).await;
        let lease = lease.map_err(|_elapsed| silent("the lease bucket could not be created in time"))?;
        let lease = SeizedLease::take(lease.map_err(|error| ReadError::Unavailable(error.into()))?).await?;
        if lease.from.is_some() {
            sleep(UNTIL_POLLER_STOPS).await;
        }
        // This process holds the lease, so from here on no other process creates the stream or writes to it.
        let found = self.retry_for(patience, check_existing).await?;
        if found != Found::Nothing {
            self.delete_stream().await?;
        }
        Ok(Restore { nats, description, lease, found, until: None, target: String::new(), has_begun: false })
    }

    /// Returns which servers have a complete copy of the stream.
    pub async fn copies(&self) -> Result<Copies, MaintenanceError> {
        let stream = self.context.get_stream(&self.stream).await;
        let stream = stream.map_err(|error| refused_or(self.not_found(&self.stream, error)))?;
        let Replicas { wanted, current, behind, is_led } = Replicas::of(stream.cached_info());
        Ok(Copies { is_safe: is_led && current > wanted / 2, behind })
    }

    async fn existing_stream(&self) -> Result<Found, MaintenanceError> {
        self.require_connection().map_err(refused_or)?;
        let stream =
            self.context.get_stream(&self.stream).await.map_err(|error| self.not_found(&self.stream, error));
        let info = match stream {
            Ok(stream) => stream.cached_info().clone(),
            Err(ReadError::Gone { .. }) => return Ok(Found::Nothing),
            Err(error) => return Err(refused_or(error)),
        };
        if is_being_restored(&info.config) {
            return Ok(Found::Remnant);
        }
        let led = info.config.num_replicas <= 1 || Replicas::of(&info).is_led;
        match (info.state.last_sequence, led) {
            (0, true) => Ok(Found::Empty),
            // Without a leader, the server responds with the state of its own copy, which may be incomplete.
            (0, false) => Err(silent("the stream exists, but has no leader")),
            (last, _) => Ok(Found::Log { messages: info.state.messages, last }),
        }
    }

    /// Removes the mark. `denies_deletes` says whether the stream denies deletes from then on, if that is known.
    async fn unmark(&self, denies_deletes: Option<&Value>) -> Result<(), MaintenanceError> {
        let name = &self.stream;
        let info = self.ask(&format!("$JS.API.STREAM.INFO.{name}"), Bytes::new()).await?;
        let Configured { mut config } = info;
        if let Some(Value::Object(metadata)) = config.get_mut("metadata") {
            metadata.remove(RESTORE_MARK);
            metadata.insert(RESTORED_MARK.to_owned(), format!("{:016x}", rand::random::<u64>()).into());
        }
        if let Some(denies) = denies_deletes {
            config.insert(DENY_DELETE.to_owned(), denies.clone());
        }
        self.ask::<Value>(&format!("$JS.API.STREAM.UPDATE.{name}"), json(&config)?).await.map(drop)
    }

    /// Deletes the stream, and waits until all requests that may refer to it have ended.
    async fn delete_stream(&self) -> Result<(), MaintenanceError> {
        let subject = format!("$JS.API.STREAM.DELETE.{}", self.stream);
        match self.ask::<Value>(&subject, Bytes::new()).await {
            Err(MaintenanceError::Rejected(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            removed => drop(removed?),
        }
        // In nats-server 2.15.1, a consumer that is created before its server has the stream stays broken until that
        // server is restarted. So wait until the requests of pods that still saw the deleted stream have timed out.
        sleep(REQUEST_TIMEOUT).await;
        Ok(())
    }
}

impl Restore {
    /// What existed under the stream's name, and was deleted.
    pub fn found(&self) -> Found {
        self.found
    }

    /// The poller from which the lease was taken, if one held it.
    pub fn taken_from(&self) -> Option<LeaderId> {
        self.lease.from
    }

    /// Leaves out the records of slots after this time. Must be called before the restore begins.
    #[must_use]
    pub fn until(self, until: Option<Timestamp>) -> Self {
        Self { until, ..self }
    }

    /// Asks the server to start the restore.
    pub async fn begin(&mut self) -> Result<(), MaintenanceError> {
        let mut marked = self.description.clone();
        let mark = [(RESTORE_MARK.to_owned(), Value::from("incomplete"))];
        let metadata = marked.config.entry("metadata").or_insert_with(|| Map::new().into());
        match metadata {
            Value::Object(metadata) => metadata.extend(mark),
            other => *other = Map::from_iter(mark).into(),
        }
        if self.until.is_some() {
            marked.config.insert(DENY_DELETE.to_owned(), false.into());
        }
        self.has_begun = true;
        let lacks_room = |error: &MaintenanceError| matches!(error, MaintenanceError::TooSmall(_));
        let target = retry_until_freed(self.nats.replicas, || self.request(&marked), lacks_room);
        self.target = target.await?.deliver_subject;
        Ok(())
    }

    async fn request(&self, marked: &Description) -> Result<Target, MaintenanceError> {
        let (subject, request) = (format!("$JS.API.STREAM.RESTORE.{}", self.nats.stream), json(marked)?);
        match self.nats.ask(&subject, request.clone()).await {
            // The name is taken by a partial stream of an interrupted restore, because no other process creates the
            // stream while this one holds the lease. A cluster does not show such a stream before it has the first
            // block.
            Err(MaintenanceError::Rejected(error))
                if error.error_code() == ErrorCode::STREAM_NAME_EXIST_RESTORE_FAILED
                    && matches!(self.nats.existing_stream().await?, Found::Nothing | Found::Remnant) =>
            {
                self.nats.delete_stream().await?;
                self.nats.ask(&subject, request).await
            }
            Err(MaintenanceError::Rejected(error)) => {
                let max_bytes = marked.config.get("max_bytes").and_then(Value::as_i64).unwrap_or_default();
                let explained = too_small(&error, max_bytes).map(MaintenanceError::TooSmall);
                Err(explained.unwrap_or(MaintenanceError::Rejected(error)))
            }
            target => target,
        }
    }

    /// Sends the next piece of the backup.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), MaintenanceError> {
        if self.lease.is_lost() {
            return Err(MaintenanceError::LeaseLost);
        }
        let until = Instant::now() + ROUTES_SPREAD;
        let send = || self.nats.send(&self.target, piece.clone());
        let response = retry(send, |error| match error {
            // No server received the piece, so it is safe to send it again. After any other error, a server may have
            // received it.
            MaintenanceError::NoResponders(_) if Instant::now() < until => Ok(()),
            error => Err(error),
        });
        let response = response.await?;
        match response.payload.is_empty() {
            true => Ok(()),
            // Only an error response has content.
            false => read::<Value>(&response.payload).map(drop),
        }
    }

    /// Completes the transfer, and compares the restored stream with the backup. Returns how many messages the server
    /// deleted immediately because they had expired.
    pub async fn finish(&mut self, now: Timestamp) -> Result<u64, MaintenanceError> {
        let Restored { state } = self.nats.ask(&self.target, Bytes::new()).await?;
        let expired = expired_messages(&self.description, &state, now);
        expired.ok_or_else(|| MaintenanceError::Differs {
            expected: self.description.state.clone(),
            found: state,
        })
    }

    /// Deletes the records of slots after [`Restore::until`]. Must be called after [`Restore::finish`].
    pub async fn cut(&self) -> Result<Vec<Cut>, MaintenanceError> {
        match self.until {
            Some(until) => self.nats.cut(until).await,
            None => Ok(Vec::new()),
        }
    }

    /// Removes the mark from the stream and releases the lease. From then on, pollers and pods use the stream.
    pub async fn complete(self) -> Result<(), MaintenanceError> {
        let denies = self.description.config.get(DENY_DELETE);
        self.nats.retry_for(STEP_TIMEOUT, async || self.nats.unmark(denies).await).await?;
        self.lease.release().await;
        Ok(())
    }

    /// Ends the restore before it is complete, and releases the lease. The partial stream stays. Its mark prevents
    /// others from using it, and its existence prevents others from creating a new stream.
    pub async fn release(self) {
        self.lease.release().await;
    }

    /// Deletes the partial stream and releases the lease. If the deletion fails, the next restore deletes the
    /// partial stream.
    pub async fn discard(self) -> Result<(), MaintenanceError> {
        let removed = match self.nats.existing_stream().await {
            Ok(Found::Remnant | Found::Nothing) if self.has_begun => self.nats.delete_stream().await,
            // Any other stream was not created by this restore, so it stays.
            other => other.map(drop),
        };
        self.lease.release().await;
        removed
    }
}

impl SeizedLease {
    async fn take(lease: NatsLease) -> Result<Self, MaintenanceError> {
        let (hold, from) = lease.seize().await?;
        let (lease, stop) = (Arc::new(lease), CancellationToken::new());
        let keeper = tokio::spawn(keep(lease.clone(), hold, stop.clone()));
        Ok(Self { lease, from, stop, keeper: AbortOnDropHandle::new(keeper) })
    }

    fn is_lost(&self) -> bool {
        self.keeper.is_finished()
    }

    async fn release(self) {
        self.stop.cancel();
        if let Ok(Some(hold)) = self.keeper.await {
            self.lease.release(hold).await;
        }
    }
}

/// Renews the lease until `stop` is cancelled.
async fn keep(lease: Arc<NatsLease>, mut hold: Hold, stop: CancellationToken) -> Option<Hold> {
    let pause = (lease.span() / RENEWALS_PER_SPAN).min(Duration::from_secs(1));
    while stop.run_until_cancelled(sleep(pause)).await.is_some() {
        match lease.claim(Some(hold)).await {
            Ok(Claim::Held(renewed)) => hold = renewed,
            Ok(Claim::Taken(_)) => return None,
            // Retry. While the server does not respond, other processes cannot take the lease either.
            Err(_) => {}
        }
    }
    Some(hold)
}

/// How many messages of a backup are missing because they had expired. `None` if the restored stream differs in any
/// other way.
fn expired_messages(description: &Description, found: &Contents, now: Timestamp) -> Option<u64> {
    let expected = &description.state;
    if found.last_seq != expected.last_seq {
        return None;
    }
    let missing = expected.messages.checked_sub(found.messages)?;
    if missing == 0 {
        return (found.first_seq == expected.first_seq).then_some(0);
    }
    let max_age = description.config.get("max_age").and_then(Value::as_i64).filter(|age| *age > 0)?;
    let oldest = expected.more.get("first_ts").and_then(Value::as_str)?.parse::<Timestamp>().ok()?;
    let max_age = Duration::from_nanos(u64::try_from(max_age).ok()?);
    let expired = now.since(oldest) > max_age;
    // Only the oldest messages may be missing.
    let only_oldest = found.first_seq.checked_sub(expected.first_seq)? >= missing;
    (expired && only_oldest).then_some(missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contents(messages: u64, first_seq: u64, last_seq: u64) -> Contents {
        let more = [("first_ts".to_owned(), "2026-01-01T00:00:00.123456789Z".into())];
        Contents { messages, bytes: 1, first_seq, last_seq, more: more.into_iter().collect() }
    }

    /// Checks a stream with a `max_age` of an hour that is restored this many minutes after its first message.
    fn expired(found: &Contents, minutes: u64) -> Option<u64> {
        let Value::Object(config) = json!({ "max_age": 3_600_000_000_000_u64 }) else { return None };
        let description = Description { config, state: contents(90, 11, 100) };
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        expired_messages(&description, found, begin.plus(Duration::from_secs(minutes * 60)))
    }

    #[test]
    fn a_restored_stream_has_every_message_that_has_not_expired() {
        assert_eq!(expired(&contents(90, 11, 100), 5), Some(0));
        assert_eq!(
            expired(&contents(90, 11, 100), 500),
            Some(0),
            "the server deletes the expired messages a moment later"
        );
        assert_eq!(expired(&contents(80, 21, 100), 500), Some(10));
        assert_eq!(expired(&contents(0, 101, 100), 500), Some(90));
        for (found, minutes) in [
            (contents(80, 21, 100), 5),
            (contents(89, 11, 100), 500),
            (contents(90, 11, 101), 500),
            (contents(89, 11, 99), 500),
            (contents(90, 12, 100), 5),
            (contents(91, 11, 100), 5),
            (contents(0, 0, 0), 5),
        ] {
            assert_eq!(expired(&found, minutes), None, "{found}");
        }
    }
}

//! Putting a backup of the stream back into a server that does not have the stream.
//!
//! nats-server 2.15.1 writes what arrives straight into the stream, which is visible from its first block on. If the
//! restore is cut off, by the client or by a server, what has arrived stays: one server then shows a stream that looks
//! whole and is not, and a cluster shows an empty one. So the stream is marked in its metadata until it is whole: pods
//! and pollers leave a marked stream alone, and the next restore removes it.
//!
//! Before there is a stream, the lease protects its place: whoever may create the stream does so only while holding the
//! lease, and a restore takes it, from a leading poller too.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Nats, NatsLease, REQUEST_TIMEOUT, RETRY_PAUSE,
    maintenance::{Contents, Description, MaintenanceError, STEP_TIMEOUT, json, read, refused_or, silent},
    replicas::Replicas,
    stream::{RESTORE_MARK, is_being_restored},
};
use crate::{
    bus::{
        ReadError,
        lease::{Claim, Hold, Lease},
    },
    domain::{LeaderId, Span, Timestamp},
};

/// How long a poller may take to notice that it lost the lease, and to give up what it was about to do: it renews the
/// lease at least once a second, and no request of its takes longer than the timeout.
const POLLER_STANDS_BY: Duration = Duration::from_secs(1).saturating_add(REQUEST_TIMEOUT);

/// The lease is renewed so often in its span, and once a second at least.
const RENEWALS_PER_SPAN: u32 = 5;

/// How long the servers of a cluster may take to tell each other where the pieces go.
const ROUTES_SPREAD: Duration = Duration::from_secs(10);

/// What was in the place of the stream, and was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No stream.
    Nothing,
    /// A stream that never held a message.
    Empty,
    /// What a restore left behind that was cut off.
    Remnant,
    /// A log.
    Log {
        /// How many messages it had.
        messages: u64,
        /// The position of the newest one.
        last: u64,
    },
}

/// On which servers the stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// Whether a majority has all of it, so that it survives the loss of one.
    pub is_safe: bool,
    /// Those that do not have all of it, or are away.
    pub behind: Vec<String>,
}

/// A restore in progress. It holds the lease until it is dropped.
pub struct Restore {
    nats: Nats,
    description: Description,
    lease: SeizedLease,
    found: Found,
    /// Where the pieces go; nothing before the server was asked.
    target: String,
    /// Whether the server was asked, so that it may have a part of the stream.
    has_begun: bool,
}

/// The lease in the hands of a restore.
struct SeizedLease {
    lease: Arc<NatsLease>,
    from: Option<LeaderId>,
    stop: CancellationToken,
    /// Renews the lease until it is told to stop; returns nothing once the lease is lost.
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
    /// Makes room for a restore: makes sure that there are no records in the stream's place, unless they are to be replaced,
    /// takes the lease, and removes what is there. Waits for servers that do not answer yet, for at most `patience`. `span`
    /// is how long the lease lasts where its bucket has to be created.
    pub async fn prepare_restore(
        &self,
        description: Description,
        span: Span,
        replace: bool,
        patience: Duration,
    ) -> Result<Restore, MaintenanceError> {
        let may_be_removed = async || match self.stream_in_place().await? {
            Found::Log { messages, last } if !replace => {
                Err(MaintenanceError::Occupied { stream: self.stream.clone(), messages, last })
            }
            found => Ok(found),
        };
        self.patiently(patience, may_be_removed).await?;
        let nats = Self { replicas: description.replicas(), ..self.clone() };
        let lease = timeout(patience, NatsLease::open(nats.clone(), span)).await;
        let lease = lease.map_err(|_elapsed| silent("the lease's bucket could not be created"))?;
        let lease = SeizedLease::take(lease.map_err(|error| ReadError::Unavailable(error.into()))?).await?;
        if lease.from.is_some() {
            sleep(POLLER_STANDS_BY).await;
        }
        // From here on nobody creates the stream or writes to it.
        let found = self.patiently(patience, may_be_removed).await?;
        if found != Found::Nothing {
            self.remove_stream().await?;
        }
        Ok(Restore { nats, description, lease, found, target: String::new(), has_begun: false })
    }

    /// Which servers have all of the stream.
    pub async fn copies(&self) -> Result<Copies, MaintenanceError> {
        let stream = self.context.get_stream(&self.stream).await;
        let stream = stream.map_err(|error| refused_or(self.not_found(error)))?;
        let Replicas { wanted, current, behind, is_led } = Replicas::of(stream.cached_info());
        Ok(Copies { is_safe: is_led && current > wanted / 2, behind })
    }

    /// What is in the place of the stream.
    async fn stream_in_place(&self) -> Result<Found, MaintenanceError> {
        self.require_connection().map_err(refused_or)?;
        let stream = self.context.get_stream(&self.stream).await.map_err(|error| self.not_found(error));
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
            // Without a leader a server says what it has, which may be less than there is.
            (0, false) => Err(silent("the stream is there, and does not have a leader")),
            (last, _) => Ok(Found::Log { messages: info.state.messages, last }),
        }
    }

    async fn unmark(&self) -> Result<(), MaintenanceError> {
        let name = &self.stream;
        let info = self.ask(&format!("$JS.API.STREAM.INFO.{name}"), Bytes::new()).await?;
        let Configured { mut config } = info;
        if let Some(Value::Object(metadata)) = config.get_mut("metadata") {
            metadata.remove(RESTORE_MARK);
        }
        self.ask::<Value>(&format!("$JS.API.STREAM.UPDATE.{name}"), json(&config)?).await.map(drop)
    }

    /// Removes the stream, and waits until nobody asks the server for what was in it.
    async fn remove_stream(&self) -> Result<(), MaintenanceError> {
        let subject = format!("$JS.API.STREAM.DELETE.{}", self.stream);
        match self.ask::<Value>(&subject, Bytes::new()).await {
            Err(MaintenanceError::Rejected(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            removed => drop(removed?),
        }
        // A consumer that is created while the stream is not yet on its server stays broken until that server is
        // restarted (2.15.1). Requests of pods that still saw the stream have come to an end after this.
        sleep(REQUEST_TIMEOUT).await;
        Ok(())
    }
}

impl Restore {
    /// What was in the stream's place, and was removed.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Which poller the lease was taken from.
    pub fn taken_from(&self) -> Option<LeaderId> {
        self.lease.from
    }

    /// Asks the server to take the stream.
    pub async fn begin(&mut self) -> Result<(), MaintenanceError> {
        let mut marked = self.description.clone();
        let mark = [(RESTORE_MARK.to_owned(), Value::from("incomplete"))];
        let metadata = marked.config.entry("metadata").or_insert_with(|| Map::new().into());
        match metadata {
            Value::Object(metadata) => metadata.extend(mark),
            other => *other = Map::from_iter(mark).into(),
        }
        let (subject, request) = (format!("$JS.API.STREAM.RESTORE.{}", self.nats.stream), json(&marked)?);
        self.has_begun = true;
        let Target { deliver_subject } = match self.nats.ask(&subject, request.clone()).await {
            // A cluster shows a stream that is being restored only once it has a part of it. So this is what an
            // interrupted restore has left behind; nobody else creates the stream while the lease is ours.
            Err(MaintenanceError::Rejected(error))
                if error.error_code() == ErrorCode::STREAM_NAME_EXIST_RESTORE_FAILED
                    && matches!(self.nats.stream_in_place().await?, Found::Nothing | Found::Remnant) =>
            {
                self.nats.remove_stream().await?;
                self.nats.ask(&subject, request).await?
            }
            target => target?,
        };
        self.target = deliver_subject;
        Ok(())
    }

    /// Sends the next piece of the backup.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), MaintenanceError> {
        if self.lease.is_lost() {
            return Err(MaintenanceError::LeaseLost);
        }
        let until = Instant::now() + ROUTES_SPREAD;
        let taken = loop {
            match self.nats.send(&self.target, piece.clone()).await {
                // Nothing was sent; anything else must not be sent again.
                Err(MaintenanceError::Unheard(_)) if Instant::now() < until => sleep(RETRY_PAUSE).await,
                taken => break taken?,
            }
        };
        match taken.payload.is_empty() {
            true => Ok(()),
            // Only an error has something to say.
            false => read::<Value>(&taken.payload).map(drop),
        }
    }

    /// Says that all pieces were sent, and compares what the server has then with what was backed up. Returns how many
    /// messages it dropped at once because of their age.
    pub async fn finish(&mut self, now: Timestamp) -> Result<u64, MaintenanceError> {
        let Restored { state } = self.nats.ask(&self.target, Bytes::new()).await?;
        let too_old = too_old(&self.description, &state, now);
        too_old.ok_or_else(|| MaintenanceError::Differs {
            expected: self.description.state.clone(),
            found: state,
        })
    }

    /// Declares the stream whole, and gives the lease back: pollers and pods go on.
    pub async fn complete(self) -> Result<(), MaintenanceError> {
        self.nats.patiently(STEP_TIMEOUT, async || self.nats.unmark().await).await?;
        self.lease.release().await;
        Ok(())
    }

    /// Gives up, and gives the lease back. What has arrived stays: it is marked, so nobody uses it, and as long as it is
    /// there, nobody creates another stream.
    pub async fn release(self) {
        self.lease.release().await;
    }

    /// Removes what has arrived, and gives the lease back. If this fails, the next restore does it.
    pub async fn discard(self) -> Result<(), MaintenanceError> {
        let removed = match self.nats.stream_in_place().await {
            Ok(Found::Remnant | Found::Nothing) if self.has_begun => self.nats.remove_stream().await,
            // Nothing else is ours.
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

/// Renews the lease until it is told to stop.
async fn keep(lease: Arc<NatsLease>, mut hold: Hold, stop: CancellationToken) -> Option<Hold> {
    let pause = (lease.span() / RENEWALS_PER_SPAN).min(Duration::from_secs(1));
    while stop.run_until_cancelled(sleep(pause)).await.is_some() {
        match lease.claim(Some(hold)).await {
            Ok(Claim::Held(renewed)) => hold = renewed,
            Ok(Claim::Taken(_)) => return None,
            // While the server is away, nobody else gets the lease either.
            Err(_) => {}
        }
    }
    Some(hold)
}

/// How many messages of a backup are missing because they were too old for the stream; nothing if what was restored
/// differs in another way.
fn too_old(description: &Description, found: &Contents, now: Timestamp) -> Option<u64> {
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
    // The oldest ones, and no others.
    let from_beginning = found.first_seq.checked_sub(expected.first_seq)? >= missing;
    (expired && from_beginning).then_some(missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contents(messages: u64, first_seq: u64, last_seq: u64) -> Contents {
        let more = [("first_ts".to_owned(), "2026-01-01T00:00:00.123456789Z".into())];
        Contents { messages, bytes: 1, first_seq, last_seq, more: more.into_iter().collect() }
    }

    /// What is said of a stream that keeps messages for an hour, restored so many minutes after its first message.
    fn judged(found: &Contents, minutes: u64) -> Option<u64> {
        let Value::Object(config) = json!({ "max_age": 3_600_000_000_000_u64 }) else { return None };
        let description = Description { config, state: contents(90, 11, 100) };
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        too_old(&description, found, begin.plus(Duration::from_secs(minutes * 60)))
    }

    #[test]
    fn a_restored_stream_has_every_message_but_for_those_that_are_too_old() {
        assert_eq!(judged(&contents(90, 11, 100), 5), Some(0));
        assert_eq!(judged(&contents(90, 11, 100), 500), Some(0), "the server drops them a moment later");
        assert_eq!(judged(&contents(80, 21, 100), 500), Some(10));
        assert_eq!(judged(&contents(0, 101, 100), 500), Some(90));
        for (found, minutes) in [
            (contents(80, 21, 100), 5),
            (contents(89, 11, 100), 500),
            (contents(90, 11, 101), 500),
            (contents(89, 11, 99), 500),
            (contents(90, 12, 100), 5),
            (contents(91, 11, 100), 5),
            (contents(0, 0, 0), 5),
        ] {
            assert_eq!(judged(&found, minutes), None, "{found}");
        }
    }
}

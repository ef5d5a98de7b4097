//! Reads records from the log on NATS, a store, or a running pod.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{
    bus::{
        Batch, Entry, LogIdentity, LogReader, NotRecord, ReadError,
        nats::{Nats, NatsReader, Role},
    },
    domain::Sequence,
    text::redacted,
    wire::DecodeError,
};
use ledger::store::Store;
use tokio::time::timeout;

use super::{found::Found, response};
use crate::{
    connect,
    pod::{Key, PodClient},
    settings::Settings,
    stopped::{self, Incomplete},
};

/// How long to wait for the log. Unlike a service, a command should fail soon.
const PATIENCE: Duration = Duration::from_secs(10);

/// Called for each position of the log, in order: with the position, with what it holds, and with the last position of
/// the log.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Sequence, Found, Sequence) -> Result<()>;

/// The records of one log.
pub(super) enum Records {
    /// The log on NATS.
    Log { nats: Box<Nats>, identity: LogIdentity, name: String },
    /// The store of a stopped process.
    Store(Store),
    /// A running pod.
    Pod(PodClient),
}

impl Records {
    /// The records of a running pod.
    pub(super) fn of_pod(url: &str, key: &Key) -> Result<Self> {
        PodClient::new("--url", url, key).map(Self::Pod)
    }

    /// The records of the log in the settings.
    pub(super) async fn open(settings: &Settings, demo: bool, incomplete: Incomplete) -> Result<Self> {
        if settings.bus.url.is_empty() {
            return store(settings, demo, incomplete).map(Self::Store);
        }
        let url = redacted(&settings.bus.url);
        let nats = connect::to_log(settings, Role::Api).await?;
        let name = format!("{} on {url}", settings.bus.stream);
        let identity = nats.identity().await;
        let identity = identity.with_context(|| {
            format!(
                "bus.url: cannot read {name}; check that the log exists (bus.stream) and that NATS is running"
            )
        })?;
        Ok(Self::Log { nats: Box::new(nats), identity, name })
    }

    /// What one position of the log holds.
    pub(super) async fn at(&self, sequence: Sequence) -> Result<Found> {
        match self {
            Self::Log { nats, identity, name } => {
                let before = Sequence(sequence.0.saturating_sub(1));
                let mut reader = nats.follow(identity.clone(), before, None);
                let absent = || Found::Absent(format!("{name} has no record there"));
                match next(&mut reader).await {
                    Ok(batch) => match batch.entries.first().filter(|entry| entry.sequence == sequence) {
                        Some(entry) => found(entry),
                        None => Ok(absent()),
                    },
                    // The log existed a moment ago, so this error means that the log ends before the position.
                    Err(ReadError::Replaced(_)) => Ok(absent()),
                    Err(error) => Err(error.into()),
                }
            }
            Self::Store(store) => match store.record(sequence)? {
                Some(record) => Ok(Found::Record(Box::new(record))),
                None => {
                    let (path, newest) = (store.path().display(), store.cursor()?);
                    Ok(Found::Absent(format!(
                        "the store in {path} has no record there; the newest is {newest}"
                    )))
                }
            },
            Self::Pod(pod) => response::record(pod, sequence).await,
        }
    }

    /// Visits the whole log up to its current end.
    pub(super) async fn walk(&self, visit: Visit<'_>) -> Result<()> {
        match self {
            Self::Log { nats, identity, .. } => {
                let mut reader = nats.follow(identity.clone(), Sequence(0), None);
                loop {
                    let batch = next(&mut reader).await?;
                    let end = batch.entries.last().map_or(0, |entry| entry.sequence.0) + batch.pending;
                    for entry in &batch.entries {
                        visit(entry.sequence, found(entry)?, Sequence(end))?;
                    }
                    if batch.pending == 0 {
                        return Ok(());
                    }
                }
            }
            Self::Store(store) => {
                let end = store.cursor()?;
                for stored in store.records() {
                    let stored = stored?;
                    visit(stored.sequence, Found::Record(Box::new(stored.record)), end)?;
                }
                Ok(())
            }
            Self::Pod(pod) => {
                let (end, _log) = pod.newest().await?;
                for number in 1..=end.0 {
                    let sequence = Sequence(number);
                    visit(sequence, response::record(pod, sequence).await?, end)?;
                }
                Ok(())
            }
        }
    }
}

/// Opens the store of a stopped `tickwell run` or pod.
fn store(settings: &Settings, demo: bool, incomplete: Incomplete) -> Result<Store> {
    let folder = settings.store.path.display();
    match stopped::open(settings, "--url", &settings.api.listen, incomplete)? {
        Some(store) => Ok(store),
        None if demo => {
            bail!(
                "there is no store of a demo in {folder}; set store.path to the same value as for the demo, or use --url \
                 to read from a running demo"
            )
        }
        None => bail!(
            "there is no store in {folder}; set store.path to the directory of a store, set bus.url to read the log on \
             NATS, or use --url to read from a running pod, or --demo to read the store of a demo"
        ),
    }
}

/// The next entries of the log. Retries for up to [`PATIENCE`].
async fn next(reader: &mut NatsReader) -> Result<Batch, ReadError> {
    let mut reason = None;
    let batch = timeout(PATIENCE, async {
        loop {
            match reader.next().await {
                Err(error) if error.trouble().is_some() => reason = Some(error),
                other => return other,
            }
        }
    });
    match batch.await {
        Ok(batch) => batch,
        Err(elapsed) => Err(reason.unwrap_or_else(|| ReadError::Unavailable(elapsed.into()))),
    }
}

/// Decodes a message of the log. Fails for a record in the format of another version, because this version cannot
/// recompute it.
fn found(entry: &Entry) -> Result<Found> {
    match entry.record() {
        Ok(record) => Ok(Found::Record(Box::new(record))),
        Err(NotRecord::Undecodable(error @ DecodeError::UnknownVersion { .. })) => {
            Err(error).with_context(|| format!("cannot recompute {}", entry.sequence))
        }
        Err(error) => Ok(Found::Absent(format!("the message there is not a record: {error}"))),
    }
}

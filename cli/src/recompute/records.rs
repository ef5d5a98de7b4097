//! Where records come from.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{
    bus::{
        Batch, Entry, LogIdentity, LogReader, NotRecord, ReadError,
        nats::{Nats, NatsReader, Role, redacted},
    },
    domain::{Record, Sequence},
    wire::DecodeError,
};
use ledger::store::Store;
use tokio::time::timeout;

use super::answer;
use crate::{
    connect,
    pod::{Key, Pod},
    settings::Settings,
    stopped,
};

/// How long the log may stay silent. A command is not a service: whoever typed it wants to know.
const PATIENCE: Duration = Duration::from_secs(10);

/// What lies at a position of the log.
#[derive(Debug)]
pub(super) enum Found {
    /// A record.
    Record(Box<Record>),
    /// This record, without its quotes: the pod no longer answers them.
    Expired(String),
    /// None, for this reason.
    Absent(String),
}

/// Told of each position of the log that holds something, with what lies there and where the log ends.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Sequence, Found, Sequence) -> Result<()>;

/// The records of one log.
pub(super) enum Records {
    /// On NATS.
    Log { nats: Box<Nats>, identity: LogIdentity, name: String },
    /// In a store that no process uses.
    Store(Store),
    /// Behind a pod.
    Pod(Pod),
}

impl Records {
    /// The records that a running pod answers.
    pub(super) fn through(url: &str, key: &Key) -> Result<Self> {
        Pod::new("--url", url, key).map(Self::Pod)
    }

    /// The records of the log that the settings name.
    pub(super) async fn open(settings: &Settings, demo: bool) -> Result<Self> {
        if settings.bus.url.is_empty() {
            return store(settings, demo).map(Self::Store);
        }
        let url = redacted(&settings.bus.url);
        let nats = connect::to_log(settings, Role::Api).await?;
        let name = format!("{} on {url}", settings.bus.stream);
        let identity = nats.identity().await;
        let identity =
            identity.with_context(|| format!("bus.url: there is no {name}, or it does not answer"))?;
        Ok(Self::Log { nats: Box::new(nats), identity, name })
    }

    /// What lies at one position.
    pub(super) async fn at(&self, sequence: Sequence) -> Result<Found> {
        match self {
            Self::Log { nats, identity, name } => {
                let before = Sequence(sequence.0.saturating_sub(1));
                let mut reader = nats.follow(identity.clone(), before, None);
                let absent = || Found::Absent(format!("there is no such record in {name}"));
                match next(&mut reader).await {
                    Ok(batch) => match batch.entries.first().filter(|entry| entry.sequence == sequence) {
                        Some(entry) => found(entry),
                        None => Ok(absent()),
                    },
                    // The log was there a moment ago: it is its end that lies before the position.
                    Err(ReadError::Replaced(_)) => Ok(absent()),
                    Err(error) => Err(error.into()),
                }
            }
            Self::Store(store) => match store.record(sequence)? {
                Some(record) => Ok(Found::Record(Box::new(record))),
                None => {
                    let (path, newest) = (store.path().display(), store.cursor()?);
                    Ok(Found::Absent(format!("there is no such record in {path}; the newest is {newest}")))
                }
            },
            Self::Pod(pod) => answer::record(pod, sequence).await,
        }
    }

    /// Visits the whole log, up to where it ends now.
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
                let end = pod.newest().await?;
                for number in 1..=end.0 {
                    let sequence = Sequence(number);
                    visit(sequence, answer::record(pod, sequence).await?, end)?;
                }
                Ok(())
            }
        }
    }
}

/// The store of `tickwell run`, or a pod's copy: the records in it are the same.
fn store(settings: &Settings, demo: bool) -> Result<Store> {
    let folder = settings.store.path.display();
    match stopped::open(settings, "--url", &settings.api.listen)? {
        Some(store) => Ok(store),
        None if demo => {
            bail!("there is no store of a demo in {folder}; name its store.path, or the --url of a pod")
        }
        None => bail!(
            "there is no store in {folder}; name the log: --set store.path=…, --set bus.url=…, --url of a pod, \
             or --demo"
        ),
    }
}

/// The next entries of the log, however often it has to be asked.
async fn next(reader: &mut NatsReader) -> Result<Batch, ReadError> {
    let mut reason = None;
    let answered = timeout(PATIENCE, async {
        loop {
            match reader.next().await {
                Err(error) if error.trouble().is_some() => reason = Some(error),
                other => return other,
            }
        }
    });
    match answered.await {
        Ok(answer) => answer,
        Err(elapsed) => Err(reason.unwrap_or_else(|| ReadError::Unavailable(elapsed.into()))),
    }
}

/// What a message of the log is. A record that cannot be read because it is too new is an error: nobody
/// could say whether it differs.
fn found(entry: &Entry) -> Result<Found> {
    match entry.record() {
        Ok(record) => Ok(Found::Record(Box::new(record))),
        Err(NotRecord::Undecodable(error @ DecodeError::UnknownVersion { .. })) => {
            Err(error).with_context(|| format!("{} cannot be recomputed", entry.sequence))
        }
        Err(error) => Ok(Found::Absent(format!("this is no record: {error}"))),
    }
}

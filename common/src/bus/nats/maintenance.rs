//! What backing up and restoring the stream have in common: the description of a backup, the errors, and requests that
//! async-nats has no function for.

use std::{pin::pin, time::Duration};

use async_nats::{
    Message, Request,
    client::RequestErrorKind,
    jetstream::{self, response::Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::{Nats, RETRY_PAUSE, Role};
use crate::bus::{ReadError, Source, lease::LeaseError};

/// How long the server may take for one step. Most take milliseconds; the last step of a restore writes what is left of
/// a large stream to the disk.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// The size of the pieces in which a stream is copied. A server takes requests of 1 MB unless `max_payload` says less,
/// and the shipped nats.conf says 128 KB.
pub const PIECE_BYTES: usize = 64 * 1024;

/// What a backup says about the stream in it. As JSON it is the `backup.json` of the NATS command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The stream's options, as the server gave them.
    pub config: Map<String, Value>,
    /// What the stream held.
    pub state: Contents,
}

/// What a stream holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// How many messages.
    pub messages: u64,
    /// Their size in the server's files, before compression.
    pub bytes: u64,
    /// The oldest message.
    pub first_seq: u64,
    /// The newest message, or the newest that there was.
    pub last_seq: u64,
    /// What else the server says.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Why the stream could not be backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The stream cannot be asked.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The key in use is another role's.
    #[error(
        "NATS refuses this process ({reason}): bus.credentials_file must name the key of the role {role}, \
         {role}.nk of `tickwell log keys`, and the server's nats.conf must grant its rights"
    )]
    Refused {
        /// The role that may.
        role: &'static str,
        /// What the server said.
        reason: String,
    },
    /// The server says no.
    #[error("the NATS server answers: {0}")]
    Rejected(jetstream::Error),
    /// The server's answer does not have the expected form.
    #[error("the NATS server's answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// No server takes the request.
    #[error("no NATS server takes requests to {0}")]
    Unheard(String),
    /// The connection was lost, and perhaps a part of the stream with it.
    #[error("the connection to NATS was lost: repeat the command")]
    Disconnected,
    /// The server ended a backup too soon.
    #[error("the NATS server broke the backup off: {0}")]
    BrokenOff(String),
    /// There is a stream with messages already.
    #[error(
        "the stream {stream} exists already, with {messages} messages up to sequence {last}: make a backup of it if it may \
         still be needed, and repeat the restore with --replace, which deletes it first"
    )]
    Occupied {
        /// Its name.
        stream: String,
        /// How many messages it has.
        messages: u64,
        /// The position of the newest one.
        last: u64,
    },
    /// The lease could not be taken.
    #[error("the lease on the log could not be taken")]
    Lease(#[from] LeaseError),
    /// The lease was taken away.
    #[error("another process took the lease on the log: is another restore running?")]
    LeaseLost,
    /// What was restored is not what was backed up.
    #[error("the restored stream has {found}, but the backup has {expected}: use another backup")]
    Differs {
        /// What the backup says.
        expected: Contents,
        /// What the server says.
        found: Contents,
    },
}

impl Description {
    /// The stream's name.
    pub fn stream(&self) -> &str {
        self.config.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// On how many servers the stream was kept.
    pub fn replicas(&self) -> usize {
        let replicas = self.config.get("num_replicas").and_then(Value::as_u64);
        replicas.and_then(|replicas| usize::try_from(replicas).ok()).unwrap_or(1)
    }

    /// The same, kept on another number of servers.
    #[must_use]
    pub fn with_replicas(mut self, replicas: usize) -> Self {
        self.config.insert("num_replicas".to_owned(), replicas.into());
        self
    }
}

impl std::fmt::Display for Contents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { messages, first_seq, last_seq, .. } = self;
        write!(formatter, "{messages} messages, sequence {first_seq} to {last_seq}")
    }
}

impl MaintenanceError {
    /// Whether the same request may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Log(ReadError::Unavailable(_)) | Self::Unheard(_) => true,
            // Until the servers of a cluster have found each other.
            Self::Rejected(error) => error.code() == 503,
            _ => false,
        }
    }
}

impl Nats {
    /// Sends a request, and reads the answer or the server's error.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        subject: &str,
        body: Bytes,
    ) -> Result<T, MaintenanceError> {
        read(&self.send(subject, body).await?.payload)
    }

    /// Sends a request. What the server refuses for want of a permission it does not answer, and says why beside it.
    pub(super) async fn send(&self, subject: &str, body: Bytes) -> Result<Message, MaintenanceError> {
        self.require_connection().map_err(refused_or)?;
        let request = Request::new().payload(body).timeout(Some(STEP_TIMEOUT));
        let mut answer = pin!(self.client.send_request(subject.to_owned(), request));
        let mut connections = self.reports.connections();
        loop {
            tokio::select! {
                answer = &mut answer => return answer.map_err(|error| match error.kind() {
                    RequestErrorKind::NoResponders => MaintenanceError::Unheard(subject.to_owned()),
                    _ => refused_or(self.unanswered(error)),
                }),
                _ = connections.changed() => return Err(MaintenanceError::Disconnected),
                () = sleep(RETRY_PAUSE) => {
                    if let Some(reason) = self.reports.refusal() {
                        return Err(refused_or(ReadError::Refused(reason)));
                    }
                }
            }
        }
    }

    /// Repeats something while the server does not answer, for at most a while.
    pub(super) async fn patiently<T>(
        &self,
        patience: Duration,
        act: impl AsyncFn() -> Result<T, MaintenanceError>,
    ) -> Result<T, MaintenanceError> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            match act().await {
                Err(error) if error.may_pass() && tokio::time::Instant::now() < until => {}
                done => return done,
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// What the server answered, or its error.
pub(super) fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, MaintenanceError> {
    match serde_json::from_slice(answer)? {
        Response::Ok(answer) => Ok(answer),
        Response::Err { error } => Err(MaintenanceError::Rejected(error)),
    }
}

/// An error of the log, in which a refusal names the role that would not be refused.
pub(super) fn refused_or(error: ReadError) -> MaintenanceError {
    match error {
        ReadError::Refused(reason) => MaintenanceError::Refused { role: Role::Maintenance.name(), reason },
        error => MaintenanceError::Log(error),
    }
}

/// The body of a request.
pub(super) fn json(body: &impl Serialize) -> Result<Bytes, MaintenanceError> {
    Ok(serde_json::to_vec(body)?.into())
}

/// The server gave no answer, or the answer stopped coming.
pub(super) fn silent(what: &'static str) -> MaintenanceError {
    MaintenanceError::Log(ReadError::Unavailable(Source::from(what)))
}

//! Shared by backup and restore: the description of a backup, the errors, and requests for which async-nats has no
//! functions.

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

use super::{Nats, Role};
use crate::{
    bus::{ReadError, Source, lease::LeaseError},
    retry::{RETRY_PAUSE, retry},
};

/// How long the server may take for one step. Most steps take milliseconds, but the last step of a restore writes the rest
/// of a large stream to disk.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// The size of the pieces in which a stream is transferred. It must be below the server's `max_payload`, which is 1 MB by
/// default and 128 KB in our nats.conf.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Describes the stream in a backup. Its JSON form is the `backup.json` of the NATS command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The stream's options, as returned by the server.
    pub config: Map<String, Value>,
    /// The stream's contents.
    pub state: Contents,
}

/// The contents of a stream, in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// The number of messages.
    pub messages: u64,
    /// The size of the messages in the server's files, before compression.
    pub bytes: u64,
    /// The sequence of the oldest message.
    pub first_seq: u64,
    /// The sequence of the newest message, even if that message no longer exists.
    pub last_seq: u64,
    /// All other fields that the server returned.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Why the stream could not be backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// A request about the stream failed.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The process does not have the key of the required role.
    #[error(
        "NATS denied a request ({reason}): set bus.credentials_file to the key of the role {role}, which is {role}.nk in \
         the directory that `tickwell log keys` created, and check that the server's nats.conf is up to date"
    )]
    Refused {
        /// The required role.
        role: &'static str,
        /// The server's reason.
        reason: String,
    },
    /// The server returned an error.
    #[error("the NATS server returned an error: {0}")]
    Rejected(jetstream::Error),
    /// The server has too little storage for the stream. The message says how much is needed, and where to set it.
    #[error("{0}")]
    TooSmall(String),
    /// The server's response does not have the expected format.
    #[error("cannot parse the response of the NATS server")]
    Unreadable(#[from] serde_json::Error),
    /// No server receives requests on this subject.
    #[error("no NATS server responds to requests on {0}: check that JetStream is enabled on the servers")]
    NoResponders(String),
    /// The connection was lost, and pieces of the backup may have been lost in transfer.
    #[error("the connection to NATS was lost: repeat the command")]
    Disconnected,
    /// The server ended the backup early, or a piece of it was lost in transfer.
    #[error("the backup was interrupted ({0}): repeat the command")]
    Interrupted(String),
    /// A stream with messages already exists.
    #[error(
        "the stream {stream} exists already, with {messages} messages up to sequence {last}: back it up if it may still be \
         needed, then repeat the restore with --replace, which deletes the existing stream first"
    )]
    Occupied {
        /// The stream's name.
        stream: String,
        /// How many messages it has.
        messages: u64,
        /// The sequence of the newest message.
        last: u64,
    },
    /// The lease could not be taken.
    #[error("cannot take the lease on the log")]
    Lease(#[from] LeaseError),
    /// Another process took the lease.
    #[error("another process took the lease on the log: check whether another restore is running")]
    LeaseLost,
    /// The restored stream differs from the backup.
    #[error("the restored stream has {found}, but the backup has {expected}: use another backup")]
    Differs {
        /// The contents according to the backup.
        expected: Contents,
        /// The contents according to the server.
        found: Contents,
    },
}

impl Description {
    /// The stream's name.
    pub fn stream(&self) -> &str {
        self.config.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// How many servers had a copy of the stream.
    pub fn replicas(&self) -> usize {
        let replicas = self.config.get("num_replicas").and_then(Value::as_u64);
        replicas.and_then(|replicas| usize::try_from(replicas).ok()).unwrap_or(1)
    }

    /// Changes the number of servers that will have a copy.
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
    /// Whether the request may succeed if it is repeated a moment later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Log(ReadError::Unavailable(_)) | Self::NoResponders(_) => true,
            // 503: the servers of a cluster are still connecting to each other.
            Self::Rejected(error) => error.code() == 503,
            _ => false,
        }
    }
}

impl Nats {
    /// Sends a request and parses the response.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        subject: &str,
        body: Bytes,
    ) -> Result<T, MaintenanceError> {
        read(&self.send(subject, body).await?.payload)
    }

    /// Sends a request. NATS does not respond if the permission is missing, but sends the reason as a separate event.
    /// So this also checks for such an event while it waits.
    pub(super) async fn send(&self, subject: &str, body: Bytes) -> Result<Message, MaintenanceError> {
        self.require_connection().map_err(refused_or)?;
        let request = Request::new().payload(body).timeout(Some(STEP_TIMEOUT));
        let mut response = pin!(self.client.send_request(subject.to_owned(), request));
        let mut connections = self.events.connections();
        loop {
            tokio::select! {
                response = &mut response => return response.map_err(|error| match error.kind() {
                    RequestErrorKind::NoResponders => MaintenanceError::NoResponders(subject.to_owned()),
                    _ => refused_or(self.request_error(error)),
                }),
                _ = connections.changed() => return Err(MaintenanceError::Disconnected),
                () = sleep(RETRY_PAUSE) => {
                    if let Some(reason) = self.events.denial() {
                        return Err(refused_or(ReadError::Refused(reason)));
                    }
                }
            }
        }
    }

    /// Retries while the server does not respond, for at most `patience`.
    pub(super) async fn retry_for<T>(
        &self,
        patience: Duration,
        act: impl AsyncFn() -> Result<T, MaintenanceError>,
    ) -> Result<T, MaintenanceError> {
        let until = tokio::time::Instant::now() + patience;
        let may_retry =
            |error: &MaintenanceError| error.is_temporary() && tokio::time::Instant::now() < until;
        retry(|| act(), |error| if may_retry(&error) { Ok(()) } else { Err(error) }).await
    }
}

/// Parses a response, which may be an error.
pub(super) fn read<T: DeserializeOwned>(response: &[u8]) -> Result<T, MaintenanceError> {
    match serde_json::from_slice(response)? {
        Response::Ok(content) => Ok(content),
        Response::Err { error } => Err(MaintenanceError::Rejected(error)),
    }
}

/// Converts an error of the log. If a permission is missing, the new error names the required role.
pub(super) fn refused_or(error: ReadError) -> MaintenanceError {
    match error {
        ReadError::Refused(reason) => MaintenanceError::Refused { role: Role::Maintenance.name(), reason },
        error => MaintenanceError::Log(error),
    }
}

/// Formats the body of a request as JSON.
pub(super) fn json(body: &impl Serialize) -> Result<Bytes, MaintenanceError> {
    Ok(serde_json::to_vec(body)?.into())
}

/// The error for a server that does not respond, or stopped responding.
pub(super) fn silent(what: &'static str) -> MaintenanceError {
    MaintenanceError::Log(ReadError::Unavailable(Source::from(what)))
}

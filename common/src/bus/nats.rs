//! The log on NATS JetStream. The only part of Tickwell that knows async-nats.
//!
//! In reading order: [`Nats`] is the connection; `credentials` is what it is let in with; `reports` is what it says
//! by itself; `stream` holds the stream's definition against what the server has, `difference` option by option;
//! `writer` appends; `reader` follows; `lease` says who may write; `setup` makes and mends what the others need;
//! `snapshot` copies the stream out of the server and `restore` puts such a copy back; what both need is in
//! `maintenance`.

mod credentials;
mod difference;
mod lease;
mod maintenance;
mod memory;
mod opinions;
mod reader;
mod repair;
mod replicas;
mod reports;
mod restore;
mod search;
mod setup;
mod snapshot;
mod stream;
mod writer;

use std::time::Duration;

use async_nats::{
    AuthError, Client, ConnectErrorKind, ConnectOptions, HeaderMap, ServerAddr, ServerInfo,
    connection::State,
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID},
    jetstream,
};
use bytes::Bytes;

pub use credentials::{Credentials, CredentialsFault, KeyError, UserKey};
pub use difference::Difference;
pub use lease::NatsLease;
pub use maintenance::{Contents, Description, MaintenanceError, PIECE_BYTES};
pub use reader::NatsReader;
pub use repair::LeadersCopy;
pub use restore::{Copies, Found, Restore};
pub use setup::{Presence, Standing};
pub use snapshot::Snapshot;
pub use writer::NatsWriter;

use super::{BusConfig, BusConfigError, Entry, Metrics, ReadError, Source, Subjects};
use crate::{domain::Sequence, readiness::Readiness, telemetry::chain};
use replicas::ReplicaReport;
use reports::Reports;

/// How long one request to the server may take before it counts as lost.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between tries while something is not there yet.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A connection that answers nothing for two of these is dead.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Waiting for a server is news after this many tries.
const TRIES_BEFORE_NEWS: u32 = 4;

/// Reconnecting backs off to this; the client's own cap of 4 s would cost whole slots.
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Every stream option that the definition uses exists since this version; older servers ignore some of
/// them without a word.
const OLDEST_SERVER: (u64, u64) = (2, 11);

/// The command with which somebody who may makes the stream and the lease's bucket, and sets them right.
const BY_HAND: &str = "tickwell log apply";

/// Who connects. Each role has its own permissions, and its own inbox so that they can be narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Creates the stream if it may, reads newest records, publishes.
    Poller,
    /// Reads.
    Api,
    /// Makes the stream and the lease's bucket.
    Admin,
    /// Backs up the stream and restores it.
    Maintenance,
}

impl Role {
    /// Its name, as `nats/nats.conf` and the file of its key have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poller => "poller",
            Self::Api => "api",
            Self::Admin => "admin",
            Self::Maintenance => "maintenance",
        }
    }
}

/// A connection to the server and the names that records have there.
#[derive(Debug, Clone)]
pub struct Nats {
    client: Client,
    context: jetstream::Context,
    stream: String,
    subjects: Subjects,
    reports: Reports,
    replica_report: ReplicaReport,
    /// Of a stream that is made anew.
    replicas: usize,
}

/// The connection was down when something was to be sent.
#[derive(Debug, thiserror::Error)]
#[error("there is no connection to NATS")]
struct NotConnected;

/// Why there is no log on NATS.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] BusConfigError),
    /// The server does not accept us, or cannot be talked to; waiting would not help.
    #[error("bus.url: cannot connect to {url}")]
    Connect {
        /// The URL, without secrets.
        url: String,
        /// Why not.
        #[source]
        source: Source,
    },
    /// The server does not know us.
    #[error("bus.credentials_file: NATS at {url} does not know {}", told(file))]
    NotLetIn {
        /// The URL, without secrets.
        url: String,
        /// The file; empty where none is set.
        file: String,
    },
    /// The server is older than the options that the stream needs.
    #[error("the NATS server is version {found}; Tickwell needs 2.11 or newer: upgrade the server")]
    ServerTooOld {
        /// Its version.
        found: String,
    },
    /// The stream cannot be made, or is not what Tickwell needs.
    #[error("the stream {stream} cannot be used: {reason}")]
    Stream {
        /// The stream.
        stream: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The log cannot be asked.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl NatsError {
    /// Whether asking again makes sense, with nothing changed.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Log(ReadError::Unavailable(_)))
    }
}

impl Nats {
    /// Connects, and keeps the connection for the life of the value. Waits for a server that is not
    /// there yet, saying so once; cancel by dropping the future.
    pub async fn connect(config: &BusConfig, role: Role, metrics: &Metrics) -> Result<Self, NatsError> {
        let subjects = Subjects::new(&config.subject_prefix).map_err(BusConfigError::from)?;
        let url = redacted(&config.url);
        let reports = Reports::new(metrics.clone());
        let client = first_connection(config, role, &url, &reports).await?;
        let info = client.server_info();
        require_version(&info)?;
        tracing::info!(url, server = info.version, "connected to NATS");
        let context = jetstream::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        let replicas = config.replicas;
        let (stream, replica_report) = (config.stream.clone(), ReplicaReport::new(metrics.clone()));
        Ok(Self { client, context, stream, subjects, reports, replica_report, replicas })
    }

    /// The same connection, which also reports as a readiness check how many servers have all of the log.
    #[must_use]
    pub fn with_replica_check(self, readiness: &Readiness) -> Self {
        Self { replica_report: self.replica_report.with_check(readiness.check("log_replicas")), ..self }
    }

    /// Whether the connection is up right now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// A request failed: for want of a permission, as far as is known, or because nothing answers.
    fn unanswered(&self, error: impl Into<Source>) -> ReadError {
        match self.reports.refusal() {
            Some(refusal) => ReadError::Refused(refusal),
            None => ReadError::Unavailable(error.into()),
        }
    }

    /// While disconnected the client would keep a request, and send it whenever it returns.
    fn require_connection(&self) -> Result<(), ReadError> {
        if self.is_connected() { Ok(()) } else { Err(self.unanswered(NotConnected)) }
    }
}

/// The first connection is tried here and not by the client, so that a reason can be given: a server that
/// does not know us will not learn to by waiting.
async fn first_connection(
    config: &BusConfig,
    role: Role,
    url: &str,
    reports: &Reports,
) -> Result<Client, NatsError> {
    let servers: Vec<&str> = config.url.split(',').map(str::trim).collect();
    let mut tries = 0_u32;
    loop {
        let error = match options(config, role, reports.clone())?.connect(servers.as_slice()).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        use ConnectErrorKind::{Authentication, AuthorizationViolation, ServerParse, Tls};
        if error.kind() == AuthorizationViolation {
            let file = config.credentials_file.display().to_string();
            return Err(NatsError::NotLetIn { url: url.to_owned(), file });
        }
        if matches!(error.kind(), Authentication | ServerParse | Tls) {
            return Err(NatsError::Connect { url: url.to_owned(), source: error.into() });
        }
        tries = tries.saturating_add(1);
        if tries == TRIES_BEFORE_NEWS {
            let reason = chain(&error);
            tracing::warn!(url, reason, "NATS is not there yet; waiting for it");
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn options(config: &BusConfig, role: Role, reports: Reports) -> Result<ConnectOptions, NatsError> {
    let role = role.name();
    let options = authenticated(config)?
        .name(format!("tickwell {role}"))
        .custom_inbox_prefix(format!("_INBOX_{role}"))
        .connection_timeout(REQUEST_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(reconnect_pause)
        .event_callback(move |event| {
            reports.take_in(&event);
            std::future::ready(())
        });
    // The client itself passes over the user in a URL. All servers of a cluster know the same ones.
    let first: Option<ServerAddr> = config.url.split(',').find_map(|url| url.trim().parse().ok());
    let named = first.as_ref().and_then(|url| Some((url.username()?, url.password())));
    Ok(match named {
        Some((user, Some(password))) => options.user_and_password(user.to_owned(), password.to_owned()),
        Some((token, None)) => options.token(token.to_owned()),
        None => options,
    })
}

/// The credentials are read now, so that what is wrong with them is said, and again for each connection after a
/// lost one: a key that was replaced is taken up without a restart.
fn authenticated(config: &BusConfig) -> Result<ConnectOptions, BusConfigError> {
    let path = &config.credentials_file;
    if path.as_os_str().is_empty() {
        return Ok(ConnectOptions::new());
    }
    Credentials::read(path)?;
    let path = path.clone();
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let answer = Credentials::read(&path).map_err(|error| chain(&error));
        let answer = answer.and_then(|credentials| credentials.answer(&nonce));
        std::future::ready(answer.map_err(AuthError::new))
    }))
}

/// A message of the stream. The server refuses a message that carries an expected sequence which is wrong,
/// so whatever carries one came through the fence.
fn entry(sequence: u64, headers: Option<&HeaderMap>, payload: Bytes) -> Entry {
    let fenced = headers.filter(|headers| headers.get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE).is_some());
    let id = fenced.and_then(|headers| headers.get(NATS_MESSAGE_ID)).map(ToString::to_string);
    Entry { sequence: Sequence(sequence), id, payload }
}

/// The URL without user names, passwords and tokens, for messages.
pub fn redacted(url: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://[redacted]@{host}"),
        (None, Some((_, host))) => format!("[redacted]@{host}"),
        _ => url.to_owned(),
    };
    url.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

fn told(file: &str) -> String {
    match file {
        "" => "this process: name the file of its role's key".to_owned(),
        file => format!(
            "the key in {file}: is it the one of this role, and its public key in the server's keys.conf?"
        ),
    }
}

fn require_version(info: &ServerInfo) -> Result<(), NatsError> {
    let mut parts = info.version.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST_SERVER {
        return Err(NatsError::ServerTooOld { found: info.version.clone() });
    }
    Ok(())
}

/// Doubles from 50 ms, with up to half of it left to chance so that pods do not return in step.
fn reconnect_pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(5);
    let pause = Duration::from_millis(50).saturating_mul(1 << doublings).min(MAX_RECONNECT_PAUSE);
    pause / 2 + pause / 2 * u32::from(rand::random::<u8>()) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_messages() {
        assert_eq!(redacted("nats://user:pass@host:4222"), "nats://[redacted]@host:4222");
        assert_eq!(redacted("nats://a:1, nats://token@b:2"), "nats://a:1,nats://[redacted]@b:2");
        assert_eq!(redacted("user:pass@host"), "[redacted]@host");
    }

    #[test]
    fn reconnecting_never_waits_longer_than_a_second() {
        for attempts in [0, 1, 5, 1_000_000] {
            assert!(reconnect_pause(attempts) <= MAX_RECONNECT_PAUSE);
            assert!(reconnect_pause(attempts) >= Duration::from_millis(25));
        }
    }
}

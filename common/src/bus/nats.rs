//! The log on NATS JetStream. In the product, only this module uses async-nats.
//!
//! In reading order:
//!
//! - [`Nats`] is the connection. `login` authenticates it, with the key in `credentials` or with a password, and `connection_events` handles its events.
//! - `stream` ensures that the stream exists and compares it with its definition; `difference` compares single options.
//! - `writer` appends records. It uses `search` to find a pair's newest record, and `memory` and `other_servers` to detect
//!   that servers have lost records.
//! - `reader` follows the stream.
//! - `replicas` reports which servers have a complete copy.
//! - `lease` decides which poller may write.
//! - `mirror` is a copy of the log for external subscribers.
//! - `setup` and `repair` are for operators: they create and correct the stream and its copies. `room` explains what to do if
//!   a server has too little storage.
//! - `snapshot` backs the stream up and `restore` restores it; `maintenance` is shared by the two. `cut` leaves records
//!   out of a restore.

mod connection_events;
mod credentials;
mod cut;
mod difference;
mod lease;
mod login;
mod maintenance;
mod memory;
mod mirror;
mod other_servers;
mod reader;
mod repair;
mod replicas;
mod restore;
mod room;
mod search;
mod setup;
mod snapshot;
mod stream;
mod writer;

use std::time::Duration;

use async_nats::{
    AuthError, Client, ConnectError, ConnectErrorKind, ConnectOptions, HeaderMap, ServerInfo,
    connection::State,
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID},
    jetstream,
};
use bytes::Bytes;

pub use credentials::{CredentialsError, CredentialsFault, KeyError, UserKey};
pub use cut::Cut;
pub use difference::Difference;
pub use lease::NatsLease;
pub use login::{LoginError, check_login};
pub use maintenance::{Contents, Description, MaintenanceError, PIECE_BYTES};
pub use reader::NatsReader;
pub use repair::LeadersCopy;
pub use restore::{Copies, Found, Restore};
pub use setup::{Presence, StreamReport};
pub use snapshot::Snapshot;
pub use writer::NatsWriter;

use super::{BusConfig, BusConfigError, Entry, Metrics, ReadError, Source, Subjects, address::Servers};
use crate::{
    domain::Sequence,
    readiness::Readiness,
    retry::retry_until_success,
    telemetry::{TraceContext, chain},
    text::redacted,
};
use connection_events::ConnectionEvents;
use login::Login;
use replicas::ReplicaReport;

/// How long one request to the server may take before it counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between two pings. The client closes a connection after two pings in a row without a response.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How many failed attempts to open the first connection are not logged, because the server may just be starting.
const QUIET_FAILURES: u32 = 3;

/// The longest pause between attempts to reconnect. With the client's default of 4 s, whole slots could be missed.
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// The first version of nats-server that knows every option in the definition of the stream. Older servers silently
/// ignore some of the options.
const OLDEST_SERVER: (u64, u64) = (2, 11);

/// The command that creates or corrects the stream and the lease bucket.
const BY_HAND: &str = "tickwell log apply";

/// The name of NATS in traces.
const SYSTEM: &str = "nats";

/// What a connection is used for. Each role has its own permissions. It also has its own inbox prefix, so that a role
/// can be permitted to subscribe to its own inbox only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads the newest records and publishes new ones. Creates the stream if it has the permission.
    Poller,
    /// Reads the log.
    Api,
    /// Creates and corrects the stream and the lease bucket.
    Admin,
    /// Backs up the stream and restores it.
    Maintenance,
}

impl Role {
    /// The role's name, as used in `nats/nats.conf` and in the name of its key file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poller => "poller",
            Self::Api => "api",
            Self::Admin => "admin",
            Self::Maintenance => "maintenance",
        }
    }
}

/// A connection to the server, and the names of the stream and its subjects.
#[derive(Debug, Clone)]
pub struct Nats {
    client: Client,
    context: jetstream::Context,
    stream: String,
    subjects: Subjects,
    events: ConnectionEvents,
    replica_report: ReplicaReport,
    /// The number of replicas that the stream gets if this process creates it.
    replicas: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("not connected to NATS")]
struct NotConnected;

/// Why the log on NATS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] BusConfigError),
    /// The login cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// Connecting failed in a way that retrying would not fix.
    #[error("bus.url: cannot connect to {url}")]
    Connect {
        /// The URL, without secrets.
        url: String,
        /// The underlying error.
        #[source]
        source: Source,
    },
    /// The server refused our key, password or token.
    #[error("{setting}: NATS at {url} refused {refusal}")]
    NotAuthorized {
        /// The setting with the login.
        setting: &'static str,
        /// The URL, without secrets.
        url: String,
        /// What the server refused, and what to check.
        refusal: String,
    },
    /// The server is older than the options that the stream needs.
    #[error("the NATS server is version {found}; Tickwell needs 2.11 or newer: upgrade the server")]
    ServerTooOld {
        /// The server's version.
        found: String,
    },
    /// The stream cannot be created, or is not what Tickwell needs.
    #[error("the stream {stream} cannot be used: {reason}")]
    Stream {
        /// The stream's name.
        stream: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl NatsError {
    /// Whether a retry may succeed without an operator changing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Log(ReadError::Unavailable(_)))
    }
}

impl Nats {
    /// Connects, and reconnects for as long as the returned value exists. While no server can be reached, this function
    /// waits, and logs one warning. To cancel it, drop its future.
    pub async fn connect(config: &BusConfig, role: Role, metrics: &Metrics) -> Result<Self, NatsError> {
        let subjects = Subjects::new(&config.subject_prefix).map_err(BusConfigError::from)?;
        let url = redacted(&config.url);
        let Servers { urls, login } = Servers::parse(&config.url).map_err(BusConfigError::from)?;
        let login = Login::find(config, login)?;
        let events = ConnectionEvents::new(metrics.clone(), login.name());
        let client = first_connection(&urls, &login, role, &url, &events).await?;
        let info = client.server_info();
        require_version(&info)?;
        tracing::info!(event = "nats_connected", url, server = info.version, "connected to NATS");
        let context = jetstream::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        let replicas = config.replicas;
        let (stream, replica_report) = (config.stream.clone(), ReplicaReport::new(metrics.clone()));
        Ok(Self { client, context, stream, subjects, events, replica_report, replicas })
    }

    /// Adds a readiness check that reports how many servers have a complete copy of the log.
    #[must_use]
    pub fn with_replica_check(self, readiness: &Readiness) -> Self {
        Self { replica_report: self.replica_report.with_check(readiness.check("log_replicas")), ..self }
    }

    /// Whether the connection is up at the moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The error for a failed request. If the server has just denied a permission, the denial is the reason, not
    /// `error`.
    fn request_error(&self, error: impl Into<Source>) -> ReadError {
        match self.events.denial() {
            Some(refusal) => ReadError::Refused(refusal),
            None => ReadError::Unavailable(error.into()),
        }
    }

    /// Fails while there is no connection. Without this check, the client would queue a request and send it much later.
    fn require_connection(&self) -> Result<(), ReadError> {
        if self.is_connected() { Ok(()) } else { Err(self.request_error(NotConnected)) }
    }
}

/// Opens the first connection, and retries until it succeeds. The retries happen here and not in the client library, so
/// that permanent failures are reported: waiting does not help if the server rejects our key.
async fn first_connection(
    servers: &[String],
    login: &Login,
    role: Role,
    url: &str,
    events: &ConnectionEvents,
) -> Result<Client, NatsError> {
    let log = |error: &ConnectError| {
        let reason = chain(error);
        tracing::warn!(event = "nats_unreachable", url, reason, "cannot connect to NATS; retrying");
    };
    retry_until_success(QUIET_FAILURES, || try_connect(servers, login, role, url, events), log).await
}

/// Connects. An error in the inner result is permanent. An error in the outer result is temporary, so a retry makes
/// sense.
async fn try_connect(
    servers: &[String],
    login: &Login,
    role: Role,
    url: &str,
    events: &ConnectionEvents,
) -> Result<Result<Client, NatsError>, ConnectError> {
    match options(login, role, events.clone()).connect(servers).await {
        Ok(client) => Ok(Ok(client)),
        Err(error) => match error.kind() {
            ConnectErrorKind::AuthorizationViolation => Ok(Err(NatsError::NotAuthorized {
                setting: login.setting(),
                url: url.to_owned(),
                refusal: login.refusal(),
            })),
            ConnectErrorKind::Authentication | ConnectErrorKind::ServerParse | ConnectErrorKind::Tls => {
                Ok(Err(NatsError::Connect { url: url.to_owned(), source: error.into() }))
            }
            _ => Err(error),
        },
    }
}

fn options(login: &Login, role: Role, events: ConnectionEvents) -> ConnectOptions {
    let (role, login) = (role.name(), login.clone());
    let respond = move |nonce: Vec<u8>| std::future::ready(login.respond(&nonce).map_err(AuthError::new));
    ConnectOptions::with_auth_callback(respond)
        .name(format!("tickwell {role}"))
        .custom_inbox_prefix(format!("_INBOX_{role}"))
        .connection_timeout(REQUEST_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(reconnect_pause)
        .event_callback(move |event| {
            events.handle(&event);
            std::future::ready(())
        })
}

/// Converts a message of the stream. If it has the header with the expected sequence, it was published with the fence,
/// because the server does not store a message whose expected sequence is wrong. A trace context is optional, and ignored
/// if it is malformed.
fn entry(sequence: u64, headers: Option<&HeaderMap>, payload: Bytes) -> Entry {
    let fenced = headers.filter(|headers| headers.get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE).is_some());
    let id = fenced.and_then(|headers| headers.get(NATS_MESSAGE_ID)).map(ToString::to_string);
    let trace = fenced.and_then(|headers| headers.get(TraceContext::HEADER));
    let trace = trace.and_then(|value| TraceContext::parse(value.as_str()));
    Entry { sequence: Sequence(sequence), id, payload, trace }
}

fn require_version(info: &ServerInfo) -> Result<(), NatsError> {
    let mut parts = info.version.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST_SERVER {
        return Err(NatsError::ServerTooOld { found: info.version.clone() });
    }
    Ok(())
}

/// The pause before an attempt to reconnect. It starts at 50 ms and doubles up to [`MAX_RECONNECT_PAUSE`]. Up to half
/// of it is random, so that pods do not reconnect at the same time.
fn reconnect_pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(5);
    let pause = Duration::from_millis(50).saturating_mul(1 << doublings).min(MAX_RECONNECT_PAUSE);
    pause / 2 + pause / 2 * u32::from(rand::random::<u8>()) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_needs_no_trace_context_and_a_malformed_one_is_ignored() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let trace_of = |name: &str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
            headers.insert(NATS_MESSAGE_ID, "id");
            headers.insert(name, value);
            let entry = entry(1, Some(&headers), Bytes::new());
            assert_eq!(entry.id.as_deref(), Some("id"));
            entry.trace
        };
        assert_eq!(trace_of("traceparent", context).map(|trace| trace.to_string()).as_deref(), Some(context));
        assert_eq!(trace_of("traceparent", &context[1..]), None);
        assert_eq!(trace_of("traceparent", "nonsense"), None);
        assert_eq!(trace_of("Content-Type", "application/json"), None);
    }

    #[test]
    fn reconnecting_never_waits_longer_than_a_second() {
        for attempts in [0, 1, 5, 1_000_000] {
            assert!(reconnect_pause(attempts) <= MAX_RECONNECT_PAUSE);
            assert!(reconnect_pause(attempts) >= Duration::from_millis(25));
        }
    }
}

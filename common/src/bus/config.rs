//! The settings of the log: the `[bus]` table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{SubjectError, Subjects};
use crate::{domain::Span, text, text::redacted};

/// The `[bus]` table: where the log is and how to connect to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// The NATS server, such as `nats://127.0.0.1:4222`, or several, separated by commas. If empty, the log is kept in
    /// this process (`tickwell run` only).
    pub url: String,
    /// The JetStream stream that holds the records.
    pub stream: String,
    /// The prefix of the records' subjects, which are `<prefix>.<base>.<quote>`.
    pub subject_prefix: String,
    /// A file with the seed of an nkey (`SU…`), or a NATS `.creds` file. If no file is set, no
    /// credentials are sent.
    pub credentials_file: PathBuf,
    /// A standby takes over when the leader has not renewed its lease for this long.
    #[serde(with = "text")]
    pub lease: Span,
    /// How many servers of a cluster keep a copy of the log: 1, 3 or 5. This is used when the stream is created.
    /// `tickwell log apply` can raise the number for an existing stream.
    pub replicas: usize,
}

/// An invalid setting of the log.
#[derive(Debug, thiserror::Error)]
pub enum BusConfigError {
    /// `bus.url` is not a NATS URL.
    #[error(
        "bus.url: `{0}` is not a NATS URL; use one like nats://127.0.0.1:4222 (or tls://, ws://, wss://)"
    )]
    Url(String),
    /// `bus.stream` is not a stream name.
    #[error("bus.stream: `{0}` is not a valid stream name; use letters, digits, `-` and `_`")]
    Stream(String),
    /// `bus.subject_prefix` is not a subject prefix.
    #[error("bus.subject_prefix: {0}")]
    Prefix(#[from] SubjectError),
    /// `bus.lease` is too short to be renewed in time, or too long to be useful.
    #[error("bus.lease: {0} is out of range; use a duration from 1s to 10m")]
    Lease(Span),
    /// `bus.replicas` is even or larger than 5. An even number of servers tolerates no more failures than the odd
    /// number below it, and JetStream allows at most 5.
    #[error("bus.replicas: {0} is not supported; use 1, 3 or 5")]
    Replicas(usize),
}

impl BusConfig {
    /// Checks all settings but the credentials file, which [`super::nats::Credentials::check`] checks.
    pub fn check(&self) -> Result<(), BusConfigError> {
        let schemes = ["nats://", "tls://", "ws://", "wss://"];
        let given = self.url.split(',').map(str::trim).filter(|_| !self.url.is_empty());
        for url in given {
            let known = schemes.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
            if !known && (url.is_empty() || url.contains("://")) {
                return Err(BusConfigError::Url(redacted(url)));
            }
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if self.stream.is_empty() || !self.stream.bytes().all(plain) {
            return Err(BusConfigError::Stream(self.stream.clone()));
        }
        Subjects::new(&self.subject_prefix)?;
        if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&self.lease) {
            return Err(BusConfigError::Lease(self.lease));
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return Err(BusConfigError::Replicas(self.replicas));
        }
        Ok(())
    }
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            stream: "TICKS".to_owned(),
            subject_prefix: "ticks".to_owned(),
            credentials_file: PathBuf::new(),
            lease: DEFAULT_LEASE,
            replicas: 1,
        }
    }
}

/// The shortest allowed lease. A server may take most of a second to respond, so a shorter lease could expire
/// meanwhile.
pub(super) const SHORTEST_LEASE: Span = Span::from_seconds(1);

/// The longest allowed lease. If a leader dies, the feed stops for as long as the lease.
pub(super) const LONGEST_LEASE: Span = Span::from_seconds(600);

/// Half of the default interval of 10 s, so that at most one slot is missed when a standby takes over.
const DEFAULT_LEASE: Span = Span::from_seconds(5);

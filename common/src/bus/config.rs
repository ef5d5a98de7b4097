//! Settings of the log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    SubjectError, Subjects,
    nats::{Credentials, CredentialsFault},
};
use crate::{domain::Span, text};

/// `[bus]`: where the log is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// The NATS server, such as `nats://127.0.0.1:4222`; several separated by commas. Empty: the log is
    /// kept in this process (`tickwell run` only).
    pub url: String,
    /// The JetStream stream that holds the records.
    pub stream: String,
    /// Records have the subject `<prefix>.<base>.<quote>`.
    pub subject_prefix: String,
    /// A file with the seed of an nkey (`SU…`), or a NATS `.creds` file; empty: none.
    pub credentials_file: PathBuf,
    /// How long a leader may be silent before a standby takes over.
    #[serde(with = "text")]
    pub lease: Span,
    /// On how many servers of a cluster the log is kept: 1, 3 or 5. For a stream that is made anew;
    /// `tickwell log apply` raises it later.
    pub replicas: usize,
}

/// Why the settings of the log cannot work.
#[derive(Debug, thiserror::Error)]
pub enum BusConfigError {
    /// Not a NATS URL.
    #[error("bus.url: `{0}` is not a URL like nats://127.0.0.1:4222 (also tls://, ws://, wss://)")]
    Url(String),
    /// Not a stream's name.
    #[error("bus.stream: `{0}` is not a stream's name: letters, digits, - and _")]
    Stream(String),
    /// Not a subject prefix.
    #[error("bus.subject_prefix: {0}")]
    Prefix(#[from] SubjectError),
    /// Too short to be renewed in time, or too long to be of use.
    #[error("bus.lease: {0} is not between 1s and 10m")]
    Lease(Span),
    /// No majority is smaller than with one server fewer, or JetStream does not keep so many.
    #[error("bus.replicas: {0} is not 1, 3 or 5")]
    Replicas(usize),
    /// The file is not there, or may not be read.
    #[error("bus.credentials_file: cannot read {path}")]
    Credentials {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("bus.credentials_file: {path} {fault}")]
    CredentialsFault {
        /// The file.
        path: String,
        /// What is wrong with it.
        fault: CredentialsFault,
    },
}

impl BusConfig {
    /// Everything that can be found wrong without connecting.
    pub fn check(&self) -> Result<(), BusConfigError> {
        let schemes = ["nats://", "tls://", "ws://", "wss://"];
        let given = self.url.split(',').map(str::trim).filter(|_| !self.url.is_empty());
        for url in given {
            let known = schemes.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
            if !known && (url.is_empty() || url.contains("://")) {
                return Err(BusConfigError::Url(super::nats::redacted(url)));
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
        if !self.credentials_file.as_os_str().is_empty() {
            Credentials::read(&self.credentials_file)?;
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

/// A lease is renewed several times in its span, and a server may need a good part of a second to answer.
pub(super) const SHORTEST_LEASE: Span = Span::from_seconds(1);

/// A log without a leader for longer than this is no feed.
pub(super) const LONGEST_LEASE: Span = Span::from_seconds(600);

/// Half of the default interval, so that a fail-over costs at most one slot.
const DEFAULT_LEASE: Span = Span::from_seconds(5);

//! The settings of the log: the `[bus]` table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{SubjectError, Subjects};
use crate::{domain::Span, text};

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
    /// A file with the seed of an nkey (`SU…`), or a NATS `.creds` file. If empty, no credentials are sent.
    pub credentials_file: PathBuf,
    /// How long a leader may stop renewing its lease before a standby takes over.
    #[serde(with = "text")]
    pub lease: Span,
    /// How many servers of a cluster keep a copy of the log: 1, 3 or 5. Used when the stream is created;
    /// `tickwell log apply` can raise it later.
    pub replicas: usize,
}

/// An invalid setting of the log.
#[derive(Debug, thiserror::Error)]
pub enum BusConfigError {
    /// Not a NATS URL.
    #[error(
        "bus.url: `{0}` is not a NATS URL; use one like nats://127.0.0.1:4222 (or tls://, ws://, wss://)"
    )]
    Url(String),
    /// Not a stream name.
    #[error("bus.stream: `{0}` is not a valid stream name; use letters, digits, - and _")]
    Stream(String),
    /// Not a subject prefix.
    #[error("bus.subject_prefix: {0}")]
    Prefix(#[from] SubjectError),
    /// Too short to be renewed in time, or too long to be useful.
    #[error("bus.lease: {0} is out of range; use a duration from 1s to 10m")]
    Lease(Span),
    /// An even number, which does not tolerate more failures than the odd number below it, or more than JetStream allows.
    #[error("bus.replicas: {0} is not supported; use 1, 3 or 5")]
    Replicas(usize),
}

impl BusConfig {
    /// Checks everything but the credentials file, which [`super::nats::Credentials::check`] reads.
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

/// The URL or URLs without user names, passwords and tokens, for messages.
pub fn redacted(url: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://[redacted]@{host}"),
        (None, Some((_, host))) => format!("[redacted]@{host}"),
        _ => url.to_owned(),
    };
    url.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

/// A lease is renewed several times before it expires, and a server may take most of a second to respond.
pub(super) const SHORTEST_LEASE: Span = Span::from_seconds(1);

/// A feed must not stop for longer than this when its leader dies.
pub(super) const LONGEST_LEASE: Span = Span::from_seconds(600);

/// Half of the default interval, so that a failover costs at most one slot.
const DEFAULT_LEASE: Span = Span::from_seconds(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_messages() {
        assert_eq!(redacted("nats://user:pass@host:4222"), "nats://[redacted]@host:4222");
        assert_eq!(redacted("nats://a:1, nats://token@b:2"), "nats://a:1,nats://[redacted]@b:2");
        assert_eq!(redacted("user:pass@host"), "[redacted]@host");
    }
}

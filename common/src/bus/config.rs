//! Settings of the log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// A NATS `.creds` file; empty: none.
    pub credentials_file: PathBuf,
    /// How long a leader may be silent before a standby takes over.
    #[serde(with = "text")]
    pub lease: Span,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            stream: "TICKS".to_owned(),
            subject_prefix: "ticks".to_owned(),
            credentials_file: PathBuf::new(),
            lease: DEFAULT_LEASE,
        }
    }
}

/// Half of the default interval, so that a fail-over costs at most one slot.
const DEFAULT_LEASE: Span = Span::from_seconds(5);

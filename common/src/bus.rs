//! The log, as three small traits.
//!
//! [`LogWriter`] appends records, [`LogReader`] follows them, and [`lease::Lease`] decides which poller may write.
//! There are two implementations: JetStream ([`nats`], the only module of the product that uses async-nats) and the
//! in-process log, which lives in the crate of the store that it writes to. The code above these traits is the same for
//! both.
//!
//! The fence is the central guarantee: a record is appended only if the pair's newest record is still the one that the
//! writer has seen. So no slot is written twice, even if a poller crashes, is paused, or two pollers write at once.

mod address;
mod config;
pub mod lease;
mod metrics;
pub mod nats;
mod subject;

use async_trait::async_trait;
use bytes::Bytes;

pub use address::AddressError;
pub use config::{BusConfig, BusConfigError};
pub use metrics::Metrics;
pub use subject::{SubjectError, Subjects};

use crate::{
    domain::{Origin, Pair, Record, Sequence, Timestamp},
    telemetry::TraceContext,
    wire::{self, DecodeError},
};

/// The underlying error of a failed operation on the log.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// The transport of a log in the same process, as traces name it.
const IN_PROCESS: &str = "in_process";

/// Identifies one log. It is derived from the stream's creation time, or is random for the in-process log, and consists
/// of lower-case letters and digits. A cursor is only meaningful together with the identity of its log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogIdentity(String);

/// One message of the log, not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The message's position in the log.
    pub sequence: Sequence,
    /// The message id, if the message was published with the fence. `None` means that no poller wrote the message.
    pub id: Option<String>,
    /// The content of the message.
    pub payload: Bytes,
    /// The span that published the message. `None` if its writer sends no traces, or is not a poller.
    pub trace: Option<TraceContext>,
}

/// Why a message of the log is not a record.
#[derive(Debug, thiserror::Error)]
pub enum NotRecord {
    /// The message was published without the fence, or its message id is not the id of the record in it.
    #[error("no poller wrote this message")]
    Unfenced,
    /// The payload cannot be decoded.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
}

/// The newest record of a pair, and the sequence that the next append must expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The position of the newest message under the pair's subject. The next append must expect this position.
    pub sequence: Sequence,
    /// The newest record under that subject. Messages after it, if any, are not records.
    pub record: Option<Record>,
    /// The newest slot for which a tick or a gap of the pair is known to have been written. Usually, this is the slot
    /// of `record`. But if `record` is a lead record that wrongly says that the pair had no earlier records, `covered`
    /// is the newest slot of those earlier records. If the log has lost all records of the pair, `covered` may be set
    /// although `record` is `None`.
    pub covered: Option<Timestamp>,
    /// Whether the log has lost acknowledged records. If so, slots after `covered` may have had records that are lost.
    pub lost: bool,
}

/// Entries that a reader received together: zero or more, in order, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The entries.
    pub entries: Vec<Entry>,
    /// How many more messages the log already has; zero means that the reader has caught up.
    pub pending: u64,
    /// The oldest position that the log still has; older messages have expired.
    pub first: Sequence,
}

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The pair's newest record is not the expected one. After an unconfirmed append, the newest record may be the one
    /// that was appended. So read the newest record and compare.
    #[error("the log has a newer record of this pair than expected")]
    WrongLastSequence,
    /// The log sent no acknowledgement. The record may still be stored, now or later.
    #[error("the log did not acknowledge the record")]
    Unconfirmed(#[source] Source),
}

crate::words! {
    /// Why the log is unavailable at the moment. Retrying makes sense: the log may recover, or an operator may repair
    /// it.
    pub enum Trouble ("trouble") {
        /// The log does not respond.
        Silent = "silent",
        /// The server responds, but the stream does not exist.
        Gone = "gone",
        /// The stream exists, but its subjects are not exactly those of the records.
        Reconfigured = "reconfigured",
        /// The server denies permission.
        Refused = "refused",
        /// The stream is incomplete because a backup is being restored into it, or a restore was interrupted.
        Restoring = "restoring",
        /// The log's servers contradict each other, or one of them has lost records, and it is unknown which server is
        /// right.
        InDoubt = "in_doubt",
    }
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server did not respond, or there is no connection.
    #[error("the log does not respond")]
    Unavailable(#[source] Source),
    /// The stream does not exist.
    #[error(
        "there is no stream {stream}: run `{by_hand}` to create it (not needed if a \
         poller has the permission to create it)"
    )]
    Gone {
        /// The stream's name.
        stream: String,
        /// The command that creates it.
        by_hand: String,
    },
    /// The subjects of the stream are not exactly those of the records.
    #[error(
        "the stream {stream} has the subjects {found}, but it must have {wanted} and no others: run `{by_hand}`"
    )]
    Reconfigured {
        /// The stream's name.
        stream: String,
        /// The subjects that it has.
        found: String,
        /// The subjects of the records.
        wanted: String,
        /// The command that corrects it.
        by_hand: String,
    },
    /// The server denies permission.
    #[error(
        "NATS denied a request ({0}): check this process's login (bus.credentials_file, or bus.user and bus.password_file), \
         and the permissions of its role in the server's nats.conf"
    )]
    Refused(String),
    /// A backup is being restored into the stream, or a restore was interrupted.
    #[error(
        "the stream {stream} does not have all of its records yet: wait until `tickwell log restore` is complete, or \
         repeat that command if it was interrupted"
    )]
    Restoring {
        /// The stream's name.
        stream: String,
    },
    /// The stream's leader contradicts what this process knows about the log, and another server may still have the
    /// missing records.
    #[error("it is uncertain whether the log is complete: {0}")]
    InDoubt(String),
    /// The log was replaced by another one, or has lost its newest records.
    #[error("the log was replaced or has lost records: {0}")]
    Replaced(String),
    /// The in-process log was closed because the poller that writes to it ended.
    #[error("the in-process log was closed because the poller that writes to it ended")]
    Closed,
    /// There are too many foreign messages at the end of the log to find the newest record.
    #[error(
        "the last {messages} messages of the subject {subject} are not records: find out which program publishes them and \
         stop it, or use another bus.stream and bus.subject_prefix"
    )]
    Buried {
        /// The subject whose newest record was searched for.
        subject: String,
        /// How many messages were examined.
        messages: u64,
    },
    /// Another version of Tickwell has written to the log.
    #[error("the log contains records of another version")]
    OtherVersion(#[source] DecodeError),
}

/// Appends records.
#[async_trait]
pub trait LogWriter: Send + Sync {
    /// What transports the records, for traces.
    fn system(&self) -> &'static str {
        IN_PROCESS
    }

    /// Returns the time on the clock of the log's server, or `None` if the server has no clock of its own or does not
    /// respond.
    async fn server_time(&self) -> Option<Timestamp> {
        None
    }

    /// Returns the pair's newest record according to the log's leader, checked against everything that this process
    /// knows about the log.
    ///
    /// # Errors
    ///
    /// Fails with [`ReadError::InDoubt`] if the leader's response contradicts what this process knows, or if it cannot
    /// be proven yet that the pair has no record. Retrying makes sense.
    async fn newest(&self, pair: Pair) -> Result<Newest, ReadError>;

    /// Returns where the prices of the log come from, or `None` if the log is empty.
    async fn origin(&self) -> Result<Option<Origin>, ReadError>;

    /// Appends a record if the pair's newest record has the sequence `expected` (zero if the pair has no record).
    ///
    /// Once this returns the record's sequence, the record is stored durably.
    async fn append(&self, record: &Record, expected: Sequence) -> Result<Sequence, AppendError>;

    /// How many records [`append_all`](Self::append_all) stores at once.
    fn most_at_once(&self) -> usize {
        1
    }

    /// Appends consecutive records of one pair, each like [`append`](Self::append), and returns the sequence of the
    /// last one. There must be at least one record.
    async fn append_all(&self, records: &[Record], expected: Sequence) -> Result<Sequence, Partly> {
        let mut last = expected;
        for (stored, record) in records.iter().enumerate() {
            last = self.append(record, last).await.map_err(|error| Partly { stored, last, error })?;
        }
        Ok(last)
    }
}

/// Only some of several records are known to be stored.
#[derive(Debug)]
pub struct Partly {
    /// How many of the first records are stored.
    pub stored: usize,
    /// The sequence of the last one that is stored, or the expected sequence if none is.
    pub last: Sequence,
    /// Why the next one was not stored.
    pub error: AppendError,
}

/// Reads the log from the position at which the reader was opened, and then waits for new messages.
#[async_trait]
pub trait LogReader: Send {
    /// What transports the records, for traces.
    fn system(&self) -> &'static str {
        IN_PROCESS
    }

    /// Waits for the next entries. The first batch may be empty, if the reader starts at the end of the log. It is safe
    /// to cancel this future. After an error with a [`Trouble`], call this again: the reader continues at the same
    /// position.
    async fn next(&mut self) -> Result<Batch, ReadError>;

    /// Reports that the reader has stored everything up to `sequence` durably.
    async fn stored(&mut self, sequence: Sequence);

    /// Returns the slot of the log's newest record, if that can be read. A pod that is far behind uses this slot to
    /// find out which quotes will be past their retention once the pod has caught up, and does not store them.
    async fn newest_slot(&mut self) -> Option<Timestamp>;

    /// Reports that nothing after `sequence` is stored. The reader continues with the first message after that position
    /// that the log still has.
    async fn rewind(&mut self, sequence: Sequence);

    /// Checks with the log's leader that the log still has this record at this position, or that the record has
    /// expired.
    ///
    /// # Errors
    ///
    /// Fails with [`ReadError::Replaced`] if the log has another record at this position, or none although it did not
    /// expire. Then the log was reset to an older state.
    async fn require(&mut self, sequence: Sequence, record: &Record) -> Result<(), ReadError>;
}

impl Newest {
    /// The newest record of a log that has not lost any records.
    pub fn new(sequence: Sequence, record: Option<Record>) -> Self {
        let covered = record.as_ref().and_then(Record::covers_up_to);
        Self { sequence, record, covered, lost: false }
    }
}

impl ReadError {
    /// The kind of trouble, if retrying makes sense.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Unavailable(_) => Some(Trouble::Silent),
            Self::Gone { .. } => Some(Trouble::Gone),
            Self::Reconfigured { .. } => Some(Trouble::Reconfigured),
            Self::Refused(_) => Some(Trouble::Refused),
            Self::Restoring { .. } => Some(Trouble::Restoring),
            Self::InDoubt(_) => Some(Trouble::InDoubt),
            Self::Replaced(_) | Self::Closed | Self::Buried { .. } | Self::OtherVersion(_) => None,
        }
    }
}

impl Entry {
    /// Decodes the record in the message.
    ///
    /// Readers and writers of the log both use this function, so that they agree on which messages are records. A
    /// message that was published without the fence is not a record, because it could repeat or invent a slot.
    pub fn record(&self) -> Result<Record, NotRecord> {
        let id = self.id.as_deref().ok_or(NotRecord::Unfenced)?;
        let record = wire::decode(&self.payload)?;
        if record.has_id(id) { Ok(record) } else { Err(NotRecord::Unfenced) }
    }
}

impl LogIdentity {
    /// Parses an identity, as saved in a store: 1 to 40 lower-case letters and digits.
    pub fn new(text: &str) -> Option<Self> {
        let valid = (1..=40).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        valid.then(|| Self(text.to_owned()))
    }

    /// Returns the identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LogIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

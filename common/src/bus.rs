//! The log, as three small traits.
//!
//! [`LogWriter`] appends records under a fence, [`LogReader`] follows them, and [`lease::Lease`] says who may
//! write. There are two logs: JetStream ([`nats`], the only place that knows async-nats) and the in-process
//! log, which lives with the store it writes to. Everything above these traits is one code path.
//!
//! The fence is the heart of it: a record is appended only if the pair's newest record is still the one
//! that the writer has seen. Whatever dies, pauses or is started twice, no slot is written twice.

mod config;
pub mod lease;
mod metrics;
pub mod nats;
mod subject;

use async_trait::async_trait;
use bytes::Bytes;

pub use config::{BusConfig, BusConfigError};
pub use metrics::Metrics;
pub use subject::{SubjectError, Subjects};

use crate::{
    domain::{Origin, Pair, Record, Sequence, Timestamp},
    wire::{self, DecodeError},
};

/// An error from beneath the log, kept for the message's chain.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What makes a log this log and no other: the stream's creation time, or a random id for the in-process
/// log. Lower-case letters and digits. A cursor means nothing without it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogIdentity(String);

/// One message of the log, as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub sequence: Sequence,
    /// The id under which it came through the fence; missing where it did not, and so no poller wrote it.
    pub id: Option<String>,
    /// Its bytes.
    pub payload: Bytes,
}

/// Why a message of the log is not one of its records.
#[derive(Debug, thiserror::Error)]
pub enum NotRecord {
    /// It did not come through the fence, or under another id than its own.
    #[error("no poller wrote it")]
    Unfenced,
    /// Its bytes cannot be read.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
}

/// The newest record of a pair, and what an append after it must expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The position of the newest message under the pair's subject: the fence of the next append.
    pub sequence: Sequence,
    /// The newest record there. Messages after it, if any, cannot be read: they are not ours.
    pub record: Option<Record>,
    /// The newest slot of the pair that has a record, as far as is known. Usually the slot that `record` covers. It is
    /// older where that record began the chain from nothing although there were records before it, and it is set
    /// without a `record` where the log has lost them all.
    pub covered: Option<Timestamp>,
    /// Whether acknowledged records of the log were lost, so that slots after `covered` had records which are gone.
    pub lost: bool,
}

/// What a reader got at once: zero or more entries, in order, without repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The entries.
    pub entries: Vec<Entry>,
    /// How many more the log holds already; zero means that the reader has caught up.
    pub pending: u64,
    /// The oldest position that the log still held afterwards; older messages were dropped because of their age.
    pub first: Sequence,
}

/// Why a record was not appended, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The pair's newest record is not the expected one. After an append of unknown fate this may mean
    /// that the record itself is there already: read it and compare.
    #[error("the log has a newer record of this pair than expected")]
    WrongLastSequence,
    /// No acknowledgement came. The record may still be stored, now or later.
    #[error("the log did not acknowledge the record")]
    Unconfirmed(#[source] Source),
}

crate::words! {
    /// Why a log cannot be had for now. Asking again makes sense: it may come back, or somebody may put it right.
    pub enum Trouble ("trouble") {
        /// It does not answer.
        Silent = "silent",
        /// The server answers, and says that there is no such stream.
        Gone = "gone",
        /// The stream is there, and is set up so that the records are not in it, or not alone.
        Reconfigured = "reconfigured",
        /// The server does not let us.
        Refused = "refused",
        /// A backup is being restored into it, or a restore was cut off: it does not have all of its records.
        Restoring = "restoring",
        /// Its servers contradict each other, or one of them has lost records, and it is not settled which is right.
        InDoubt = "in_doubt",
    }
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It did not answer.
    #[error("the log does not answer")]
    Unavailable(#[source] Source),
    /// There is no such stream.
    #[error("there is no stream {stream}: a poller creates it if it may, or `{by_hand}`")]
    Gone {
        /// Its name.
        stream: String,
        /// The command that creates it.
        by_hand: String,
    },
    /// The stream does not take the records, or takes others too.
    #[error("the stream {stream} holds the subjects {found}, not {wanted} alone: `{by_hand}`")]
    Reconfigured {
        /// Its name.
        stream: String,
        /// Its subjects.
        found: String,
        /// The ones of the records.
        wanted: String,
        /// The command that puts it right.
        by_hand: String,
    },
    /// The server does not let us.
    #[error("NATS refuses this process ({0}): look at its permissions and credentials")]
    Refused(String),
    /// A backup is being restored into the stream, or a restore was cut off.
    #[error(
        "the stream {stream} does not have all of its records: wait until `tickwell log restore` is done, or repeat it \
         if it was cut off"
    )]
    Restoring {
        /// Its name.
        stream: String,
    },
    /// What the leading server says contradicts what is known of the log, and other servers may still know better.
    #[error("the servers of the log contradict what is known of it: {0}")]
    InDoubt(String),
    /// Another log has taken its place, or it has lost its newest records.
    #[error("the log is not the one this reader began with: {0}")]
    Replaced(String),
    /// It was closed for good, as the in-process log is when its writer ends.
    #[error("the log was closed")]
    Closed,
    /// So many foreign messages lie at its end that the newest record was not found.
    #[error(
        "the last {messages} messages of the log hold no record of {subject}: find out who publishes there, \
         or set another bus.stream and bus.subject_prefix"
    )]
    Buried {
        /// Whose newest record was looked for.
        subject: String,
        /// How many were looked through.
        messages: u64,
    },
    /// A newer Tickwell has written to it.
    #[error("the log cannot be continued")]
    TooNew(#[source] DecodeError),
}

/// Appends records.
#[async_trait]
pub trait LogWriter: Send + Sync {
    /// The pair's newest record, from the log's own leader, checked against everything this process knows of the log.
    ///
    /// Where the two contradict each other, or where the absence of any record cannot be proven yet, this fails with
    /// [`ReadError::InDoubt`]; asking again makes sense.
    async fn newest(&self, pair: Pair) -> Result<Newest, ReadError>;

    /// Where the prices of the whole log come from; nothing while it is empty.
    async fn origin(&self) -> Result<Option<Origin>, ReadError>;

    /// Appends a record if the pair's newest record has the sequence `expected` (zero: there is none).
    ///
    /// Once this returns the record's sequence, the record is stored for good.
    async fn append(&self, record: &Record, expected: Sequence) -> Result<Sequence, AppendError>;
}

/// Follows the log from where it was opened.
#[async_trait]
pub trait LogReader: Send {
    /// The next entries; waits until there are some. The first answer may be empty, where the reader
    /// begins at the log's end. Safe to cancel: nothing is lost. After a [`Trouble`] it may be called again,
    /// and goes on where it was.
    async fn next(&mut self) -> Result<Batch, ReadError>;

    /// Says that everything up to `sequence` is stored by the reader and will survive it.
    async fn stored(&mut self, sequence: Sequence);

    /// The newest slot that the log covers now, where that is known to whoever is behind.
    async fn newest_slot(&mut self) -> Option<Timestamp>;

    /// Says that nothing after `sequence` is stored: the reader goes on after it, where the log still can.
    async fn rewind(&mut self, sequence: Sequence);

    /// Fails with [`ReadError::Replaced`] unless the log still holds this record at its position, or has dropped it
    /// because of its age. The log's leader decides: a log that was set back has another record there, or none.
    async fn require(&mut self, sequence: Sequence, record: &Record) -> Result<(), ReadError>;
}

impl Newest {
    /// What is newest where nothing was lost.
    pub fn new(sequence: Sequence, record: Option<Record>) -> Self {
        let covered = record.as_ref().and_then(Record::covers_up_to);
        Self { sequence, record, covered, lost: false }
    }
}

impl ReadError {
    /// What is the matter, where asking again makes sense.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Unavailable(_) => Some(Trouble::Silent),
            Self::Gone { .. } => Some(Trouble::Gone),
            Self::Reconfigured { .. } => Some(Trouble::Reconfigured),
            Self::Refused(_) => Some(Trouble::Refused),
            Self::Restoring { .. } => Some(Trouble::Restoring),
            Self::InDoubt(_) => Some(Trouble::InDoubt),
            Self::Replaced(_) | Self::Closed | Self::Buried { .. } | Self::TooNew(_) => None,
        }
    }
}

impl Entry {
    /// The record in the message.
    ///
    /// Readers and writers of the log ask this one question, so that all agree on what is part of it: a
    /// record that somebody merely published could repeat a slot, or invent one.
    pub fn record(&self) -> Result<Record, NotRecord> {
        let id = self.id.as_deref().ok_or(NotRecord::Unfenced)?;
        let record = wire::decode(&self.payload)?;
        if record.id() == id { Ok(record) } else { Err(NotRecord::Unfenced) }
    }
}

impl LogIdentity {
    /// An identity from its text, as kept in a store: 1 to 40 lower-case letters and digits.
    pub fn new(text: &str) -> Option<Self> {
        let valid = (1..=40).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        valid.then(|| Self(text.to_owned()))
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LogIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

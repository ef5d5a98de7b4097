//! What a position of the log holds.

use common::domain::Record;

/// What a position of the log holds.
#[derive(Debug)]
pub(super) enum Found {
    /// A record.
    Record(Box<Record>),
    /// A record without its quotes, because they are older than `store.retain_quotes`. The text says which record.
    Expired(String),
    /// No record. The text is the reason.
    Absent(String),
}

//! What a position of the log holds.

use common::domain::Record;

/// What a position of the log holds.
#[derive(Debug)]
pub(super) enum Found {
    /// A record.
    Record(Box<Record>),
    /// This record, but without its quotes: they are past `store.retain_quotes`.
    Expired(String),
    /// No record, for this reason.
    Absent(String),
}

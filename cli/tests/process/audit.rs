//! Checks what must be true of every log, whatever has happened to its writers and readers. The grinder runs the same
//! audit; here, a violation fails the test immediately.

pub(crate) use testkit::audit::Findings;

use crate::records::Record;

/// Checks that every elapsed slot is covered by exactly one tick or gap, in order.
pub(crate) fn audit(records: &[Record]) -> Findings {
    testkit::audit::audit(records).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Checks that every record of an earlier reading still exists, byte for byte.
pub(crate) fn nothing_lost(before: &[Record], after: &[Record]) {
    assert!(!before.is_empty());
    testkit::audit::nothing_lost(before, after).unwrap_or_else(|error| panic!("{error:#}"));
}

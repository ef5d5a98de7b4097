//! What must be true of every log, whatever has happened to its writers and readers: the audit that the
//! grinder makes too, for tests that stop at the first finding.

pub(crate) use testkit::audit::Findings;

use crate::records::Record;

/// Holds a whole log against the first invariant.
pub(crate) fn audit(records: &[Record]) -> Findings {
    testkit::audit::audit(records).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Checks that every record of an earlier reading is still there, byte for byte.
pub(crate) fn nothing_lost(before: &[Record], after: &[Record]) {
    assert!(!before.is_empty());
    testkit::audit::nothing_lost(before, after).unwrap_or_else(|error| panic!("{error:#}"));
}

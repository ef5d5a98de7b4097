//! Bringing a store of an older format up to date, where it is the only copy of its history.
//!
//! A copy of a NATS log is built anew instead: that is one way less for it to become wrong.

use common::domain::Body;

use super::{Store, StoreError, Stored, key, open};

/// How many rows are written at once: enough to be quick, few enough to fit into memory with any history.
const BATCH_ROWS: usize = 10_000;

/// Makes of format 1 format 2, which has a row for every gap.
///
/// The new format's number is written last, once everything before it is on disk. Whatever ends this half
/// way leaves a store of format 1 that is as good as before, and is brought up to date the next time.
pub(super) fn add_gap_rows(store: &Store) -> Result<(), StoreError> {
    // Rows of a try that did not end may be those of records that were removed since.
    let left_over = store.database.scan_prefix(key::GAP_PREFIX).keys();
    apply(store, left_over.map(|name| Ok((name?.to_vec(), None))))?;
    let rows = store.records().filter_map(|stored| match stored {
        Ok(Stored { sequence, record }) => match &record.body {
            Body::Gap(gap) => {
                let value = key::gap_value(sequence, record.epoch, gap);
                Some(Ok((key::gap(record.pair, gap.slot.start()), Some(value))))
            }
            Body::Tick(_) | Body::Lead(_) => None,
        },
        Err(error) => Some(Err(error)),
    });
    apply(store, rows)?;
    store.database.flush()?;
    store.database.insert(key::FORMAT, open::FORMAT)?;
    store.database.flush()?;
    Ok(())
}

/// A row to write, or to remove where it has no value.
type Row = (Vec<u8>, Option<Vec<u8>>);

fn apply(store: &Store, rows: impl Iterator<Item = Result<Row, StoreError>>) -> Result<(), StoreError> {
    let (mut batch, mut waiting) = (sled::Batch::default(), 0);
    for row in rows {
        match row? {
            (name, Some(value)) => batch.insert(name, value),
            (name, None) => batch.remove(name),
        }
        waiting += 1;
        if waiting == BATCH_ROWS {
            store.database.apply_batch(std::mem::take(&mut batch))?;
            waiting = 0;
        }
    }
    Ok(store.database.apply_batch(batch)?)
}

#[cfg(test)]
mod tests;

//! Bringing a store of an older format up to date, where it is the only copy of its history.
//!
//! A copy of a NATS log is built anew instead: that is one way less for it to become wrong.

use super::{Store, StoreError, Stored, key, open, packs::Packing};

/// How many records are written at once: enough to be quick, few enough to fit into memory with any history.
const BATCH_RECORDS: usize = 1_000;

/// How many records pass between two lines about progress.
const TOLD_EVERY: usize = 500_000;

/// Makes everything anew that follows from the whole records. Older formats keep those for as long as
/// ticks, so nothing is lost.
///
/// The new format's number is written last, once everything before it is on disk. Whatever ends this half
/// way leaves a store of the old format whose records are all there, and it is brought up to date the next
/// time.
pub(super) fn rebuild(store: &Store) -> Result<(), StoreError> {
    tracing::info!(path = %store.path.display(), "bringing the store up to date; this is done once");
    for prefix in key::DERIVED_PREFIXES {
        clear(store, prefix)?;
    }
    pack(store)?;
    let mut records = store.records();
    let mut done = 0;
    loop {
        let batch = records.by_ref().take(BATCH_RECORDS).collect::<Result<Vec<Stored>, _>>()?;
        if batch.is_empty() {
            break;
        }
        store.derive(&batch)?;
        done += batch.len();
        if done % TOLD_EVERY < BATCH_RECORDS {
            tracing::info!(records = done, "still bringing the store up to date");
        }
    }
    store.database.flush()?;
    store.database.put(key::FORMAT, open::FORMAT)?;
    store.database.flush()?;
    tracing::info!(records = done, "the store is up to date");
    Ok(())
}

/// Packs whole records, of which each has a row in older formats.
fn pack(store: &Store) -> Result<(), StoreError> {
    let mut packing = Packing::default();
    let mut rows = store.database.scan_prefix(key::RECORD_PREFIX).peekable();
    while rows.peek().is_some() {
        let mut batch = sled::Batch::default();
        for row in rows.by_ref().take(BATCH_RECORDS) {
            let (name, bytes) = row?;
            let sequence = key::read_record_sequence(&name).ok_or(StoreError::Damaged("position"))?;
            packing.push(sequence, bytes.to_vec(), true, &mut batch)?;
        }
        store.database.apply(batch)?;
    }
    Ok(())
}

fn clear(store: &Store, prefix: &[u8]) -> Result<(), StoreError> {
    loop {
        let mut batch = sled::Batch::default();
        let mut rows = 0;
        for row in store.database.scan_prefix(prefix).take(BATCH_RECORDS) {
            batch.remove(row?.0);
            rows += 1;
        }
        if rows == 0 {
            return Ok(());
        }
        store.database.apply(batch)?;
    }
}

impl Store {
    fn derive(&self, records: &[Stored]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        self.with_writer(|writer| {
            writer.derive(self, records, &[], &mut batch)?;
            self.database.apply(batch)
        })
    }
}

#[cfg(test)]
mod tests;

//! Reads the next records of the log while the current ones are being stored.

use std::collections::VecDeque;

use async_trait::async_trait;
use common::{
    bus::{Batch, LogReader, ReadError},
    domain::{Record, Sequence, Timestamp},
};

/// The most records that are read ahead. They are stored together, which takes less time the more there are: each commit
/// waits for the disk and writes the rows again that every commit changes. More than this gains little, and a commit
/// delays requests that read the store.
const MAX_ENTRIES: usize = 4_000;

/// Reading ahead also ends at this size, which is that of usual records. It bounds the memory.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A reader that can have read ahead. Without that, the log's server would have nothing to do while a pod that catches up
/// stores a batch, and the pod nothing while the server sends the next one.
pub(super) struct ReadAhead {
    reader: Box<dyn LogReader>,
    ahead: VecDeque<Ahead>,
}

/// What was read, and the size of its messages.
struct Ahead {
    read: Result<Batch, ReadError>,
    bytes: usize,
}

impl ReadAhead {
    pub(super) fn new(reader: Box<dyn LogReader>) -> Self {
        Self { reader, ahead: VecDeque::new() }
    }

    /// Waits for `work`, and reads ahead meanwhile.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                next = self.reader.next(), if self.has_room() => self.add(next),
            }
        }
    }

    fn has_room(&self) -> bool {
        // After an error, and at the end of the log, the caller decides how to continue.
        let continues = |newest: &Ahead| newest.read.as_ref().is_ok_and(|batch| batch.pending > 0);
        let entries = |ahead: &Ahead| ahead.read.as_ref().map_or(0, |batch| batch.entries.len());
        self.ahead.back().is_none_or(continues)
            && self.ahead.iter().map(entries).sum::<usize>() < MAX_ENTRIES
            && self.ahead.iter().map(|ahead| ahead.bytes).sum::<usize>() < MAX_BYTES
    }

    /// Adds what was read to what has been read ahead, so that it is stored together if possible.
    fn add(&mut self, read: Result<Batch, ReadError>) {
        let size = |batch: &Batch| batch.entries.iter().map(|entry| entry.payload.len()).sum();
        let bytes = read.as_ref().map_or(0, size);
        match (self.ahead.back_mut(), read) {
            // Why records are missing depends on the oldest one that the log has, so that must be the same.
            (Some(Ahead { read: Ok(batch), bytes: before }), Ok(next)) if batch.first == next.first => {
                batch.entries.extend(next.entries);
                batch.pending = next.pending;
                *before += bytes;
            }
            (_, read) => self.ahead.push_back(Ahead { read, bytes }),
        }
    }
}

#[async_trait]
impl LogReader for ReadAhead {
    fn system(&self) -> &'static str {
        self.reader.system()
    }

    async fn next(&mut self) -> Result<Batch, ReadError> {
        match self.ahead.pop_front() {
            Some(Ahead { read, .. }) => read,
            None => self.reader.next().await,
        }
    }

    async fn stored(&mut self, sequence: Sequence) {
        self.reader.stored(sequence).await;
    }

    async fn newest_slot(&mut self) -> Option<Timestamp> {
        self.reader.newest_slot().await
    }

    async fn rewind(&mut self, sequence: Sequence) {
        self.ahead.clear();
        self.reader.rewind(sequence).await;
    }

    async fn require(&mut self, sequence: Sequence, record: &Record) -> Result<(), ReadError> {
        self.reader.require(sequence, record).await
    }
}

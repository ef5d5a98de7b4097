//! Reads the next records of the log while the current ones are being stored.

use std::collections::VecDeque;

use async_trait::async_trait;
use common::{
    bus::{Batch, LogReader, ReadError},
    domain::{Record, Sequence, Timestamp},
};

/// Once this many records have been read ahead, no more are read. They are stored together, which takes less time the
/// more there are: each commit waits for the disk, and writes some rows again. More than this gains little, and a long
/// commit delays requests that read the store.
const MAX_ENTRIES: usize = 2_000;

/// Once the records have this many bytes, no more are read either. Usual records have half of that. One more batch may
/// follow, so the memory is bounded by this and a batch.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A reader that can have read ahead. Without that, the log's server would have nothing to do while a pod that catches
/// up stores a batch, and the pod nothing while the server sends the next one.
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::bus::{Entry, Trouble};

    use super::*;

    /// Returns these batches and errors, and then waits.
    struct Scripted(VecDeque<Result<Batch, ReadError>>);

    #[async_trait]
    impl LogReader for Scripted {
        async fn next(&mut self) -> Result<Batch, ReadError> {
            match self.0.pop_front() {
                Some(next) => next,
                None => std::future::pending().await,
            }
        }

        async fn stored(&mut self, _sequence: Sequence) {}

        async fn newest_slot(&mut self) -> Option<Timestamp> {
            None
        }

        async fn rewind(&mut self, _sequence: Sequence) {}

        async fn require(&mut self, _sequence: Sequence, _record: &Record) -> Result<(), ReadError> {
            Ok(())
        }
    }

    /// A batch of messages of this size, and what is pending after it.
    fn batch(sequences: std::ops::RangeInclusive<u64>, size: usize, pending: u64, first: u64) -> Batch {
        let entry = |sequence| Entry {
            sequence: Sequence(sequence),
            id: None,
            payload: Bytes::from(vec![0; size]),
            trace: None,
        };
        Batch { entries: sequences.map(entry).collect(), pending, first: Sequence(first) }
    }

    /// What is read ahead, until all of it was read or there is no room: the batches, and how many are left.
    async fn ahead(script: Vec<Result<Batch, ReadError>>) -> (Vec<Result<Batch, ReadError>>, usize) {
        let all = script.len();
        let mut reader = ReadAhead::new(Box::new(Scripted(script.into())));
        // Each turn of the loop reads at most one batch.
        let mut turns = 0;
        let work = std::future::poll_fn(|context| {
            turns += 1;
            context.waker().wake_by_ref();
            if turns > all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        reader.during(work).await;
        let mut read = Vec::new();
        while !reader.ahead.is_empty() {
            read.push(reader.next().await);
        }
        let mut left = 0;
        while next_at_once(&mut reader).is_some() {
            left += 1;
        }
        (read, left)
    }

    /// What the reader returns without waiting.
    fn next_at_once(reader: &mut ReadAhead) -> Option<Result<Batch, ReadError>> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(reader.next()).poll(&mut context) {
            std::task::Poll::Ready(next) => Some(next),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn batches_are_joined_while_the_log_begins_at_the_same_record() {
        let script = vec![
            Ok(batch(1..=2, 1, 9, 1)),
            Ok(batch(3..=3, 1, 8, 1)),
            Ok(batch(6..=7, 1, 4, 5)),
            Ok(batch(8..=11, 1, 0, 5)),
        ];
        let (read, left) = ahead(script).await;
        let read: Vec<Batch> = read.into_iter().map(Result::unwrap).collect();
        assert_eq!(
            read,
            [
                batch(1..=3, 1, 8, 1),
                Batch { entries: batch(6..=11, 1, 0, 5).entries, ..batch(6..=7, 1, 0, 5) }
            ]
        );
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn reading_ahead_ends_at_an_error_and_at_the_end_of_the_log() {
        let silent = || Err(ReadError::Unavailable("silent".into()));
        let (read, left) = ahead(vec![Ok(batch(1..=2, 1, 9, 1)), silent(), Ok(batch(3..=3, 1, 8, 1))]).await;
        assert_eq!(read[0].as_ref().unwrap().entries.len(), 2);
        assert_eq!(read[1].as_ref().unwrap_err().trouble(), Some(Trouble::Silent));
        assert_eq!((read.len(), left), (2, 1));
        let (read, left) = ahead(vec![Ok(batch(1..=2, 1, 0, 1)), Ok(batch(3..=3, 1, 0, 1))]).await;
        assert_eq!((read.len(), left), (1, 1));
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_bounded() {
        for (entries, size) in [(500, 1), (10, MAX_BYTES.div_ceil(40))] {
            let script =
                (0..8).map(|number| Ok(batch(number * entries + 1..=(number + 1) * entries, size, 9, 1)));
            let (read, left) = ahead(script.collect()).await;
            assert_eq!((read.len(), left), (1, 4), "{entries} of {size} bytes");
        }
    }
}

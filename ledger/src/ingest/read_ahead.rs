//! Reads the next batch of the log while the current one is being stored.

use async_trait::async_trait;
use common::{
    bus::{Batch, LogReader, ReadError},
    domain::{Record, Sequence, Timestamp},
};

/// A reader that can have read one batch ahead. Without that, the log's server would have nothing to do while a pod that
/// catches up stores a batch, and the pod nothing while the server sends the next one.
pub(super) struct ReadAhead {
    reader: Box<dyn LogReader>,
    ahead: Option<Result<Batch, ReadError>>,
}

impl ReadAhead {
    pub(super) fn new(reader: Box<dyn LogReader>) -> Self {
        Self { reader, ahead: None }
    }

    /// Waits for `work`, and reads the next batch meanwhile.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                next = self.reader.next(), if self.ahead.is_none() => self.ahead = Some(next),
            }
        }
    }
}

#[async_trait]
impl LogReader for ReadAhead {
    fn system(&self) -> &'static str {
        self.reader.system()
    }

    async fn next(&mut self) -> Result<Batch, ReadError> {
        match self.ahead.take() {
            Some(next) => next,
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
        self.ahead = None;
        self.reader.rewind(sequence).await;
    }

    async fn require(&mut self, sequence: Sequence, record: &Record) -> Result<(), ReadError> {
        self.reader.require(sequence, record).await
    }
}

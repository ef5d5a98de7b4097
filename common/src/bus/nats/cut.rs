//! Leaves records out of a log that is being restored: those of slots after a given time.
//!
//! The stream denies deletes, so that nobody deletes records of a log that is in use. While a backup is being restored,
//! nobody uses the stream. So a restore that leaves records out creates the stream without this denial, deletes the
//! records, and denies deletes again before others use the stream. The records that stay keep their positions.

use async_nats::jetstream::stream::Stream;
use futures::TryStreamExt;

use super::{
    Nats,
    maintenance::{MaintenanceError, refused_or},
    search::{MAX_LOOK_BACK, Search, SearchError, readable},
};
use crate::{
    bus::{ReadError, Source},
    domain::{Pair, Record, Sequence, Timestamp},
};

/// What was left out of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The pair.
    pub pair: Pair,
    /// The position of the first record that was left out.
    pub from: Sequence,
    /// How many messages were left out.
    pub messages: u64,
}

impl Nats {
    /// Deletes, from a stream that allows it, each pair's records from the first one on that covers a slot after `until`.
    /// The records of a pair are in the order of their slots, so these are the pair's last ones. A lead record after them
    /// names the slot before it, so it is deleted too.
    pub(super) async fn cut(&self, until: Timestamp) -> Result<Vec<Cut>, MaintenanceError> {
        let stream = self.context.get_stream(&self.stream).await;
        let stream = stream.map_err(|error| refused_or(self.not_found(&self.stream, error)))?;
        let state = &stream.cached_info().state;
        let (first, end) = (state.first_sequence, state.last_sequence.saturating_add(1));
        let subjects = stream.info_with_subjects(self.subjects.all()).await;
        let subjects = subjects.map_err(|error| self.failed(error))?;
        let subjects: Vec<(String, usize)> =
            subjects.try_collect().await.map_err(|error| self.failed(error))?;
        let mut cuts = Vec::new();
        for (subject, _) in &subjects {
            let search = Search { stream: &stream, subject, first };
            if let Some((from, pair)) = self.first_after(&search, until, end).await? {
                let messages = self.delete_from(&stream, &search, from).await?;
                cuts.push(Cut { pair, from: Sequence(from), messages });
            }
        }
        Ok(cuts)
    }

    /// Finds the first record that covers a slot after `until`, by bisection.
    async fn first_after(
        &self,
        search: &Search<'_>,
        until: Timestamp,
        end: u64,
    ) -> Result<Option<(u64, Pair)>, MaintenanceError> {
        let (mut low, mut high, mut first) = (search.first, end, None);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.record_from(search, middle).await? {
                Some((sequence, record)) if record.covers_up_to() <= Some(until) => low = sequence + 1,
                Some((sequence, record)) => {
                    first = Some((sequence, record.pair));
                    high = middle;
                }
                None => high = middle,
            }
        }
        Ok(first)
    }

    /// The first record at or after a position.
    async fn record_from(
        &self,
        search: &Search<'_>,
        position: u64,
    ) -> Result<Option<(u64, Record)>, MaintenanceError> {
        let mut position = position;
        for _message in 0..MAX_LOOK_BACK {
            let found = search.next(position).await.map_err(|error| self.search_failed(error))?;
            let Some(message) = found else { return Ok(None) };
            let sequence = message.sequence;
            if let Some(record) = readable(message).map_err(refused_or)? {
                return Ok(Some((sequence, record)));
            }
            position = sequence + 1;
        }
        let subject = search.subject.to_owned();
        Err(MaintenanceError::Log(ReadError::Buried { subject, messages: MAX_LOOK_BACK }))
    }

    /// Deletes all messages of a subject at and after a position. Returns how many there were.
    async fn delete_from(
        &self,
        stream: &Stream,
        search: &Search<'_>,
        from: u64,
    ) -> Result<u64, MaintenanceError> {
        let (mut position, mut deleted) = (from, 0);
        while let Some(message) = search.next(position).await.map_err(|error| self.search_failed(error))? {
            stream.delete_message(message.sequence).await.map_err(|error| self.failed(error))?;
            position = message.sequence + 1;
            deleted += 1;
        }
        Ok(deleted)
    }

    fn search_failed(&self, error: SearchError) -> MaintenanceError {
        match error {
            SearchError::Request(error) => self.failed(error),
            SearchError::Read(error) => refused_or(error),
        }
    }

    fn failed(&self, error: impl Into<Source>) -> MaintenanceError {
        refused_or(self.request_error(error))
    }
}

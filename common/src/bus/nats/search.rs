//! Finds the newest records of a subject in the leader's copy of the stream.

use async_nats::jetstream::{
    message::StreamMessage,
    stream::{LastRawMessageErrorKind, RawMessageError, Stream},
};

use super::entry;
use crate::{
    bus::{NotRecord, ReadError},
    domain::Record,
    wire::DecodeError,
};

/// How many messages of a subject are examined before the search for a record fails. Examining them takes a few
/// seconds.
pub(super) const MAX_LOOK_BACK: u64 = 10_000;

/// A search for messages of one subject, or of several with a wildcard. All requests go to the stream's leader
/// (`STREAM.MSG.GET`). A direct get could reach a follower that is not up to date. A record that is stored would then
/// appear to be missing.
pub(super) struct Search<'a> {
    pub(super) stream: &'a Stream,
    pub(super) subject: &'a str,
    /// The first sequence of the stream.
    pub(super) first: u64,
}

/// Why a search failed.
pub(super) enum SearchError {
    /// A request failed.
    Request(RawMessageError),
    /// A record has a newer format, or there are too many messages that are not records.
    Read(ReadError),
}

impl Search<'_> {
    /// Returns the newest message.
    pub(super) async fn newest(&self) -> Result<Option<StreamMessage>, SearchError> {
        found(self.stream.get_last_raw_message_by_subject(self.subject).await)
    }

    /// Returns the first message at or after a position.
    pub(super) async fn next(&self, sequence: u64) -> Result<Option<StreamMessage>, SearchError> {
        found(self.stream.get_first_raw_message_by_subject(self.subject, sequence).await)
    }

    /// Examines the records before a position, newest first. Returns the first value that `wanted` returns for one of
    /// them.
    pub(super) async fn newest_before<T>(
        &self,
        sequence: u64,
        wanted: impl Fn(Record) -> Option<T>,
    ) -> Result<Option<T>, SearchError> {
        let mut end = sequence;
        for _message in 0..MAX_LOOK_BACK {
            let Some(message) = self.previous(end).await? else { return Ok(None) };
            end = message.sequence;
            if let Some(found) = readable(message).map_err(SearchError::Read)?.and_then(&wanted) {
                return Ok(Some(found));
            }
        }
        let subject = self.subject.to_owned();
        Err(SearchError::Read(ReadError::Buried { subject, messages: MAX_LOOK_BACK }))
    }

    /// Returns the last message before a position. The server can find the next message of a subject, but not the
    /// previous one. So this tries longer and longer ranges before the position until one contains a message. Then it
    /// finds the last message in that range by bisection.
    async fn previous(&self, end: u64) -> Result<Option<StreamMessage>, SearchError> {
        let mut stretch = 1;
        // The subject has no message at `upper` or between `upper` and `end`.
        let mut upper = end;
        let mut found = loop {
            let begin = end.saturating_sub(stretch).max(self.first);
            if begin >= upper {
                return Ok(None);
            }
            match self.next(begin).await?.filter(|message| message.sequence < end) {
                Some(message) => break message,
                None => (upper, stretch) = (begin, stretch.saturating_mul(2)),
            }
        };
        while found.sequence + 1 < upper {
            let middle = found.sequence + (upper - found.sequence) / 2;
            match self.next(middle).await?.filter(|message| message.sequence < upper) {
                Some(later) => found = later,
                None => upper = middle,
            }
        }
        Ok(Some(found))
    }
}

/// Returns the record in a message, or `None` if the message is not a record. A record of a newer version is an error,
/// because writing after it could repeat its slot.
pub(super) fn readable(message: StreamMessage) -> Result<Option<Record>, ReadError> {
    match entry(message.sequence, Some(&message.headers), message.payload).record() {
        Ok(record) => Ok(Some(record)),
        Err(NotRecord::Undecodable(error @ DecodeError::UnknownVersion { .. })) => {
            Err(ReadError::TooNew(error))
        }
        Err(_) => Ok(None),
    }
}

fn found(response: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, SearchError> {
    match response {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(SearchError::Request(error)),
    }
}

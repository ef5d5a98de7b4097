//! Finding a subject's newest records in the stream, as its leader has them.

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

/// How many messages of a subject are looked at before the search for a record is given up. A few seconds' work.
pub(super) const MAX_LOOK_BACK: u64 = 10_000;

/// One subject, or several with a wildcard, of a stream. Every question goes to the stream's leader
/// (`STREAM.MSG.GET`): a direct get may be answered by a follower that is behind, and then a stored record would seem
/// to be missing.
pub(super) struct Search<'a> {
    pub(super) stream: &'a Stream,
    pub(super) subject: &'a str,
    /// The stream's first position.
    pub(super) first: u64,
}

/// Why a search did not come to an end.
pub(super) enum SearchError {
    /// The question was not answered.
    Unanswered(RawMessageError),
    /// A record cannot be read by this version, or none is within reach.
    Read(ReadError),
}

impl Search<'_> {
    /// The newest message.
    pub(super) async fn newest(&self) -> Result<Option<StreamMessage>, SearchError> {
        found(self.stream.get_last_raw_message_by_subject(self.subject).await)
    }

    /// The first message at or after a position.
    pub(super) async fn next(&self, sequence: u64) -> Result<Option<StreamMessage>, SearchError> {
        found(self.stream.get_first_raw_message_by_subject(self.subject, sequence).await)
    }

    /// The newest record before a position for which `wanted` has something.
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

    /// The last message before a position. The server finds the next message of a subject and not the previous one, so
    /// this looks at ever longer stretches before the position, and then halves the one that holds a message.
    async fn previous(&self, end: u64) -> Result<Option<StreamMessage>, SearchError> {
        let mut stretch = 1;
        // Everything from `upper` to `end` is known to hold no message of the subject.
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

/// The record in a message; nothing where it is no record. A record of a newer version is an error: going
/// on after it could repeat its slot.
pub(super) fn readable(message: StreamMessage) -> Result<Option<Record>, ReadError> {
    match entry(message.sequence, Some(&message.headers), message.payload).record() {
        Ok(record) => Ok(Some(record)),
        Err(NotRecord::Undecodable(error @ DecodeError::UnknownVersion { .. })) => {
            Err(ReadError::TooNew(error))
        }
        Err(_) => Ok(None),
    }
}

fn found(answer: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, SearchError> {
    match answer {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(SearchError::Unanswered(error)),
    }
}

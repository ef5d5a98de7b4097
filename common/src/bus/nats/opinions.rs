//! What servers other than the stream's leader have.
//!
//! A direct get is answered by any server that has a copy of the stream, also by one whose copy differs from the leader's.
//! The client cannot choose which; so it asks often enough that each has very likely answered.

use async_nats::jetstream::{
    message::StreamMessage,
    stream::{DirectGetErrorKind, Info, RawMessageErrorKind},
};

use super::Nats;
use crate::{bus::ReadError, domain::Sequence};

/// How often is asked. NATS picks the server at random, so of three servers one is left out with a probability of
/// (2/3)^16, which is 0.2 %.
const QUESTIONS: usize = 16;

/// A message that any server may have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    At(Sequence),
    LastOf(&'a str),
}

impl Nats {
    /// Whether any server has a message at a position that the leader does not have there.
    pub(super) async fn is_held_elsewhere(&self, sequence: Sequence, info: &Info) -> Result<bool, ReadError> {
        let stream = self.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| self.unanswered(error))?;
        let leaders = match stream.get_raw_message(sequence.0).await {
            Ok(message) => Some(message.payload),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => None,
            Err(error) => return Err(self.unanswered(error)),
        };
        let differs = |message: &StreamMessage| leaders.as_ref() != Some(&message.payload);
        Ok(self.ask_any_server(info, Wanted::At(sequence), differs).await?.is_some())
    }

    /// Asks until a server has what is wanted, or all have very likely answered.
    pub(super) async fn ask_any_server(
        &self,
        info: &Info,
        wanted: Wanted<'_>,
        is_wanted: impl Fn(&StreamMessage) -> bool,
    ) -> Result<Option<StreamMessage>, ReadError> {
        if info.config.num_replicas <= 1 || !info.config.allow_direct {
            return Ok(None);
        }
        let stream = self.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| self.unanswered(error))?;
        for _question in 0..QUESTIONS {
            let answer = match wanted {
                Wanted::At(sequence) => stream.direct_get(sequence.0).await,
                Wanted::LastOf(subject) => stream.direct_get_last_for_subject(subject).await,
            };
            match answer {
                Ok(message) if is_wanted(&message) => return Ok(Some(message)),
                Ok(_) => {}
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
                Err(error) => return Err(self.unanswered(error)),
            }
        }
        Ok(None)
    }
}

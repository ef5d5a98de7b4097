//! Reads messages from servers other than the stream's leader.
//!
//! Any server with a copy of the stream may respond to a direct get, including one whose copy differs from the
//! leader's. The client cannot choose the server, so it repeats the request until every server has very likely
//! responded.

use async_nats::jetstream::{
    message::StreamMessage,
    stream::{DirectGetErrorKind, Info, RawMessageErrorKind},
};
use futures::future::join_all;

use super::Nats;
use crate::{bus::ReadError, domain::Sequence};

/// How many times a request is sent. NATS picks a random server each time. So the probability that a certain one of
/// three servers never gets the request is (2/3)^16, which is 0.2 %.
const REQUESTS: usize = 16;

/// A message to look for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    At(Sequence),
    LastOf(&'a str),
}

impl Nats {
    /// Whether any server has a message at this position that the leader does not have there.
    pub(super) async fn is_held_elsewhere(&self, sequence: Sequence, info: &Info) -> Result<bool, ReadError> {
        if !has_other_servers(info) {
            return Ok(false);
        }
        let stream = self.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| self.request_error(error))?;
        let leaders = match stream.get_raw_message(sequence.0).await {
            Ok(message) => Some(message.payload),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => None,
            Err(error) => return Err(self.request_error(error)),
        };
        let differs = |message: &StreamMessage| leaders.as_ref() != Some(&message.payload);
        Ok(self.ask_any_server(info, Wanted::At(sequence), differs).await?.is_some())
    }

    /// Requests a message so many times that every server has very likely responded. Returns the first response for
    /// which `is_wanted` is true, if there is one.
    pub(super) async fn ask_any_server(
        &self,
        info: &Info,
        wanted: Wanted<'_>,
        is_wanted: impl Fn(&StreamMessage) -> bool,
    ) -> Result<Option<StreamMessage>, ReadError> {
        if !has_other_servers(info) {
            return Ok(None);
        }
        let stream = self.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| self.request_error(error))?;
        let requests = (0..REQUESTS).map(async |_| match wanted {
            Wanted::At(sequence) => stream.direct_get(sequence.0).await,
            Wanted::LastOf(subject) => stream.direct_get_last_for_subject(subject).await,
        });
        for response in join_all(requests).await {
            match response {
                Ok(message) if is_wanted(&message) => return Ok(Some(message)),
                Ok(_) => {}
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
                Err(error) => return Err(self.request_error(error)),
            }
        }
        Ok(None)
    }
}

fn has_other_servers(info: &Info) -> bool {
    info.config.num_replicas > 1 && info.config.allow_direct
}

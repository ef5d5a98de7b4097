//! The event stream of a pod, as server-sent events.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use eventsource_stream::{EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::{PodClient, Response, header, read};

/// The largest event that is read. Real events are far smaller: an event has one price and no quotes.
const MAX_EVENT_BYTES: usize = 256 * 1024;

const SERVER_SENT: &str = "text/event-stream";

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerSent {
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// Why following a pod failed.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// There was no response. The text is the reason.
    Unreachable(String),
    /// The response is not an event stream.
    Refused(Box<Response>),
}

type Source = dyn Stream<Item = Result<eventsource_stream::Event, EventStreamError<reqwest::Error>>> + Send;

/// The events of one connection.
pub(crate) struct Events {
    source: Pin<Box<Source>>,
    /// Bytes received since the last complete event.
    unfinished: Arc<AtomicUsize>,
}

impl PodClient {
    /// Opens the event stream at `path`, resuming after the event with the id `last` if there is one.
    pub(crate) async fn follow(&self, path: &str, last: Option<&str>) -> Result<Events, StreamError> {
        let mut request = self.client.get(format!("{}{path}", self.url())).header(ACCEPT, SERVER_SENT);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.map_err(|error| StreamError::Unreachable(reason(&error)))?;
        let media_type = header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if !response.status().is_success() || !media_type.starts_with(SERVER_SENT) {
            let refusal =
                read(response).await.map_err(|error| StreamError::Unreachable(format!("{error:#}")))?;
            return Err(StreamError::Refused(Box::new(refusal)));
        }
        let unfinished = Arc::new(AtomicUsize::new(0));
        let counted = unfinished.clone();
        let bytes = response.bytes_stream().inspect(move |bytes| {
            let length = bytes.as_ref().map_or(0, |bytes| bytes.len());
            counted.fetch_add(length, Ordering::Relaxed);
        });
        // Ends the connection if an event is too large, before all of it is in memory.
        let limit = unfinished.clone();
        let bytes = bytes.take_while(move |_| {
            let fits = limit.load(Ordering::Relaxed) <= MAX_EVENT_BYTES;
            async move { fits }
        });
        Ok(Events { source: Box::pin(bytes.eventsource()), unfinished })
    }
}

impl Events {
    /// The next event, or the reason why the connection ended.
    pub(crate) async fn next(&mut self) -> Result<ServerSent, String> {
        match self.source.next().await {
            Some(Ok(event)) => {
                self.unfinished.store(0, Ordering::Relaxed);
                Ok(ServerSent { kind: event.event, data: event.data })
            }
            Some(Err(EventStreamError::Transport(error))) => Err(reason(&error)),
            Some(Err(error)) => Err(format!("the event stream is malformed: {error}")),
            None => Err("the pod closed the connection".to_owned()),
        }
    }
}

/// A short reason. The innermost cause, such as "Connection refused", is the most helpful one.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "connecting timed out" } else { "the pod stopped sending data" }
            .to_owned();
    }
    if error.is_body() || error.is_decode() {
        return "the connection was interrupted".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

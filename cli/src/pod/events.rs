//! A pod's stream of events, as server-sent events.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use eventsource_stream::{EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};

use super::{Answer, PodClient, header, read};

/// More bytes than any event has: it has one price and no quotes.
const MAX_EVENT_BYTES: usize = 256 * 1024;

const SERVER_SENT: &str = "text/event-stream";

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerSent {
    /// What it is.
    pub(crate) kind: String,
    /// What it says.
    pub(crate) data: String,
}

/// Why a pod gives no events.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not there.
    Away(String),
    /// It says something else.
    Said(Box<Answer>),
}

type Source = dyn Stream<Item = Result<eventsource_stream::Event, EventStreamError<reqwest::Error>>> + Send;

/// Events, as they come.
pub(crate) struct Events {
    source: Pin<Box<Source>>,
    /// Bytes since the newest event.
    unfinished: Arc<AtomicUsize>,
}

impl PodClient {
    /// Begins to follow at a path, behind the event with the id `last`.
    pub(crate) async fn follow(&self, path: &str, last: Option<&str>) -> Result<Events, Refusal> {
        let mut request = self.client.get(format!("{}{path}", self.url())).header(ACCEPT, SERVER_SENT);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.map_err(|error| Refusal::Away(reason(&error)))?;
        let media_type = header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if !response.status().is_success() || !media_type.starts_with(SERVER_SENT) {
            let answer = read(response).await.map_err(|error| Refusal::Away(format!("{error:#}")))?;
            return Err(Refusal::Said(Box::new(answer)));
        }
        let unfinished = Arc::new(AtomicUsize::new(0));
        let counted = unfinished.clone();
        let bytes = response.bytes_stream().inspect(move |bytes| {
            let length = bytes.as_ref().map_or(0, |bytes| bytes.len());
            counted.fetch_add(length, Ordering::Relaxed);
        });
        // What has no end is cut off before it is all in memory.
        let limit = unfinished.clone();
        let bytes = bytes.take_while(move |_| {
            let fits = limit.load(Ordering::Relaxed) <= MAX_EVENT_BYTES;
            async move { fits }
        });
        Ok(Events { source: Box::pin(bytes.eventsource()), unfinished })
    }
}

impl Events {
    /// The next event, or why there is none.
    pub(crate) async fn next(&mut self) -> Result<ServerSent, String> {
        match self.source.next().await {
            Some(Ok(event)) => {
                self.unfinished.store(0, Ordering::Relaxed);
                Ok(ServerSent { kind: event.event, data: event.data })
            }
            Some(Err(EventStreamError::Transport(error))) => Err(reason(&error)),
            Some(Err(error)) => Err(format!("what came is no stream of events: {error}")),
            None => Err("the connection ended".to_owned()),
        }
    }
}

impl Answer {
    /// After how long it may be asked again, if it says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        header(&self.headers, RETRY_AFTER.as_str())?.parse().ok().map(Duration::from_secs)
    }
}

/// What is the matter, in few words: the innermost cause is the one that people know.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "it does not answer" } else { "it has fallen silent" }.to_owned();
    }
    if error.is_body() || error.is_decode() {
        return "the connection broke".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

//! The event stream of a pod, as lines of JSON.

use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::{PodClient, Response, header, read};

/// The largest event that is read. Real events are far smaller: an event has one price and no quotes.
const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Refusals of a stream of lines have their own statuses. Refusals of server-sent events often have 200, for the sake of
/// browsers.
const LINES: &str = "application/x-ndjson";

/// Why following a pod failed.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// There was no response. The text is the reason.
    Unreachable(String),
    /// The response is not an event stream.
    Refused(Box<Response>),
}

/// The events of one connection.
pub(crate) struct Events {
    response: reqwest::Response,
    /// The bytes received after the last complete line.
    unfinished: Vec<u8>,
}

impl PodClient {
    /// Opens the event stream at `path`, resuming after the event with the id `last` if there is one.
    pub(crate) async fn follow(&self, path: &str, last: Option<&str>) -> Result<Events, StreamError> {
        let mut request = self.client.get(format!("{}{path}", self.url())).header(ACCEPT, LINES);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.map_err(|error| StreamError::Unreachable(reason(&error)))?;
        let media_type = header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if !response.status().is_success() || !media_type.starts_with(LINES) {
            let refusal =
                read(response).await.map_err(|error| StreamError::Unreachable(format!("{error:#}")))?;
            return Err(StreamError::Refused(Box::new(refusal)));
        }
        Ok(Events { response, unfinished: Vec::new() })
    }
}

impl Events {
    /// The JSON of the next event, or the reason why the connection ended. This method is cancel safe.
    pub(crate) async fn next(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.unfinished.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unfinished.drain(..=end).collect();
                let line = String::from_utf8(line).map_err(|_| "the event stream is not UTF-8".to_owned())?;
                // An empty line is a heartbeat.
                match line.trim_end() {
                    "" => continue,
                    line => return Ok(line.to_owned()),
                }
            }
            if self.unfinished.len() > MAX_EVENT_BYTES {
                return Err(format!("an event is longer than {MAX_EVENT_BYTES} bytes"));
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.unfinished.extend_from_slice(&bytes),
                Ok(None) => return Err("the pod closed the connection".to_owned()),
                Err(error) => return Err(reason(&error)),
            }
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

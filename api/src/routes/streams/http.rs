//! Streams over plain HTTP: server-sent events, and lines of JSON.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header;
use poem::{Body, IntoResponse, Request, Response};
use poem_openapi::{
    ApiResponse, Enum, OpenApi, ResponseContent,
    param::{Header, Query},
    payload::Payload,
    registry::{MetaSchemaRef, Registry},
    types::Type,
};

use super::{
    super::{State, Tag},
    Follower, StreamEnd, Transport, follow,
    follower::Step,
    frame::frame,
};
use crate::{
    dto::{CursorParameter, EventItem, PairsParameter},
    problem::Problem,
};

/// Streams over HTTP.
pub struct StreamApi(pub(in crate::routes) Arc<State>);

/// How soon a browser comes back by itself.
const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// A comment, which clients pass over.
const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");

/// What readers of lines pass over.
const EMPTY_LINE: Bytes = Bytes::from_static(b"\n");

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum StreamFormat {
    /// Server-sent events.
    Sse,
    /// One event a line.
    Ndjson,
}

#[derive(ApiResponse)]
enum StreamResponse {
    /// Events, for as long as the client likes
    #[oai(status = 200)]
    Events(StreamContent),
}

#[derive(ResponseContent)]
enum StreamContent {
    Sse(ServerSent),
    Ndjson(Lines),
}

/// Server-sent events: `id`, `event` (`tick`, `gap` or `end`) and `data`, which is an `Event` in JSON.
struct ServerSent(Response);

/// An `Event` a line; an empty line where nothing has happened for a while.
struct Lines(Response);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Streams")]
impl StreamApi {
    /// Every tick and gap from now on, as it happens
    ///
    /// Server-sent events, one for each tick (`event: tick`) and each gap (`event: gap`), in the order of the log. A
    /// client that has no cursor begins with the newest tick of each pair. One that comes back sends the id of the
    /// last event it has, and goes on right behind it, on any pod: nothing is lost, and nothing comes twice. A
    /// browser's `EventSource` does so by itself.
    ///
    /// A comment is sent after 15 seconds without an event. Before the pod ends a stream, it says why
    /// (`event: end`, with `code` and `detail`); then go on behind the last event.
    #[oai(path = "/stream", method = "get", operation_id = "streamEvents")]
    async fn stream(
        &self,
        request: &Request,
        /// The pairs, separated by commas; all of the log, if absent, also those to come.
        pairs: Query<Option<PairsParameter>>,
        /// Where to go on: the id of an event, or a sequence. `0` begins with the oldest tick or gap that
        /// history has.
        after: Query<Option<CursorParameter>>,
        /// The id of the last event that the client has; it goes before `after`.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<CursorParameter>>,
        /// `sse`, if absent, unless `Accept` asks for `application/x-ndjson`.
        format: Query<Option<StreamFormat>>,
    ) -> Result<StreamResponse, Problem> {
        let pairs = pairs.0.map(|pairs| pairs.0.0.into_iter().collect::<BTreeSet<_>>());
        let after = last_event_id.0.or(after.0).map(|cursor| cursor.0);
        let format = format.0.unwrap_or_else(|| accepted(request));
        let transport = match format {
            StreamFormat::Sse => Transport::Sse,
            StreamFormat::Ndjson => Transport::Ndjson,
        };
        let follower = follow(&self.0, pairs, after, transport).await?;
        Ok(StreamResponse::Events(match format {
            StreamFormat::Sse => StreamContent::Sse(ServerSent(respond(
                follower,
                format,
                ServerSent::CONTENT_TYPE,
                Some(RETRY),
            ))),
            StreamFormat::Ndjson => {
                StreamContent::Ndjson(Lines(respond(follower, format, Lines::CONTENT_TYPE, None)))
            }
        }))
    }
}

fn accepted(request: &Request) -> StreamFormat {
    let accept = request.header(header::ACCEPT).unwrap_or_default();
    match accept.contains(Lines::CONTENT_TYPE) {
        true => StreamFormat::Ndjson,
        false => StreamFormat::Sse,
    }
}

fn respond(follower: Follower, format: StreamFormat, media_type: &str, first: Option<Bytes>) -> Response {
    let steps = stream::unfold(Some(follower), move |follower| async move {
        let mut follower = follower?;
        let step = follower.next().await;
        let frames = frames(&step, &follower, format);
        let follower = if let Step::End(_) = step { None } else { Some(follower) };
        Some((stream::iter(frames), follower))
    });
    let frames = stream::iter(first).chain(steps.flatten()).map(Ok::<_, std::io::Error>);
    Response::builder()
        .content_type(media_type)
        .header(header::CACHE_CONTROL, "no-store")
        // nginx would collect events before it passes them on.
        .header("X-Accel-Buffering", "no")
        .body(Body::from_bytes_stream(frames))
}

/// What is sent for a step.
fn frames(step: &Step, follower: &Follower, format: StreamFormat) -> Vec<Bytes> {
    match (step, format) {
        (Step::Events(events), StreamFormat::Sse) => {
            events.iter().map(|event| frame(event, follower.log()).server_sent()).collect()
        }
        (Step::Events(events), StreamFormat::Ndjson) => {
            events.iter().map(|event| frame(event, follower.log()).line()).collect()
        }
        (Step::Quiet, StreamFormat::Sse) => vec![HEARTBEAT],
        (Step::Quiet, StreamFormat::Ndjson) => vec![EMPTY_LINE],
        (Step::End(end), StreamFormat::Sse) => vec![farewell(*end)],
        // Whoever reads lines of events is told by the end of them.
        (Step::End(_), StreamFormat::Ndjson) => Vec::new(),
    }
}

fn farewell(end: StreamEnd) -> Bytes {
    let data = serde_json::json!({ "code": end.to_string(), "detail": end.detail() });
    format!("event: end\ndata: {data}\n\n").into()
}

/// A body that is made elsewhere, as the document knows it.
macro_rules! stream_payload {
    ($name:ident, $content_type:literal) => {
        impl Payload for $name {
            const CONTENT_TYPE: &'static str = $content_type;

            fn schema_ref() -> MetaSchemaRef {
                EventItem::schema_ref()
            }

            fn register(registry: &mut Registry) {
                EventItem::register(registry);
            }
        }

        impl IntoResponse for $name {
            fn into_response(self) -> Response {
                self.0
            }
        }
    };
}

stream_payload!(ServerSent, "text/event-stream");
stream_payload!(Lines, "application/x-ndjson");

//! Streams over plain HTTP: server-sent events, and lines of JSON.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header;
use poem::{Body, IntoResponse, Request, Response};
use poem_openapi::{
    ApiResponse, Enum, OpenApi, ResponseContent,
    param::{Header, Query},
    payload::Payload,
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};

use super::{
    super::{
        State, Tag,
        format::{self, Format},
    },
    After, Follower, StreamEnd, Transport, follow,
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

/// An `Event` a line; an empty line where nothing has happened for a while, and at last why there are no more.
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
    /// With `format=ndjson` each event is a line of JSON. In a terminal:
    /// `curl -N 'http://127.0.0.1:8080/v1/stream?format=ndjson'`. "Try it out" shows nothing here, because it waits
    /// for an end that does not come.
    ///
    /// After 15 seconds without an event a sign of life is sent: a comment, or in NDJSON an empty line. Before the
    /// pod ends a stream, it says why: `event: end` with `code` and `detail`, or in NDJSON a last line
    /// `{"kind":"end","code":…,"detail":…}`. Then go on behind the last event. The codes are listed at
    /// [/docs/errors](/docs/errors#ends-of-streams).
    ///
    /// A stream lasts a day at most. A client that falls 10,000 records further behind than it has been before is
    /// told `too_slow`; one that takes no byte for 30 seconds is cut off without a word. Of all connections that a pod
    /// takes, five sixths may be streams, 10,000 if nothing else is set; above that, the answer is 503
    /// `too_many_streams`.
    #[oai(path = "/stream", method = "get", operation_id = "streamEvents")]
    async fn stream(
        &self,
        request: &Request,
        /// The pairs, separated by commas; all of the log, if absent, also those to come.
        pairs: Query<Option<PairsParameter>>,
        /// Where to go on: the id of an event, or a sequence. `0` begins with the oldest tick or gap that
        /// history has.
        after: Query<Option<CursorParameter>>,
        /// The id of the last event that the client has; it goes before `after`, which must be readable even so.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<CursorParameter>>,
        /// How events are written; it goes before the `Accept` header, which says it otherwise. `sse`, if neither does.
        format: Query<Option<StreamFormat>>,
    ) -> Result<StreamResponse, Problem> {
        let after = After::named("Last-Event-ID", last_event_id.0).or(After::named("after", after.0));
        let format = format::choose(format.0, request.headers())?;
        let transport = match format {
            StreamFormat::Sse => Transport::Sse,
            StreamFormat::Ndjson => Transport::Ndjson,
        };
        let follower = follow(&self.0, pairs.0, after, transport).await?;
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

impl Format for StreamFormat {
    const ALL: &[Self] = &[Self::Sse, Self::Ndjson];
    const NAMES: &str = "this route answers text/event-stream and application/x-ndjson; name one of them in the \
                         Accept header, or ask with format=sse or ndjson";

    fn type_and_subtype(self) -> (&'static str, &'static str) {
        match self {
            Self::Sse => ("text", "event-stream"),
            Self::Ndjson => ("application", "x-ndjson"),
        }
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
        (Step::End(end), StreamFormat::Ndjson) => vec![last_line(*end)],
    }
}

fn farewell(end: StreamEnd) -> Bytes {
    let data = serde_json::json!({ "code": end.to_string(), "detail": end.detail() });
    format!("event: end\ndata: {data}\n\n").into()
}

/// The end of lines of JSON, which is one of them.
fn last_line(end: StreamEnd) -> Bytes {
    let line = serde_json::json!({ "kind": "end", "code": end.to_string(), "detail": end.detail() });
    format!("{line}\n").into()
}

/// A body that is made elsewhere, as the document knows it.
macro_rules! stream_payload {
    ($name:ident, $content_type:literal, $schema:expr) => {
        impl Payload for $name {
            const CONTENT_TYPE: &'static str = $content_type;

            fn schema_ref() -> MetaSchemaRef {
                $schema
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

/// Events as they are on the wire.
fn server_sent_schema() -> MetaSchemaRef {
    let schema = MetaSchema {
        description: Some(
            "Each event is an `id`, its kind as `event`, and an `Event` in JSON as `data`. Where nothing has happened for a \
             while, a comment; at last, `event: end`.",
        ),
        ..MetaSchema::new("string")
    };
    MetaSchemaRef::Inline(Box::new(schema))
}

stream_payload!(ServerSent, "text/event-stream", server_sent_schema());
stream_payload!(Lines, "application/x-ndjson", EventItem::schema_ref());

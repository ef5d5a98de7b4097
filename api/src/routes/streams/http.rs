//! `/v1/stream`: streams over plain HTTP, as server-sent events or NDJSON.

use std::sync::Arc;

use bytes::Bytes;
use common::domain::Words;
use futures::{StreamExt, stream};
use http::header;
use poem::{Body, IntoResponse, Request, Response};
use poem_openapi::{
    ApiResponse, Enum, OpenApi, ResponseContent,
    param::{Header, Query},
    payload::Payload,
    registry::{MetaSchema, MetaSchemaRef, Registry},
};
use serde::Serialize;

use super::{
    super::{
        State, Tag,
        format::{self, Format},
    },
    After, Follower, LAST_EVENT_ID, Pairs, Transport, follow,
    follower::Step,
    frame::frame,
    named_pairs,
    reset::Reset,
};
use crate::{
    dto::{CursorParameter, EndEvent, EndKind, EventItem, LastEventIdParameter, PairsParameter, Word},
    problem::Problem,
};
use ledger::position::CursorError;

/// The handler of streams over plain HTTP.
pub struct StreamApi(pub(in crate::routes) Arc<State>);

/// Marks the response of a stream, which the server sends in another way than other responses.
#[derive(Debug, Clone)]
pub(crate) struct IsStream;

/// Tells a browser's `EventSource` to reconnect after one second.
const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// A comment, which clients of server-sent events ignore.
const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");

/// An empty line, which readers of NDJSON ignore.
const EMPTY_LINE: Bytes = Bytes::from_static(b"\n");

/// The format of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum StreamFormat {
    /// Server-sent events.
    Sse,
    /// One JSON object per line.
    Ndjson,
}

#[derive(ApiResponse)]
enum StreamResponse {
    /// A stream of events
    #[oai(status = 200)]
    Events(StreamContent),
}

#[derive(ResponseContent)]
enum StreamContent {
    Sse(ServerSent),
    Ndjson(Lines),
}

/// Server-sent events: `id`, `event` (`tick`, `gap`, `reset` or `end`) and `data`, which is JSON.
pub(super) struct ServerSent(Response);

/// An `Event` per line. Empty lines are heartbeats, and the last line says why the stream ends.
struct Lines(Response);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Streams")]
impl StreamApi {
    /// Stream ticks and gaps as they happen
    ///
    /// Sends one server-sent event for each tick (`event: tick`) and each gap (`event: gap`), in the order of the log.
    /// A client without a cursor starts with the newest tick of each pair, and the gap after that tick if there is one.
    /// A client that reconnects sends the id of its last event and continues with the next one, on any pod, without
    /// losing or repeating events. A browser's `EventSource` does this automatically.
    ///
    /// An `EventSource` never reconnects after an error, so server-sent events get errors only if waiting does not help. A
    /// pod that is starting holds the request. A refusal that passes, such as `rate_limited`, is a stream of `retry:` and
    /// `event: end`. If the stream cannot continue after the client's last event, it begins with `event: reset`, which has
    /// `code`, `detail`, `log` and `sequence`, and then starts again with the newest events.
    ///
    /// With `format=ndjson`, each event is a line of JSON. In a terminal:
    /// `curl -N 'http://127.0.0.1:8080/v1/stream?format=ndjson'`. "Try it out" in Swagger UI shows nothing, because it
    /// waits for the end of the response.
    ///
    /// After 15 seconds without an event the pod sends a heartbeat: a comment, or an empty line in NDJSON. Before the
    /// pod ends a stream, it sends the reason as `event: end` with `code` and `detail`, or in NDJSON as a last line
    /// `{"kind":"end","code":…,"detail":…}`. After that, reconnect with the id of the last event. The codes are listed
    /// at [/docs/errors](docs/errors#ends-of-streams).
    ///
    /// A stream lasts at most one day. If a client's distance to the newest record grows by more than 10,000 records,
    /// its stream ends with `too_slow`. A client that reads nothing for 30 seconds is disconnected without a reason.
    /// At most five sixths of a pod's connections may be streams, which is 10,000 by default. Above that, the response
    /// is 503 `too_many_streams`, or for server-sent events a stream that ends with this code.
    #[oai(path = "/stream", method = "get", operation_id = "streamEvents")]
    async fn stream(
        &self,
        request: &Request,
        /// The pairs, separated by commas. Default: all pairs of the log, including those that are added later.
        pairs: Query<Option<PairsParameter>>,
        /// Continue after the event with this id, or after this sequence. `0` starts with the oldest tick or gap that
        /// is kept. Default: start with the newest tick of each pair.
        after: Query<Option<CursorParameter>>,
        /// The id of the client's last event. It takes precedence over `after`, which must still be valid.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<LastEventIdParameter>>,
        /// The format of the events. It takes precedence over the `Accept` header. Default: `sse`.
        format: Query<Option<StreamFormat>>,
        /// A ticket of `/v1/tickets`. Only for browsers, which cannot send an API key otherwise.
        #[oai(name = "ticket")]
        _ticket: Query<Option<String>>,
    ) -> Result<StreamResponse, Problem> {
        let (pairs, format) = (named_pairs(pairs.0), format::choose(format.0, request.headers())?);
        let after = match last_event_id.0 {
            Some(id) => last_event(&id).map(Some),
            None if request.headers().contains_key(LAST_EVENT_ID) => Err(unreadable(CursorError)),
            None => Ok(After::named("after", after.0)),
        };
        Ok(StreamResponse::Events(match format {
            StreamFormat::Sse => {
                let (follower, reset) = self.follow_or_reset(pairs, after).await?;
                let first = [Some(RETRY), reset.map(|reset| reset.event())];
                let first = first.into_iter().flatten().collect();
                StreamContent::Sse(ServerSent(respond(follower, format, ServerSent::CONTENT_TYPE, first)))
            }
            StreamFormat::Ndjson => {
                let follower = follow(&self.0, pairs, after?, Transport::Ndjson).await?;
                StreamContent::Ndjson(Lines(respond(follower, format, Lines::CONTENT_TYPE, Vec::new())))
            }
        }))
    }
}

impl StreamApi {
    /// Follows the log after a cursor or, if it cannot be continued after that cursor, from the newest events.
    async fn follow_or_reset(
        &self,
        pairs: Pairs,
        after: Result<Option<After>, Problem>,
    ) -> Result<(Follower, Option<Reset>), Problem> {
        let log = after.as_ref().ok().and_then(Option::as_ref).and_then(|after| after.cursor.log.clone());
        let followed = match after {
            Ok(after) => follow(&self.0, pairs.clone(), after, Transport::Sse).await,
            Err(unreadable) => Err(unreadable),
        };
        match followed {
            Ok(follower) => Ok((follower, None)),
            Err(refusal) if Reset::is_due(&refusal) => {
                let follower = follow(&self.0, pairs, None, Transport::Sse).await?;
                let reset = Reset::after(&refusal, log.as_deref(), &follower);
                Ok((follower, Some(reset)))
            }
            Err(refusal) => Err(refusal),
        }
    }
}

/// The cursor in a `Last-Event-ID`.
fn last_event(id: &LastEventIdParameter) -> Result<After, Problem> {
    let cursor = id.0.parse().map_err(unreadable)?;
    Ok(After { cursor, parameter: LAST_EVENT_ID })
}

fn unreadable(error: CursorError) -> Problem {
    Problem::parameter(LAST_EVENT_ID, error.to_string())
}

impl Format for StreamFormat {
    const ALL: &[Self] = &[Self::Sse, Self::Ndjson];
    const NAMES: &str = "this route supports text/event-stream and application/x-ndjson; list one of them in the \
                         Accept header, or use format=sse or ndjson";

    fn type_and_subtype(self) -> (&'static str, &'static str) {
        match self {
            Self::Sse => ("text", "event-stream"),
            Self::Ndjson => ("application", "x-ndjson"),
        }
    }
}

fn respond(follower: Follower, format: StreamFormat, media_type: &str, first: Vec<Bytes>) -> Response {
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
        // Without this header, nginx buffers events before it forwards them.
        .header("X-Accel-Buffering", "no")
        .extension(IsStream)
        .body(Body::from_bytes_stream(frames))
}

/// The bytes to send for a step.
fn frames(step: &Step, follower: &Follower, format: StreamFormat) -> Vec<Bytes> {
    match (step, format) {
        (Step::Events(events), StreamFormat::Sse) => {
            events.iter().map(|event| frame(event, follower.log()).server_sent()).collect()
        }
        (Step::Events(events), StreamFormat::Ndjson) => {
            events.iter().map(|event| frame(event, follower.log()).line()).collect()
        }
        (Step::Heartbeat, StreamFormat::Sse) => vec![HEARTBEAT],
        (Step::Heartbeat, StreamFormat::Ndjson) => vec![EMPTY_LINE],
        (Step::End(end), StreamFormat::Sse) => {
            vec![end_event(end.as_str(), end.detail()).into()]
        }
        (Step::End(end), StreamFormat::Ndjson) => {
            let line = EndEvent { kind: EndKind, code: Word(*end), detail: end.detail().to_owned() };
            vec![format!("{}\n", json(&line)).into()]
        }
    }
}

/// The data of the last server-sent event. Its kind is outside of the data.
#[derive(Serialize)]
struct EndData<'a> {
    code: &'static str,
    detail: &'a str,
}

/// The last server-sent event of a stream.
pub(super) fn end_event(code: &'static str, detail: &str) -> String {
    format!("event: end\ndata: {}\n\n", json(&EndData { code, detail }))
}

fn json(event: &impl Serialize) -> String {
    // This cannot fail, because strings can be serialized.
    serde_json::to_string(event).unwrap_or_default()
}

/// Describes a body for the OpenAPI document. The handler creates the body itself.
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

/// The schema of server-sent events as text.
fn server_sent_schema() -> MetaSchemaRef {
    let schema = MetaSchema {
        description: Some(
            "Each event has an `id`, its kind as `event`, and an `Event` in JSON as `data`. Comments are heartbeats. An \
             `event: reset` says that events may be missing. The last event is `event: end`.",
        ),
        ..MetaSchema::new("string")
    };
    MetaSchemaRef::Inline(Box::new(schema))
}

stream_payload!(ServerSent, "text/event-stream", server_sent_schema());
stream_payload!(Lines, "application/x-ndjson", EventItem::schema_ref());

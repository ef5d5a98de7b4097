//! `/v1/ws`: streams over a WebSocket.

use std::{io::ErrorKind, pin::pin, sync::Arc};

use futures::{SinkExt, StreamExt};
use http::StatusCode;
use poem::{
    IntoResponse, Request, Response,
    web::websocket::{CloseCode, Message, WebSocketConfig, WebSocketStream},
};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::Query,
    registry::{MetaResponse, MetaResponses, Registry},
};

use super::{
    super::{State, Tag},
    After, Follower, StreamEnd, Transport, follow,
    follower::Step,
    frame::frame,
    handshake::{Handshake, close},
    named_pairs,
};
use crate::{
    dto::{CursorParameter, PairsParameter},
    problem::Problem,
};

/// The handler of streams over a WebSocket.
pub struct SocketApi(pub(in crate::routes) Arc<State>);

/// The largest message that a client may send. Clients need not send anything.
const MAX_MESSAGE_BYTES: usize = 4 * 1_024;

/// The size of the buffer for what a client sends, and of the buffer for events that are not written yet. The library's
/// default is 128 KiB each, which would be most of the memory of a client.
const BUFFER_BYTES: usize = 512;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Streams")]
impl SocketApi {
    /// Stream ticks and gaps over a WebSocket
    ///
    /// Sends the events of `/v1/stream`, one text message each. After 15 seconds without an event the pod sends a ping.
    /// When the pod ends a stream, the reason in the close frame is one of the codes at
    /// [/docs/errors](docs/errors#ends-of-streams).
    ///
    /// A browser does not show the status of a refused handshake. So if the request has the header `Origin`, which browsers
    /// always send, a refusal is a socket that is closed at once. Its close code is 4000 plus the HTTP status, and the
    /// reason is the problem's code: 4409 `unknown_cursor`, 4410 `sequence_gone`, 4401 `unauthorized`, 4429
    /// `rate_limited` and so on. Only pages of an origin that is not allowed get 403. Messages from the client are ignored. The limits are those of
    /// `/v1/stream`.
    #[oai(path = "/ws", method = "get", operation_id = "openSocket")]
    async fn socket(
        &self,
        request: &Request,
        /// The pairs, separated by commas. Default: all pairs of the log, including those that are added later.
        pairs: Query<Option<PairsParameter>>,
        /// Continue after the event with this id, or after this sequence. `0` starts with the oldest tick or gap that
        /// is kept. Default: start with the newest tick of each pair.
        after: Query<Option<CursorParameter>>,
        /// A ticket of `/v1/tickets`. Only for browsers, which cannot send an API key otherwise.
        #[oai(name = "ticket")]
        _ticket: Query<Option<String>>,
    ) -> Result<SocketResponse, Problem> {
        let handshake = Handshake::of(request)?;
        let after = After::named("after", after.0);
        let follower = follow(&self.0, named_pairs(pairs.0), after, Transport::WebSocket).await?;
        let socket = handshake.take()?;
        let mut config =
            WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
        config.max_message_size = Some(MAX_MESSAGE_BYTES);
        config.max_frame_size = Some(MAX_MESSAGE_BYTES);
        let upgraded = socket.config(config).on_upgrade(move |socket| serve(socket, follower));
        Ok(SocketResponse(upgraded.into_response()))
    }
}

/// Sends events until either side closes the connection.
async fn serve(mut socket: WebSocketStream, mut follower: Follower) {
    let close_frame = loop {
        match next_input(&mut socket, follower.next()).await {
            Input::Step(step) => match send(&mut socket, &follower, step).await {
                Ok(None) => {}
                Ok(Some(end)) => break (CloseCode::from(end.close_code()), end.to_string()),
                Err(_gone) => return,
            },
            Input::Malformed => {
                let reason = format!("a message is malformed or longer than {MAX_MESSAGE_BYTES} bytes");
                break (CloseCode::Protocol, reason);
            }
            Input::Disconnected => return,
        }
    };
    close(socket, close_frame).await;
}

/// The next thing that happens on a connection.
enum Input {
    /// There is something to send.
    Step(Step),
    /// The client sent a message that is malformed or too long.
    Malformed,
    /// The connection is closed or broken.
    Disconnected,
}

/// Waits for the next step, and ignores messages of the client until then. The WebSocket library responds to pings.
async fn next_input(socket: &mut WebSocketStream, next: impl Future<Output = Step>) -> Input {
    let mut next = pin!(next);
    loop {
        tokio::select! {
            step = next.as_mut() => return Input::Step(step),
            received = socket.next() => match received {
                Some(Ok(_)) => {}
                Some(Err(error)) if error.kind() == ErrorKind::Other => return Input::Malformed,
                Some(Err(_)) | None => return Input::Disconnected,
            },
        }
    }
}

/// Sends a step. Returns the reason if the step ends the stream.
async fn send(
    socket: &mut WebSocketStream,
    follower: &Follower,
    step: Step,
) -> std::io::Result<Option<StreamEnd>> {
    match step {
        Step::Events(events) => {
            for event in events {
                let text = String::from_utf8_lossy(&frame(&event, follower.log()).json()).into_owned();
                socket.feed(Message::Text(text)).await?;
            }
            socket.flush().await?;
            Ok(None)
        }
        Step::Heartbeat => socket.send(Message::Ping(Vec::new())).await.map(|()| None),
        Step::End(end) => Ok(Some(end)),
    }
}

/// The response that switches to WebSocket, with its description for the OpenAPI document.
struct SocketResponse(Response);

impl IntoResponse for SocketResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for SocketResponse {
    fn meta() -> MetaResponses {
        let switching = MetaResponse {
            description: "The connection becomes a WebSocket. Each text message is an `Event` in JSON",
            status: Some(StatusCode::SWITCHING_PROTOCOLS.as_u16()),
            status_range: None,
            content: Vec::new(),
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![switching] }
    }

    fn register(_registry: &mut Registry) {}
}

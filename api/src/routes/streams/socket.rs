//! Streams over a WebSocket.

use std::{io::ErrorKind, pin::pin, sync::Arc, time::Duration};

use futures::{SinkExt, StreamExt};
use http::StatusCode;
use poem::{
    FromRequest, IntoResponse, Request, RequestBody, Response,
    web::websocket::{CloseCode, Message, WebSocket, WebSocketConfig, WebSocketStream},
};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::Query,
    registry::{MetaResponse, MetaResponses, Registry},
};
use tokio::time::timeout;

use super::{
    super::{State, Tag},
    After, Follower, StreamEnd, Transport, follow,
    follower::Step,
    frame::frame,
};
use crate::{
    dto::{CursorParameter, PairsParameter},
    problem::{Code, Problem},
};

/// Streams over a WebSocket.
pub struct SocketApi(pub(in crate::routes) Arc<State>);

/// The largest message that a client may send. Nothing is expected of it.
const MAX_MESSAGE_BYTES: usize = 4 * 1_024;

/// How long a client is given to hear why its stream ended.
const FAREWELL: Duration = Duration::from_secs(1);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Streams")]
impl SocketApi {
    /// Every tick and gap from now on, over a WebSocket
    ///
    /// The events of `/v1/stream`, one text message each. A ping is sent after 15 seconds without an event. Before
    /// the pod ends a stream it says why, in the close frame: its reason is one of the codes at
    /// [/docs/errors](/docs/errors#ends-of-streams). What a client sends is passed over. Limits are those of
    /// `/v1/stream`.
    ///
    /// "Try it out" can only show 426 here. In the console of a browser that shows a page of this pod:
    /// `new WebSocket('/v1/ws').onmessage = event => console.log(event.data)`.
    #[oai(path = "/ws", method = "get", operation_id = "openSocket")]
    async fn socket(
        &self,
        request: &Request,
        /// The pairs, separated by commas; all of the log, if absent, also those to come.
        pairs: Query<Option<PairsParameter>>,
        /// Where to go on: the id of an event, or a sequence. `0` begins with the oldest tick or gap that
        /// history has.
        after: Query<Option<CursorParameter>>,
    ) -> Result<SocketResponse, Problem> {
        let socket = WebSocket::from_request(request, &mut RequestBody::default()).await;
        let socket = socket.map_err(|_not_asked_for| {
            let detail =
                "this route speaks WebSocket (version 13) alone; /v1/stream has the same over plain HTTP";
            Problem::new(Code::UpgradeRequired, detail)
        })?;
        let follower = follow(&self.0, pairs.0, After::named("after", after.0), Transport::WebSocket).await?;
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MAX_MESSAGE_BYTES);
        config.max_frame_size = Some(MAX_MESSAGE_BYTES);
        let upgraded = socket.config(config).on_upgrade(move |socket| talk(socket, follower));
        Ok(SocketResponse(upgraded.into_response()))
    }
}

/// Sends events until either side ends it.
async fn talk(mut socket: WebSocketStream, mut follower: Follower) {
    let farewell = loop {
        match hear(&mut socket, follower.next()).await {
            Heard::Step(step) => match send(&mut socket, &follower, step).await {
                Ok(None) => {}
                Ok(Some(end)) => break (CloseCode::from(end.close_code()), end.to_string()),
                Err(_gone) => return,
            },
            Heard::Nonsense => {
                let reason = format!("a message is broken, or longer than {MAX_MESSAGE_BYTES} bytes");
                break (CloseCode::Protocol, reason);
            }
            Heard::Nothing => return,
        }
    };
    let last_words = async {
        let _ = socket.send(Message::Close(Some(farewell))).await;
        // The close frame is on its way; leaving before the other side has it could take it back.
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(FAREWELL, last_words).await;
}

/// What came first.
enum Heard {
    /// Something to send.
    Step(Step),
    /// The client sent what cannot be read.
    Nonsense,
    /// The client has gone.
    Nothing,
}

/// Waits for the next step, and meanwhile passes over what the client sends; a ping is answered by the library.
async fn hear(socket: &mut WebSocketStream, next: impl Future<Output = Step>) -> Heard {
    let mut next = pin!(next);
    loop {
        tokio::select! {
            step = next.as_mut() => return Heard::Step(step),
            heard = socket.next() => match heard {
                Some(Ok(_)) => {}
                Some(Err(error)) if error.kind() == ErrorKind::Other => return Heard::Nonsense,
                Some(Err(_)) | None => return Heard::Nothing,
            },
        }
    }
}

/// Sends what is sent for a step; answers why it was the last one, if it was.
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
        Step::Quiet => socket.send(Message::Ping(Vec::new())).await.map(|()| None),
        Step::End(end) => Ok(Some(end)),
    }
}

/// The upgrade, as the document knows it.
struct SocketResponse(Response);

impl IntoResponse for SocketResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for SocketResponse {
    fn meta() -> MetaResponses {
        let switching = MetaResponse {
            description: "The connection is a WebSocket from here on; each text message is an `Event` in JSON",
            status: Some(StatusCode::SWITCHING_PROTOCOLS.as_u16()),
            status_range: None,
            content: Vec::new(),
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![switching] }
    }

    fn register(_registry: &mut Registry) {}
}

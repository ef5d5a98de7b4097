//! The opening and closing handshakes of WebSockets, and how a browser learns why one is refused.
//!
//! A browser does not show a page the response to a refused handshake: whatever the status is, the page gets close code
//! 1006. So the handshake of a browser is completed even if the request is refused, and the socket is closed with a
//!       code that says why. Programs get the refusal as an HTTP response.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::domain::Words;
use futures::{SinkExt, StreamExt};
use http::header;
use poem::{
    Endpoint, FromRequest, IntoResponse, Request, RequestBody, Response, Result,
    web::websocket::{CloseCode, Message, WebSocket, WebSocketStream},
};
use tokio::time::timeout;

use super::SOCKET_PATH;
use crate::{
    layers::SharedEndpoint,
    problem::{Code, Problem, into_response},
};

/// How long the pod waits for a client to receive the reason why its stream ends.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The close code of a refusal is this plus the HTTP status. Codes from 4000 are for applications (RFC 6455).
const FIRST_CLOSE_CODE: u16 = 4_000;

/// A handshake that has not been completed yet. Clones share it.
#[derive(Clone)]
pub(super) struct Handshake(Arc<Mutex<Option<WebSocket>>>);

impl Handshake {
    /// The handshake that a request asks for.
    pub(super) fn of(request: &Request) -> Result<&Self, Problem> {
        request.data::<Self>().ok_or_else(not_asked_for)
    }

    /// The socket. It can be taken once.
    pub(super) fn take(&self) -> Result<WebSocket, Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(not_asked_for)
    }
}

fn not_asked_for() -> Problem {
    let detail = "this route only supports WebSocket (version 13); /v1/stream has the same events over HTTP";
    Problem::new(Code::UpgradeRequired, detail)
}

/// Gives the route its handshake. If the request of a browser is refused, completes the handshake and closes the socket
/// with the reason.
pub(crate) async fn shake_hands(next: SharedEndpoint, mut request: Request) -> Result<Response> {
    if request.uri().path() != SOCKET_PATH {
        return next.call(request).await;
    }
    // Only browsers have to send an origin.
    let is_browser = request.headers().contains_key(header::ORIGIN);
    let Ok(socket) = WebSocket::from_request(&request, &mut RequestBody::default()).await else {
        return next.call(request).await;
    };
    let handshake = Handshake(Arc::new(Mutex::new(Some(socket))));
    request.set_data(handshake.clone());
    let response = into_response(next.call(request).await);
    let code = response.data::<Problem>().filter(|_| is_browser).map(Problem::code);
    let (Some(code), Ok(socket)) = (code, handshake.take()) else { return Ok(response) };
    let close_frame = (close_code(code).into(), code.as_str().to_owned());
    let mut closing = socket.on_upgrade(|socket| close(socket, close_frame)).into_response();
    // For the metrics.
    closing.set_data(code);
    Ok(closing)
}

fn close_code(code: Code) -> u16 {
    FIRST_CLOSE_CODE + code.status().as_u16()
}

/// Sends a close frame, and waits a limited time until the client has received it.
pub(super) async fn close(mut socket: WebSocketStream, close_frame: (CloseCode, String)) {
    let closing = async {
        let _ = socket.send(Message::Close(Some(close_frame))).await;
        // Closing the connection before the client has read the close frame could discard the frame.
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(CLOSE_LIMIT, closing).await;
}

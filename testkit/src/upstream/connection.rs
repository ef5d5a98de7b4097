//! One client's connection. Requests are handled one after the other.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::delivery::deliver;
use super::request::Request;
use super::state::State;

/// The maximum length of a request's head. The connection is closed if it is longer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Serves a client until either side closes the connection.
pub(super) async fn serve(mut stream: TcpStream, state: Arc<State>) {
    // Ignore clients that disconnect or do not speak HTTP.
    let _broken_off = converse(&mut stream, &state).await;
}

async fn converse(stream: &mut TcpStream, state: &State) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    while let Some(request) = next_request(stream, &mut received).await? {
        let (reply, delivery) = state.respond(&request);
        let reusable = deliver(stream, &reply, delivery).await?;
        if !(reusable && request.keep_alive) {
            break;
        }
    }
    Ok(())
}

/// Reads the next request's head; `None` if the client closed the connection. Bytes after the head stay in `received`.
async fn next_request(stream: &mut TcpStream, received: &mut Vec<u8>) -> anyhow::Result<Option<Request>> {
    loop {
        if let Some((request, length)) = Request::parse(received)? {
            received.drain(..length);
            return Ok(Some(request));
        }
        if received.len() > MAX_HEAD_BYTES {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

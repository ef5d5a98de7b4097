//! The ways in which a response is sent.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::reply::{Reply, http_date};
use crate::clock;

/// The time between two bytes of a dripping response. It is so short that no idle timeout ends the response.
const DRIP_PAUSE: Duration = Duration::from_millis(100);

/// The announced length of a dripping response: not suspiciously long, but sending so many bytes would take a day.
const DRIPPED_BYTES: usize = 900_000;

/// How many of the announced bytes are not sent with [`Delivery::Short`].
const MISSING_BYTES: usize = 100;

/// A chunk of an endless body.
const PIECE: [u8; 16 * 1024] = [b' '; 16 * 1024];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The response is sent normally.
    Whole,
    /// The response is sent normally, after this delay.
    After(Duration),
    /// Nothing is sent, and the connection stays open.
    Never,
    /// Nothing is sent, and the connection is closed.
    Closed,
    /// The body is sent byte by byte, slowly.
    Dripping,
    /// Half of the body is sent. Then the connection is reset.
    Reset,
    /// The announced length is too long, and the connection is closed.
    Short,
    /// The announced length is too short.
    Long,
    /// A body without an end is sent as fast as the client reads it.
    Endless,
}

impl Delivery {
    /// Whether the client receives a status.
    pub(super) fn has_status(self) -> bool {
        !matches!(self, Self::Never | Self::Closed)
    }
}

/// Sends a reply. Returns whether the connection can be used for another one.
///
/// # Errors
///
/// Fails if the client has disconnected.
pub(super) async fn deliver(stream: &mut TcpStream, reply: &Reply, delivery: Delivery) -> io::Result<bool> {
    let body = &reply.body;
    match delivery {
        Delivery::Whole => send(stream, reply, body.len(), body).await.map(|()| true),
        Delivery::After(time) => {
            tokio::time::sleep(time).await;
            send(stream, reply, body.len(), body).await.map(|()| true)
        }
        Delivery::Never => until_closed(stream).await.map(|()| false),
        Delivery::Closed => Ok(false),
        Delivery::Dripping => {
            stream.write_all(head(reply, Some(DRIPPED_BYTES)).as_bytes()).await?;
            for byte in body.iter().chain(std::iter::repeat(&b' ')).take(DRIPPED_BYTES) {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(DRIP_PAUSE).await;
            }
            Ok(false)
        }
        Delivery::Reset => {
            let half = body.get(..body.len() / 2).unwrap_or_default();
            send(stream, reply, body.len(), half).await?;
            // With this setting, closing the connection resets it and discards unsent data.
            stream.set_zero_linger().map(|()| false)
        }
        Delivery::Short => send(stream, reply, body.len() + MISSING_BYTES, body).await.map(|()| false),
        // The connection stays open. The client sees the rest of this body before the next response.
        Delivery::Long => send(stream, reply, body.len() / 2, body).await.map(|()| true),
        Delivery::Endless => {
            stream.write_all(head(reply, None).as_bytes()).await?;
            loop {
                stream.write_all(format!("{:x}\r\n", PIECE.len()).as_bytes()).await?;
                stream.write_all(&PIECE).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
    }
}

async fn send(stream: &mut TcpStream, reply: &Reply, announced: usize, body: &[u8]) -> io::Result<()> {
    // Use a single write, so that a short response is a single packet.
    let bytes = [head(reply, Some(announced)).as_bytes(), body].concat();
    stream.write_all(&bytes).await
}

/// Status line and headers. Without a length, the body is chunked.
fn head(reply: &Reply, length: Option<usize>) -> String {
    let Reply { status, content_type, headers, .. } = reply;
    let framing = match length {
        Some(length) => format!("content-length: {length}"),
        None => "transfer-encoding: chunked".to_owned(),
    };
    let reason = status.canonical_reason().unwrap_or_default();
    let further: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let date = http_date(clock::now_ms());
    format!(
        "HTTP/1.1 {} {reason}\r\ndate: {date}\r\ncontent-type: {content_type}\r\n{further}{framing}\r\n\r\n",
        status.as_u16()
    )
}

async fn until_closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

//! The ways in which an answer goes out, byte by byte.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::reply::{Reply, http_date};
use crate::clock;

/// Between two bytes of a drip: fast enough that no idle timeout ends it, and no body is ever done.
const DRIP_PAUSE: Duration = Duration::from_millis(100);

/// What a drip announces: a length that anybody would wait for, and a day of dripping.
const DRIPPED_BYTES: usize = 900_000;

/// By how much a body is announced too long.
const MISSING_BYTES: usize = 100;

/// A piece of an endless body.
const PIECE: [u8; 16 * 1024] = [b' '; 16 * 1024];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// As it should be.
    Whole,
    /// As it should be, after this time.
    After(Duration),
    /// Not at all, with the connection left open.
    Never,
    /// Not at all, with the connection closed.
    Closed,
    /// A byte now and then, for ever.
    Dripping,
    /// Half of the body, and a reset.
    Reset,
    /// With too long a body announced, and the connection closed.
    Short,
    /// With too short a body announced.
    Long,
    /// For ever, as fast as it is read.
    Endless,
}

impl Delivery {
    /// Whether the client gets to see a status.
    pub(super) fn has_status(self) -> bool {
        !matches!(self, Self::Never | Self::Closed)
    }
}

/// Sends a reply. Answers whether the connection is fit for another one.
///
/// # Errors
///
/// When the client has gone.
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
            // Closing now resets: what is unsent is thrown away, and the client is told so.
            stream.set_zero_linger().map(|()| false)
        }
        Delivery::Short => send(stream, reply, body.len() + MISSING_BYTES, body).await.map(|()| false),
        // The connection goes on, with the rest of this body in front of the next answer.
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
    // In one piece, so that an answer is one packet where it fits.
    let bytes = [head(reply, Some(announced)).as_bytes(), body].concat();
    stream.write_all(&bytes).await
}

/// Status line and headers. Without a length the body is chunked.
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

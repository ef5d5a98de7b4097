//! Streams take their connection over from hyper.
//!
//! hyper keeps two buffers of 8 KiB for each connection, and the state of a parser. A stream needs none of that after
//! the head of its response, but lasts for hours. So hyper only sends the head. Then a [`Lent`] connection is taken
//! away from hyper, and a small task writes the body.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, Version, header};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::oneshot,
};
use tokio_util::task::TaskTracker;

use super::{Body, connection::Connection};
use crate::routes::IsStream;

/// How many bytes of events are collected before they are written.
const MAX_COLLECTED_BYTES: usize = 16 * 1024;

/// The last chunk of a body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Who takes over the connection, once the head of its response has been sent. Clones belong to the same connection.
#[derive(Clone, Default)]
pub(super) struct Handover(Arc<Mutex<Option<Taker>>>);

type Taker = oneshot::Sender<Connection>;

impl Handover {
    /// If a response is a stream, replaces its body so that a task of its own sends the body.
    pub(super) fn of_stream(
        &self,
        mut response: hyper::Response<Body>,
        version: Version,
        tasks: &TaskTracker,
    ) -> hyper::Response<Body> {
        if response.extensions().get::<IsStream>().is_none() {
            return response;
        }
        // The connection does not return to hyper, so the client cannot send another request over it.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let (taker, taken) = oneshot::channel();
        let offer = Body::new(Offer { taker: Some(taker), handover: self.clone() });
        let body = std::mem::replace(response.body_mut(), offer);
        // hyper announces the same encoding in the head.
        let is_chunked = version == Version::HTTP_11;
        tasks.spawn(async move {
            // This fails if the client is gone, or if the request was a HEAD.
            let Ok(mut connection) = taken.await else { return };
            // An error is ignored, because a broken connection is not a fault of the pod.
            let _ = send(&mut connection, body, is_chunked).await;
            let _ = connection.shutdown().await;
        });
        response
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Taker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a body until it ends or the client is gone. Whatever the client sends is ignored.
async fn send(connection: &mut Connection, mut body: Body, is_chunked: bool) -> io::Result<()> {
    let mut ignored = [0; 64];
    loop {
        let mut next = tokio::select! {
            frame = body.frame() => frame,
            read = connection.read(&mut ignored) => match read? {
                0 => return Ok(()),
                _ => continue,
            },
        };
        // Events that are there at the same time are written in one piece.
        let mut bytes = Vec::new();
        let is_over = loop {
            let Some(frame) = next else { break true };
            append(&mut bytes, &frame?.into_data().unwrap_or_default(), is_chunked);
            let more = if bytes.len() < MAX_COLLECTED_BYTES { body.frame().now_or_never() } else { None };
            let Some(frame) = more else { break false };
            next = frame;
        };
        if is_over && is_chunked {
            bytes.extend_from_slice(LAST_CHUNK);
        }
        connection.write_all(&bytes).await?;
        if is_over {
            return Ok(());
        }
    }
}

/// Adds a piece of a body in the encoding of the response.
fn append(bytes: &mut Vec<u8>, data: &[u8], is_chunked: bool) {
    if !is_chunked {
        bytes.extend_from_slice(data);
    } else if !data.is_empty() {
        // An empty chunk would end the body.
        bytes.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// The body that hyper gets instead of the one of a stream. hyper polls it after it has written the head to its buffer.
struct Offer {
    taker: Option<Taker>,
    handover: Handover,
}

impl hyper::body::Body for Offer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(taker) = self.taker.take() {
            *self.handover.slot() = Some(taker);
        }
        Poll::Pending
    }
}

/// The connection that hyper uses until it is taken over.
pub(super) struct Lent {
    connection: Option<Connection>,
    handover: Handover,
}

impl Lent {
    pub(super) fn new(connection: Connection, handover: Handover) -> Self {
        Self { connection: Some(connection), handover }
    }

    fn connection(&mut self) -> io::Result<Pin<&mut Connection>> {
        self.connection.as_mut().map(Pin::new).ok_or(io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection()?.poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    /// hyper flushes the connection when its own buffer is empty. So if a task waits to take the connection over, the
    /// head has been sent.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.connection()?.poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            let taker = self.handover.slot().take();
            if let Some(taker) = taker
                && let Some(connection) = self.connection.take()
            {
                // This cannot fail, because the taker waits until it has the connection.
                let _ = taker.send(connection);
                // hyper's next call fails, and then hyper forgets the connection.
                context.waker().wake_by_ref();
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection()?.poll_shutdown(context)
    }
}

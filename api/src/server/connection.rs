//! One connection. It counts as open until it is dropped and not only until its request ends, because a WebSocket
//! remains open after the end of the request that opened it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use prometheus::IntGauge;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_io_timeout::TimeoutStream;

/// A client is disconnected if it reads nothing for this long although there is something to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The size of the kernel's send buffer. By default the buffer grows to 4 MB. A stream takes hours to fill that much,
/// and until then the pod would not notice that a client has stopped reading.
const SEND_BUFFER_BYTES: usize = 64 * 1_024;

/// An open connection.
pub(super) struct Connection {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    open: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, open: IntGauge, place: OwnedSemaphorePermit) -> Self {
        // Responses are written in one piece, so waiting to fill packets would only delay them.
        let _ = stream.set_nodelay(true);
        let socket = SockRef::from(&stream);
        let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
        // With this timeout, the kernel also closes the connection if the client is gone, or does not read what is in
        // the buffer.
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        open.inc();
        Self { stream: Box::pin(stream), open, _place: place }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}

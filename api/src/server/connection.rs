//! One connection. A connection counts as open until the [`Connection`] is dropped. It would be wrong to count it only
//! until its request ends, because a WebSocket remains open after the request that opened it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::head::Heads;
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

/// How much a connection may write until the other connections have had their turn. A client that reads as fast as the pod
/// writes could otherwise hold up a thread for as long as a large response takes.
const TURN_BYTES: usize = SEND_BUFFER_BYTES;

/// An open connection.
pub(super) struct Connection {
    heads: Heads,
    /// How many bytes were written in this turn.
    written: usize,
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
        Self { heads: Heads::default(), written: 0, stream: Box::pin(stream), open, _place: place }
    }
}

impl Connection {
    /// Writes at most as much as is left of this turn.
    fn poll_turn(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = bytes.get(..TURN_BYTES.saturating_sub(self.written)).unwrap_or(bytes);
        let written = self.stream.as_mut().poll_write(context, bytes);
        self.count(written)
    }

    /// If this turn is over, lets the other connections go on.
    fn poll_next_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.written < TURN_BYTES {
            return Poll::Ready(());
        }
        self.written = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.written += bytes;
        }
        written
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
        let before = buffer.filled().len();
        ready!(self.stream.as_mut().poll_read(context, buffer))?;
        self.heads.check(buffer.filled_mut().get_mut(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_next_turn(context));
        self.poll_turn(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_next_turn(context));
        match parts.iter().find(|part| !part.is_empty()) {
            Some(long) if parts.iter().map(|part| part.len()).sum::<usize>() > TURN_BYTES - self.written => {
                self.poll_turn(context, long)
            }
            _ => {
                let written = self.stream.as_mut().poll_write_vectored(context, parts);
                self.count(written)
            }
        }
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

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, sync::Arc};

    use futures::task::noop_waker_ref;
    use tokio::{io::AsyncReadExt, net::TcpListener, sync::Semaphore};

    use super::*;

    #[tokio::test]
    async fn a_connection_lets_the_others_go_on_although_its_client_reads_as_fast_as_it_writes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let open = IntGauge::new("open", "open").unwrap();
        let mut connection = pin!(Connection::new(stream, open, place));
        let reading = tokio::spawn(async move { client.read_to_end(&mut Vec::new()).await.unwrap() });
        let body = vec![0; 2 * TURN_BYTES];
        let mut sent = 0;
        for turn in 1..=4 {
            while sent < turn * TURN_BYTES {
                let (head, body) = (IoSlice::new(b"head"), IoSlice::new(&body));
                sent += poll_fn(|context| connection.as_mut().poll_write_vectored(context, &[head, body]))
                    .await
                    .unwrap();
            }
            assert_eq!(sent, turn * TURN_BYTES);
            let mut context = Context::from_waker(noop_waker_ref());
            assert!(connection.as_mut().poll_write(&mut context, b"x").is_pending(), "the turn is over");
        }
        reading.abort();
    }
}

//! Hostile clients, as plain sockets.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::LazyLock,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinSet,
};

/// The receive buffer of a client that does not read. The kernel rounds it up.
const SMALL_BUFFER: u32 = 4_096;

/// The pause of a client that was refused, so that refusals alone do not keep the machine busy.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// A key for the handshake of WebSockets.
const WEB_SOCKET: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Hostile clients are usually on other machines. So their threads only get the CPU time that no other thread needs, and what
/// the polite clients wait for is the server.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let yields = || {
        let _priority = rustix::process::nice(LOWEST_PRIORITY);
    };
    Builder::new_multi_thread().worker_threads(2).on_thread_start(yields).enable_all().build()
});

const LOWEST_PRIORITY: i32 = 19;

/// Shapes of requests that are wrong, unfinished or ambiguous.
pub const SHAPES: [&[u8]; 12] = [
    b"",
    b"G",
    b"GET / HTTP/1.1\r\nhost: a\r\nx",
    b"GET /v1/prices HTTP/1.1\nhost: a\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /v1/prices HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"POST /v1/tickets HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/tickets HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST /v1/tickets HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /v1/prices/%00%ff%2e%2e HTTP/1.1\r\nhost: a\r\n\r\n",
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
];

/// The loopback address of a client. Different numbers are different clients for the rate limit.
#[must_use]
pub fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// A request without a body, after which the connection stays open.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    request(path, "")
}

/// A request without a body, after which the server closes the connection.
#[must_use]
pub fn get_once(path: &str) -> Vec<u8> {
    request(path, "connection: close\r\n")
}

/// The handshake of a WebSocket.
#[must_use]
pub fn upgrade(path: &str) -> Vec<u8> {
    request(path, WEB_SOCKET)
}

fn request(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: hostile\r\n{headers}\r\n").into_bytes()
}

/// Connects as a client, and sends bytes. If it `stalls`, its receive buffer is small, and the caller must not read.
///
/// # Errors
///
/// Fails if the server is not reached or closes the connection.
pub async fn send(server: SocketAddr, client: Ipv4Addr, bytes: &[u8], stalls: bool) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if stalls {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    socket.bind(SocketAddrV4::new(client, 0).into())?;
    let mut stream = socket.connect(server).await?;
    stream.write_all(bytes).await?;
    Ok(stream)
}

/// Repeats a request of [`get_once`] on new connections until it is aborted, and reads what comes.
pub fn repeat(tasks: &mut JoinSet<()>, server: SocketAddr, client: Ipv4Addr, request: Vec<u8>) {
    spawn(tasks, async move {
        let mut buffer = vec![0; 64 * 1_024];
        loop {
            let Ok(mut stream) = send(server, client, &request, false).await else {
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            };
            let first = stream.read(&mut buffer).await.unwrap_or_default();
            let is_found = buffer.get(..first).is_some_and(|head| head.starts_with(b"HTTP/1.1 200"));
            while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
            if !is_found {
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    });
}

/// Sends a byte of a request's head at a time until it is aborted, on new connections when the server closes one.
pub fn trickle(tasks: &mut JoinSet<()>, server: SocketAddr, client: Ipv4Addr) {
    spawn(tasks, async move {
        loop {
            if let Ok(mut stream) = send(server, client, b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ", true).await
            {
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    });
}

/// Reads from a stream until it is aborted.
pub fn read(tasks: &mut JoinSet<()>, mut stream: TcpStream) {
    spawn(tasks, async move {
        let mut buffer = vec![0; 16 * 1_024];
        while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
    });
}

fn spawn(tasks: &mut JoinSet<()>, client: impl Future<Output = ()> + Send + 'static) {
    match &*RUNTIME {
        Ok(runtime) => tasks.spawn_on(client, runtime.handle()),
        Err(_) => tasks.spawn(client),
    };
}

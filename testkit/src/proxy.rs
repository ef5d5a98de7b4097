//! A proxy that speaks HTTP (forwarding and CONNECT) and SOCKS5 on one port.
//!
//! It connects every request to one server, whatever the name of the requested host. Tests use names that do not exist, so a
//! request that did not go through the proxy fails.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The maximum length of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The first byte of a SOCKS5 client.
const SOCKS5: u8 = 5;

/// The number of the SOCKS5 authentication method with user and password (RFC 1929).
const WITH_PASSWORD: u8 = 2;

/// How a client used the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// An HTTP request that the proxy forwards.
    Forward,
    /// An HTTP tunnel.
    Connect,
    /// A SOCKS5 connection.
    Socks5,
}

/// One request or connection through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied {
    /// How the client used the proxy.
    pub protocol: Protocol,
    /// The requested host, without its port.
    pub host: String,
    /// What the client sent as `Proxy-Authorization`, or `user:password` of a SOCKS5 client.
    pub credentials: Option<String>,
}

/// A running proxy. Dropping it stops the proxy.
#[derive(Debug)]
pub struct FakeProxy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Proxied>>>,
    accepting: JoinHandle<()>,
}

impl FakeProxy {
    /// Starts a proxy that connects everything to `server`.
    ///
    /// # Errors
    ///
    /// Fails if no port can be bound.
    pub async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("proxy: bind")?;
        let address = listener.local_addr()?;
        let seen: Arc<Mutex<Vec<Proxied>>> = Arc::default();
        let log = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    // Ignore clients that disconnect or speak another protocol.
                    let _broken_off = serve(client, server, &log).await;
                });
            }
        });
        Ok(Self { address, seen, accepting })
    }

    /// The proxy's address, `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has gone through the proxy so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Proxied> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, log: &Mutex<Vec<Proxied>>) -> anyhow::Result<()> {
    let mut first = [0];
    client.peek(&mut first).await?;
    if first == [SOCKS5] {
        let proxied = greet(&mut client).await?;
        record(log, proxied);
        return tunnel(client, server).await;
    }
    while let Some((proxied, request)) = next_request(&mut client).await? {
        let is_tunnel = proxied.protocol == Protocol::Connect;
        record(log, proxied);
        if is_tunnel {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            return tunnel(client, server).await;
        }
        // One connection to the server per request, so that the response ends with the connection.
        let mut upstream = TcpStream::connect(server).await?;
        upstream.write_all(request.as_bytes()).await?;
        tokio::io::copy(&mut upstream, &mut client).await?;
    }
    Ok(())
}

fn record(log: &Mutex<Vec<Proxied>>, proxied: Proxied) {
    log.lock().unwrap_or_else(PoisonError::into_inner).push(proxied);
}

async fn tunnel(mut client: TcpStream, server: SocketAddr) -> anyhow::Result<()> {
    let mut upstream = TcpStream::connect(server).await?;
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}

/// Reads the head of the next HTTP request, and rewrites it for the server. `None` if the client closed the connection.
async fn next_request(client: &mut TcpStream) -> anyhow::Result<Option<(Proxied, String)>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < MAX_HEAD_BYTES, "the head is too long");
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return Ok(None),
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(&head)?;
    let (Some(method), Some(target)) = (request.method, request.path) else { bail!("no request line") };
    let target: http::Uri = target.parse()?;
    let credentials =
        request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("proxy-authorization"));
    let proxied = Proxied {
        protocol: if method == "CONNECT" { Protocol::Connect } else { Protocol::Forward },
        host: target.host().context("a request to the proxy itself")?.to_owned(),
        credentials: credentials.map(|header| String::from_utf8_lossy(header.value).into_owned()),
    };
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let mut rewritten = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    let is_for_proxy = |name: &str| name.to_ascii_lowercase().starts_with("proxy-");
    for header in request.headers.iter().filter(|header| !is_for_proxy(header.name)) {
        rewritten.push_str(&format!("{}: {}\r\n", header.name, String::from_utf8_lossy(header.value)));
    }
    rewritten.push_str("\r\n");
    Ok(Some((proxied, rewritten)))
}

/// Plays the server's part of a SOCKS5 handshake (RFC 1928).
async fn greet(client: &mut TcpStream) -> anyhow::Result<Proxied> {
    ensure!(client.read_u8().await? == SOCKS5, "another version of SOCKS");
    let methods = read(client).await?;
    let method = if methods.contains(&WITH_PASSWORD) { WITH_PASSWORD } else { 0 };
    client.write_all(&[SOCKS5, method]).await?;
    let mut credentials = None;
    if method == WITH_PASSWORD {
        client.read_u8().await?;
        let (user, password) = (read(client).await?, read(client).await?);
        credentials =
            Some(format!("{}:{}", String::from_utf8_lossy(&user), String::from_utf8_lossy(&password)));
        client.write_all(&[1, 0]).await?;
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request {
        [SOCKS5, 1, 0, 3] => String::from_utf8(read(client).await?)?,
        [SOCKS5, 1, 0, 1] => std::net::Ipv4Addr::from(client.read_u32().await?).to_string(),
        [SOCKS5, 1, 0, 4] => std::net::Ipv6Addr::from(client.read_u128().await?).to_string(),
        other => bail!("an unknown request: {other:?}"),
    };
    client.read_u16().await?;
    client.write_all(&[SOCKS5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(Proxied { protocol: Protocol::Socks5, host, credentials })
}

/// Reads a length and as many bytes.
async fn read(client: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

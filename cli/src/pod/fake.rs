//! A fake pod for tests. A closure decides how it responds.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A response: status, header lines, body.
pub(crate) type FakeResponse = (u16, String, String);

/// Starts a fake pod that runs until the test ends, and returns its address.
pub(crate) async fn start(response_to: impl Fn(&str) -> FakeResponse + Send + Sync + 'static) -> String {
    // Fails if another test has already installed a TLS provider, which is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let response_to = Arc::new(response_to);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(respond(stream, response_to.clone()));
        }
    });
    url
}

async fn respond(mut stream: TcpStream, response_to: Arc<impl Fn(&str) -> FakeResponse>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let target = request.split(' ').nth(1).unwrap();
    let (status, headers, body) = response_to(target);
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    let _ = stream.write_all(text.as_bytes()).await;
}

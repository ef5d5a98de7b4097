//! A fake pod for tests. A closure decides how it responds.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A response: status, header lines, body.
pub(crate) type Said = (u16, String, String);

/// Starts a fake pod that runs until the test ends, and returns its address.
pub(crate) async fn start(say: impl Fn(&str) -> Said + Send + Sync + 'static) -> String {
    // Fails if another test has already installed it, which is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let say = Arc::new(say);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(respond(stream, say.clone()));
        }
    });
    url
}

async fn respond(mut stream: TcpStream, say: Arc<impl Fn(&str) -> Said>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let target = request.split(' ').nth(1).unwrap();
    let (status, headers, body) = say(target);
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    let _ = stream.write_all(text.as_bytes()).await;
}

//! A pod of a few lines for tests: it answers what it is told to.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What it says: status, headers as lines of their own, body.
pub(crate) type Said = (u16, String, String);

/// Starts one. Answers its address. It ends with the test.
pub(crate) async fn start(say: impl Fn(&str) -> Said + Send + Sync + 'static) -> String {
    // A second installation fails, and is as good as the first.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let say = Arc::new(say);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, say.clone()));
        }
    });
    url
}

async fn answer(mut stream: TcpStream, say: Arc<impl Fn(&str) -> Said>) {
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

//! Tests of starting, killing, restarting and dropping a server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const STREAM: &str = r#"{"name":"KEPT","subjects":["kept"],"storage":"file"}"#;

/// Sends one request in the NATS protocol and returns the reply's JSON.
async fn ask(server: &NatsServer, subject: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    let length = body.len();
    let text =
        format!("CONNECT {{\"verbose\":false}}\r\nSUB reply 1\r\nPUB {subject} reply {length}\r\n{body}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut received = String::new();
    loop {
        let message = received.split_once("\r\nMSG ").and_then(|(_, rest)| rest.split_once("\r\n"));
        if let Some((json, _)) = message.and_then(|(_, rest)| rest.split_once("\r\n")) {
            return serde_json::from_str(json).unwrap();
        }
        let mut chunk = [0; 4_096];
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the server hung up after: {received}");
        received.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
    }
}

#[tokio::test]
async fn a_killed_server_restarts_on_its_port_with_its_store() {
    require_nats!();
    let mut server = NatsServer::start().await.unwrap();
    let url = server.url();
    let created = ask(&server, "$JS.API.STREAM.CREATE.KEPT", STREAM).await;
    assert_eq!(created["config"]["name"], "KEPT", "{created}");
    assert_eq!(ask(&server, "kept", "precious").await["seq"], 1);

    server.kill();
    assert!(!is_ready(server.port).await);
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    let info = ask(&server, "$JS.API.STREAM.INFO.KEPT", "").await;
    assert_eq!(info["state"]["messages"], 1, "{info}");

    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
}

#[tokio::test]
async fn servers_are_independent_of_each_other() {
    require_nats!();
    let (one, other) = (NatsServer::start().await.unwrap(), NatsServer::start().await.unwrap());
    assert_ne!(one.url(), other.url());
    ask(&one, "$JS.API.STREAM.CREATE.KEPT", STREAM).await;
    assert_eq!(ask(&other, "$JS.API.STREAM.NAMES", "").await["total"], 0);
}

#[tokio::test]
async fn dropping_it_ends_the_process_and_removes_the_store() {
    require_nats!();
    let server = NatsServer::start().await.unwrap();
    let (port, folder) = (server.port, server.folder.path().to_path_buf());
    assert!(folder.join("store").is_dir());
    drop(server);
    assert!(!is_ready(port).await);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_server_that_does_not_start_fails_with_its_log() {
    require_nats!();
    let mut server = NatsServer::start().await.unwrap();
    server.kill();
    let _occupied = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, server.port)).unwrap();
    let error = format!("{:#}", server.restart().await.unwrap_err());
    assert!(error.contains("address already in use"), "{error}");
}

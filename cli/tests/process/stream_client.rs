//! A client of the event streams that can disconnect after any byte.

use std::collections::VecDeque;

use futures::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
};

/// How events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Sse,
    Lines,
    Socket,
}

/// An open stream.
pub(crate) struct Stream {
    connection: Connection,
    /// Bytes of an incomplete event.
    rest: Vec<u8>,
    heard: VecDeque<Heard>,
    /// The number of bytes to read before disconnecting.
    budget: usize,
}

enum Connection {
    Http(reqwest::Response, Transport),
    Socket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

/// A complete item of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    /// A tick or a gap, as JSON.
    Event(Value),
    /// A heartbeat.
    Heartbeat,
    /// The pod ends the stream, for this reason.
    Farewell(String),
}

/// Why a stream could not be opened.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The pod could not be reached.
    Away,
    /// The pod refused, with this status and code.
    Refused(u16, String),
}

impl Stream {
    /// Opens a stream. `query` is everything after the question mark of the URL.
    pub(crate) async fn open(
        url: &str,
        transport: Transport,
        query: &str,
        last: Option<&str>,
    ) -> Result<Self, Refusal> {
        let connection = match transport {
            Transport::Socket => {
                let after = last.map(|last| format!("&after={last}")).unwrap_or_default();
                let url = format!("{}/v1/ws?{query}{after}", url.replace("http://", "ws://"));
                match connect_async(url).await {
                    Ok((socket, _)) => Connection::Socket(Box::new(socket)),
                    Err(Error::Http(response)) => {
                        let body = response.body().as_deref().unwrap_or_default();
                        return Err(refused(response.status().as_u16(), body));
                    }
                    Err(_) => return Err(Refusal::Away),
                }
            }
            Transport::Sse | Transport::Lines => {
                let format = if transport == Transport::Sse { "sse" } else { "ndjson" };
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                let mut request = client.get(format!("{url}/v1/stream?format={format}&{query}"));
                if let Some(last) = last {
                    request = request.header("Last-Event-ID", last);
                }
                let response = request.send().await.map_err(|_| Refusal::Away)?;
                let status = response.status().as_u16();
                if status != 200 {
                    return Err(refused(status, &response.bytes().await.map_err(|_| Refusal::Away)?));
                }
                Connection::Http(response, transport)
            }
        };
        Ok(Self { connection, rest: Vec::new(), heard: VecDeque::new(), budget: usize::MAX })
    }

    /// Makes the client disconnect after this many bytes.
    pub(crate) fn cut_after(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    /// The next item, or `None` once the stream has ended or the client has disconnected.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Some(heard);
            }
            if self.budget == 0 {
                return None;
            }
            match &mut self.connection {
                Connection::Http(response, transport) => {
                    let chunk = response.chunk().await.ok()??;
                    let taken = chunk.len().min(self.budget);
                    self.budget -= taken;
                    self.rest.extend_from_slice(&chunk[..taken]);
                    let transport = *transport;
                    self.parse(transport);
                }
                Connection::Socket(socket) => {
                    let heard = match socket.next().await?.ok()? {
                        Message::Text(text) if text.len() > self.budget => return None,
                        Message::Text(text) => {
                            self.budget -= text.len();
                            Heard::Event(serde_json::from_str(&text).unwrap())
                        }
                        Message::Close(why) => {
                            Heard::Farewell(why.map(|why| why.reason.to_string()).unwrap_or_default())
                        }
                        _ => Heard::Heartbeat,
                    };
                    return Some(heard);
                }
            }
        }
    }

    /// Extracts the complete events from the received bytes.
    fn parse(&mut self, transport: Transport) {
        let end: &[u8] = if transport == Transport::Sse { b"\n\n" } else { b"\n" };
        while let Some(at) = self.rest.windows(end.len()).position(|bytes| bytes == end) {
            let block: Vec<u8> = self.rest.drain(..at + end.len()).collect();
            let block = String::from_utf8(block).unwrap();
            self.heard.extend(match transport {
                Transport::Sse => server_sent(block.trim_end()),
                _ if block.trim().is_empty() => Some(Heard::Heartbeat),
                _ => Some(line(&block)),
            });
        }
    }
}

fn line(block: &str) -> Heard {
    let event: Value = serde_json::from_str(block).unwrap();
    match event["kind"].as_str() {
        Some("end") => Heard::Farewell(event["code"].as_str().unwrap().to_owned()),
        _ => Heard::Event(event),
    }
}

fn server_sent(block: &str) -> Option<Heard> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if block.starts_with(": ") {
        return Some(Heard::Heartbeat);
    }
    // The only block without data is the retry interval.
    let data: Value = serde_json::from_str(field("data")?).unwrap();
    if field("event") == Some("end") {
        return Some(Heard::Farewell(data["code"].as_str().unwrap().to_owned()));
    }
    assert_eq!((field("id"), field("event")), (data["id"].as_str(), data["kind"].as_str()), "{block}");
    Some(Heard::Event(data))
}

fn refused(status: u16, body: &[u8]) -> Refusal {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    Refusal::Refused(status, problem["code"].as_str().unwrap_or_default().to_owned())
}

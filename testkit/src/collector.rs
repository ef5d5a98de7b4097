//! A small OpenTelemetry collector: it receives spans and log lines over OTLP with HTTP and protobuf, and keeps them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, ensure};
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span as SentSpan, status::StatusCode},
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The largest request that is read. A batch has at most 512 spans of less than a kilobyte.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The maximum number of header fields.
const MAX_HEADERS: usize = 64;

/// A running collector. Dropping it stops it.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    accepting: JoinHandle<()>,
}

/// How a collector treats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// It accepts everything.
    #[default]
    Accepts,
    /// It responds with an error for which the client is not meant to retry.
    Refuses,
    /// It reads requests and never responds.
    Hangs,
}

/// A span as it was received. Ids are in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The name of the process that sent it.
    pub service: String,
    /// The name.
    pub name: String,
    /// The trace.
    pub trace: String,
    /// The id.
    pub id: String,
    /// The id of the parent, which may be in another process. Empty if there is none.
    pub parent: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: String,
    /// The trace and id of each linked span.
    pub links: Vec<(String, String)>,
    /// The attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether the span failed.
    pub is_error: bool,
    /// How long the span lasted, in nanoseconds.
    pub nanos: u64,
}

/// A log line as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The name of the process that sent it.
    pub service: String,
    /// The message.
    pub text: String,
    /// The trace in lower-case hex. Empty if the line belongs to none.
    pub trace: String,
    /// The fields, as text.
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Received {
    manner: Manner,
    requests: usize,
    headers: BTreeMap<String, String>,
    resources: Vec<BTreeMap<String, String>>,
    spans: Vec<Span>,
    lines: Vec<Line>,
}

impl Collector {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// Fails if no port can be bound.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("collector: bind")?;
        let address = listener.local_addr().context("collector: local address")?;
        let received = Arc::<Mutex<Received>>::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&received)));
        Ok(Self { address, received, accepting })
    }

    /// The address, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how requests are treated from now on.
    pub fn set_manner(&self, manner: Manner) {
        lock(&self.received).manner = manner;
    }

    /// How many requests have arrived, whether or not they were accepted.
    #[must_use]
    pub fn requests(&self) -> usize {
        lock(&self.received).requests
    }

    /// A header of the newest request. The name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        lock(&self.received).headers.get(name).cloned()
    }

    /// The attributes of the processes that have sent something, one entry per request.
    #[must_use]
    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        lock(&self.received).resources.clone()
    }

    /// All spans, in the order in which they were received.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.received).spans.clone()
    }

    /// All log lines, in the order in which they were received.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.received).lines.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Received {
    /// Handles a request. Returns the status of the response.
    fn receive(&mut self, path: &str, body: &[u8]) -> anyhow::Result<u16> {
        self.requests += 1;
        match (self.manner, path) {
            (Manner::Refuses, _) => return Ok(400),
            (Manner::Hangs, _) => {}
            (_, "/v1/traces") => {
                for group in ExportTraceServiceRequest::decode(body)?.resource_spans {
                    let resource = attributes(&group.resource.unwrap_or_default().attributes);
                    let service = service(&resource);
                    let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
                    self.spans.extend(spans.map(|span| Span::of(service.clone(), &span)));
                    self.resources.push(resource);
                }
            }
            (_, "/v1/logs") => {
                for group in ExportLogsServiceRequest::decode(body)?.resource_logs {
                    let service = service(&attributes(&group.resource.unwrap_or_default().attributes));
                    let records = group.scope_logs.into_iter().flat_map(|scope| scope.log_records);
                    self.lines.extend(records.map(|record| Line {
                        service: service.clone(),
                        text: record.body.as_ref().map(text).unwrap_or_default(),
                        trace: hex(&record.trace_id),
                        attributes: attributes(&record.attributes),
                    }));
                }
            }
            _ => return Ok(404),
        }
        Ok(200)
    }
}

impl Span {
    fn of(service: String, span: &SentSpan) -> Self {
        let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
        let kind = usize::try_from(span.kind).ok().and_then(|kind| kinds.get(kind));
        Self {
            service,
            name: span.name.clone(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            kind: kind.copied().unwrap_or("unknown").to_owned(),
            links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
            attributes: attributes(&span.attributes),
            is_error: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
            nanos: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        }
    }
}

fn service(resource: &BTreeMap<String, String>) -> String {
    resource.get("service.name").cloned().unwrap_or_default()
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |attribute: &KeyValue| attribute.value.as_ref().map(text).unwrap_or_default();
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, received: Arc<Mutex<Received>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Accepting fails if the client has already disconnected. Nothing has to be done then.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&received)));
                }
            }
            Some(_finished) = connections.join_next() => {}
        }
    }
}

/// Handles the requests of one connection, until it ends or something is wrong with a request.
async fn converse(mut stream: TcpStream, received: Arc<Mutex<Received>>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let Some((path, headers, head, body)) = parse(&bytes)? else {
            ensure!(bytes.len() < MAX_REQUEST_BYTES, "the request is too large");
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let (status, manner) = {
            let mut received = lock(&received);
            received.headers = headers;
            (received.receive(&path, bytes.get(head..head + body).unwrap_or_default())?, received.manner)
        };
        if manner == Manner::Hangs {
            std::future::pending::<()>().await;
        }
        bytes.drain(..head + body);
        let response = format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(response.as_bytes()).await?;
    }
}

type Request = (String, BTreeMap<String, String>, usize, usize);

/// The path and headers of the first request, and the lengths of its head and body. `None` if it is not complete yet.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Request>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head) = request.parse(bytes)? else { return Ok(None) };
    let value = |field: &httparse::Header<'_>| String::from_utf8_lossy(field.value).into_owned();
    let headers: BTreeMap<_, _> =
        request.headers.iter().map(|field| (field.name.to_lowercase(), value(field))).collect();
    let body = headers.get("content-length").context("a request without a length")?.parse()?;
    let path = request.path.unwrap_or_default().to_owned();
    Ok((bytes.len() >= head + body).then_some((path, headers, head, body)))
}

//! Caching: how long responses may be cached, and their `ETag`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Body as _;
use poem::{Body, Endpoint, IntoResponse, Request, Response, Result};
use sha2::{Digest, Sha256};

use super::Body as SentBody;
use crate::routes::{ICON, Lifetime, PAGE, PAGE_FILES, State, coingecko::is_of_dialect};
use ledger::snapshot::Snapshot;

/// How long a response about closed history may be cached. History is closed if no future record can change it. The
/// time is limited, because caches must drop a response some time after the retention of its records has ended.
const CLOSED_SECONDS: u64 = 86_400;

/// The prefix of the routes whose responses depend on the log. Those of the page and of CoinGecko's dialect, which have
/// other paths, depend on the log too.
const LOG_ROUTES: &str = "/v1/";

/// The routes whose responses change only with the version of a pod. They may be cached but must be revalidated,
/// except for the page's files, whose names change with their content.
const DOCUMENTS: [&str; 5] = ["/docs", "/openapi.json", "/asyncapi.yaml", PAGE_FILES, ICON];

/// Whether a path is that of a document, or is below it.
pub(super) fn is_document(path: &str) -> bool {
    DOCUMENTS.iter().any(|document| {
        path.strip_prefix(document).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Who may cache responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Any cache.
    Everybody,
    /// Only caches that are not shared with other clients.
    KeyHolders,
}

impl Audience {
    fn word(self) -> &'static str {
        match self {
            Self::Everybody => "public",
            Self::KeyHolders => "private",
        }
    }
}

/// Adds `Cache-Control` and `ETag`, and returns 304 if the client already has the current response.
pub(super) async fn add_cache_headers<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    state: Arc<State>,
    audience: Audience,
) -> Result<Response> {
    let path = request.uri().path();
    let is_of_log = path == PAGE || path.starts_with(LOG_ROUTES) || is_of_dialect(path);
    let is_document = is_document(path);
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let snapshot = request.data::<Arc<Snapshot>>().cloned();
    let lifetime = Lifetime::default();
    request.set_data(lifetime.clone());

    let mut response = next.call(request).await?.into_response();
    if response.status() != StatusCode::OK || !(is_of_log || is_document) {
        return Ok(response);
    }
    let Some(body) = whole(&mut response).await else { return Ok(response) };
    let cache_control = match snapshot.filter(|_| is_of_log) {
        _ if lifetime.is_closed() => format!("{}, max-age={CLOSED_SECONDS}, immutable", audience.word()),
        Some(snapshot) => {
            let seconds = lifetime.limit(state.time_to_live(&snapshot)).as_secs();
            format!("{}, max-age={seconds}, must-revalidate", audience.word())
        }
        None => "no-cache".to_owned(),
    };
    let tag = Tag::of(&body, response.headers().get(header::CONTENT_TYPE));
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(value(&cache_control));
    match tag.found_in(&known) {
        Some(as_known) => {
            headers.insert(header::ETAG, value(&as_known));
            headers.remove(header::CONTENT_TYPE);
            response.set_status(StatusCode::NOT_MODIFIED);
        }
        None => {
            headers.insert(header::ETAG, value(&tag.0));
            response.set_body(body);
        }
    }
    Ok(response)
}

/// Takes the whole body out of the response. If the body is a stream, it stays in the response and the result is
/// `None`, because a stream does not end and cannot be cached.
async fn whole(response: &mut Response) -> Option<Bytes> {
    length(response)?;
    // The body is already in memory, so this neither waits nor fails.
    response.take_body().into_bytes().await.ok()
}

/// The length of a body in bytes, or `None` if it is a stream.
pub(super) fn length(response: &mut Response) -> Option<u64> {
    let body = SentBody::from(response.take_body());
    let length = body.size_hint().exact();
    response.set_body(Body::from(body));
    length
}

/// Makes the tag weak. This is needed if the bytes that are sent are not the ones that the tag was computed from, for
/// example because they are compressed.
pub(super) fn weaken(headers: &mut HeaderMap) {
    let strong = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let weak = strong.filter(|tag| !tag.starts_with(WEAK)).map(|tag| value(&format!("{WEAK}{tag}")));
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}

/// The prefix of a weak tag. A weak tag identifies the content, but not the exact bytes.
const WEAK: &str = "W/";

/// The tag of a body and its content type: the first 128 bits of their SHA-256. Tags only have to be unique among the
/// responses of one URL. Among 10¹⁵ responses, the chance of a collision is below 10⁻⁸.
struct Tag(String);

impl Tag {
    fn of(body: &[u8], representation: Option<&HeaderValue>) -> Self {
        let mut digest = Sha256::new();
        digest.update(body);
        digest.update(representation.map_or(&[][..], HeaderValue::as_bytes));
        let digest = digest.finalize();
        let number = u128::from_be_bytes(digest.first_chunk().copied().unwrap_or_default());
        Self(format!("\"{number:032x}\""))
    }

    /// Returns this tag as the client wrote it, if the client sent it. The weak form matches too, because a client that
    /// has a compressed response sends the weak form.
    fn found_in(&self, known: &[HeaderValue]) -> Option<String> {
        let texts = known.iter().filter_map(|list| list.to_str().ok());
        let mut tags = texts.flat_map(|list| list.split(',').map(str::trim));
        let found = tags.find(|tag| *tag == "*" || tag.strip_prefix(WEAK).unwrap_or(tag) == self.0)?;
        Some(if found == "*" { self.0.clone() } else { found.to_owned() })
    }
}

fn value(text: &str) -> HeaderValue {
    // This cannot fail, because our own words and digits are valid in a header.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

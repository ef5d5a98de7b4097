//! What caches are told: how long an answer holds, and the tag by which one that is held already is known again.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Body as _;
use poem::{Body, Endpoint, IntoResponse, Request, Response, Result};
use sha2::{Digest, Sha256};

use super::Body as SentBody;
use crate::routes::{ICON, Lifetime, PAGE, PAGE_FILES, State};
use ledger::snapshot::Snapshot;

/// How long closed history may be held before it is asked for again. It never changes; but it is no longer told
/// once it is past retention.
const CLOSED_SECONDS: u64 = 86_400;

/// The answers of the log, and beside them the page, which has some of their numbers.
const LOG_ROUTES: &str = "/v1/";

/// What changes with the version of a pod alone. It may be held, and is asked for again each time, but for the files
/// that are named after what is in them.
const DOCUMENTS: [&str; 5] = ["/docs", "/openapi.json", "/asyncapi.yaml", PAGE_FILES, ICON];

/// Whether something is a document, or a part of one.
pub(super) fn is_document(path: &str) -> bool {
    DOCUMENTS.iter().any(|document| {
        path.strip_prefix(document).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Who may hold answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Any cache.
    Everybody,
    /// A client's own cache, and none that it shares with others.
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

/// Says how long an answer holds, and answers 304 to whoever has it already.
pub(super) async fn tagged<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    state: Arc<State>,
    audience: Audience,
) -> Result<Response> {
    let path = request.uri().path();
    let is_of_log = path == PAGE || path.starts_with(LOG_ROUTES);
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
    let held = match snapshot.filter(|_| is_of_log) {
        _ if lifetime.is_closed() => format!("{}, max-age={CLOSED_SECONDS}, immutable", audience.word()),
        Some(snapshot) => {
            let seconds = lifetime.limit(state.holds(&snapshot)).as_secs();
            format!("{}, max-age={seconds}, must-revalidate", audience.word())
        }
        None => "no-cache".to_owned(),
    };
    let tag = Tag::of(&body, response.headers().get(header::CONTENT_TYPE));
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(value(&held));
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

/// The whole body, where it is not a stream: that has no end to wait for, and nothing that could be held. It is left
/// where it is.
async fn whole(response: &mut Response) -> Option<Bytes> {
    length(response)?;
    // It is in memory already: there is nothing to wait for, and nothing that can fail.
    response.take_body().into_bytes().await.ok()
}

/// How many bytes a body has; nothing where it is a stream.
pub(super) fn length(response: &mut Response) -> Option<u64> {
    let body = SentBody::from(response.take_body());
    let length = body.size_hint().exact();
    response.set_body(Body::from(body));
    length
}

/// The tag of an answer as other bytes that say the same, such as compressed ones.
pub(super) fn weaken(headers: &mut HeaderMap) {
    let strong = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let weak = strong.filter(|tag| !tag.starts_with(WEAK)).map(|tag| value(&format!("{WEAK}{tag}")));
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}

/// What a tag begins with that does not stand for the very bytes.
const WEAK: &str = "W/";

/// The tag of bytes, and of how they are to be read: the first 128 bits of their digest. Tags only tell the answers of
/// one URL apart, and among 10¹⁵ of these, two share one with a chance of 10⁻⁹.
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

    /// The tag as a client has it, if it is among those that it sent. What is held compressed is known by a weak tag,
    /// and is still the same answer.
    fn found_in(&self, known: &[HeaderValue]) -> Option<String> {
        let texts = known.iter().filter_map(|list| list.to_str().ok());
        let mut tags = texts.flat_map(|list| list.split(',').map(str::trim));
        let found = tags.find(|tag| *tag == "*" || tag.strip_prefix(WEAK).unwrap_or(tag) == self.0)?;
        Some(if found == "*" { self.0.clone() } else { found.to_owned() })
    }
}

fn value(text: &str) -> HeaderValue {
    // Digits and words of our own are always a header.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

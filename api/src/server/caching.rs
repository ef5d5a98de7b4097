//! Caching: how long responses may be cached, and their `ETag`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use hyper::body::Body as _;
use poem::{Body, Request, Response};
use sha2::{Digest, Sha256};

use super::Body as SentBody;
use crate::routes::{ICON, PAGE, PAGE_FILES, STREAM_PATHS, coingecko::is_of_dialect};

/// How long a response about closed history may be cached. History is closed if no future record can change it. The
/// time is limited, because caches must drop a response some time after the retention of its records has ended.
const CLOSED_SECONDS: u64 = 86_400;

/// The prefix of the routes whose responses depend on the log. Those of the page and of CoinGecko's dialect, which have
/// other paths, depend on the log too.
const LOG_ROUTES: &str = "/v1/";

/// The routes whose responses change only with the version of a pod. They may be cached but must be revalidated,
/// except for the page's files, whose names change with their content.
const DOCUMENTS: [&str; 5] = ["/docs", "/openapi.json", "/asyncapi.yaml", PAGE_FILES, ICON];

/// The kinds of responses that may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It depends on the log.
    Log,
    /// It changes only with the version of a pod.
    Document,
}

impl Kind {
    /// The kind of the response to a request. `None` if it may not be cached. A stream may not, and may take a while to
    /// begin, for which no other client must wait.
    pub(super) fn of(request: &Request) -> Option<Self> {
        if *request.method() != Method::GET {
            return None;
        }
        let path = request.uri().path();
        if STREAM_PATHS.contains(&path) {
            return None;
        }
        let is_of_log = path == PAGE || path.starts_with(LOG_ROUTES) || is_of_dialect(path);
        let log = is_of_log.then_some(Self::Log);
        log.or_else(|| is_document(path).then_some(Self::Document))
    }
}

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

    /// The `Cache-Control` of a response that no future record can change.
    pub(super) fn closed(self) -> HeaderValue {
        value(format!("{}, max-age={CLOSED_SECONDS}, immutable", self.word()))
    }

    /// The `Cache-Control` of a response that is current for this long.
    pub(super) fn revalidated(self, current: Duration) -> HeaderValue {
        value(format!("{}, max-age={}, must-revalidate", self.word(), current.as_secs()))
    }
}

/// Takes the whole body out of the response. If the body is a stream, it stays in the response and the result is
/// `None`, because a stream does not end and cannot be cached.
pub(super) async fn whole(response: &mut Response) -> Option<Bytes> {
    let body = SentBody::from(response.take_body());
    if body.size_hint().exact().is_none() {
        response.set_body(Body::from(body));
        return None;
    }
    // The body is already in memory, so this neither waits nor fails.
    Body::from(body).into_bytes().await.ok()
}

/// The prefix of a weak tag. A weak tag identifies the content, but not the exact bytes.
const WEAK: &str = "W/";

/// The tag of a body and its content type: the first 128 bits of their SHA-256. Tags only have to be unique among the
/// responses of one URL. Among 10¹⁵ responses, the chance of a collision is below 10⁻⁸.
pub(super) struct Tag(HeaderValue);

impl Tag {
    pub(super) fn of(body: &[u8], representation: Option<&HeaderValue>) -> Self {
        let mut digest = Sha256::new();
        digest.update(body);
        digest.update(representation.map_or(&[][..], HeaderValue::as_bytes));
        let digest = digest.finalize();
        let number = u128::from_be_bytes(digest.first_chunk().copied().unwrap_or_default());
        Self(value(format!("\"{number:032x}\"")))
    }

    /// The tag of the body itself.
    pub(super) fn strong(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The tag if the bytes that are sent are not the ones that the tag was computed from, because they are compressed.
    pub(super) fn weak(&self) -> HeaderValue {
        let weak = [WEAK.as_bytes(), self.0.as_bytes()].concat();
        // This cannot fail, because both parts are valid in a header.
        HeaderValue::try_from(weak).unwrap_or_else(|_| self.strong())
    }

    /// Returns this tag as the client wrote it, if the client sent it. The weak form matches too, because a client that
    /// has a compressed response sends the weak form.
    pub(super) fn found_in(&self, known: &[HeaderValue]) -> Option<HeaderValue> {
        let texts = known.iter().filter_map(|list| list.to_str().ok());
        let mut tags = texts.flat_map(|list| list.split(',').map(str::trim));
        let found = tags.find(|tag| *tag == "*" || tag.strip_prefix(WEAK).unwrap_or(tag) == self.0)?;
        Some(if found == "*" { self.strong() } else { value(found.to_owned()) })
    }
}

fn value(text: String) -> HeaderValue {
    // This cannot fail, because our own words and digits are valid in a header.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

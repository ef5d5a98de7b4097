//! Compression of responses for clients that accept it.
//!
//! The framework's own middleware compresses too much. It compresses streams, so that their events arrive late, the
//! empty body of a 304, and responses to clients that refuse gzip with `gzip;q=0`.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    web::{Compress, CompressionAlgo, CompressionLevel},
};

use super::caching;

/// The smallest body that is compressed. A smaller one fits into one packet anyway.
const MIN_BYTES: u64 = 1_024;

/// The only content coding that is offered. Practically every client supports gzip, and its fastest level takes a few
/// milliseconds per megabyte.
const CODING: CompressionAlgo = CompressionAlgo::GZIP;

/// Compresses a body if the client accepts gzip and the body is long enough and not a stream.
pub(super) async fn compress<E: Endpoint>(next: Arc<E>, request: Request) -> Result<Response> {
    let is_accepted = accepts_gzip(request.headers());
    let mut response = next.call(request).await?.into_response();
    if !is_accepted
        || response.status() != StatusCode::OK
        || response.headers().contains_key(header::CONTENT_ENCODING)
        || caching::length(&mut response).is_none_or(|bytes| bytes < MIN_BYTES)
    {
        return Ok(response);
    }
    caching::weaken(response.headers_mut());
    Ok(Compress::new(response, CODING).with_quality(CompressionLevel::Fastest).into_response())
}

/// Whether a client accepts gzip: it lists gzip or `*`, without `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let (mut gzip, mut any) = (None, None);
    for offer in texts.flat_map(|text| text.split(',')) {
        let mut parts = offer.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // A quality of zero may be written as 0, 0.0 or 0.000. Any other digit makes the quality more than zero.
        let is_accepted = quality.is_none_or(|quality| quality.contains(|digit| matches!(digit, '1'..='9')));
        match coding {
            "*" => any = Some(is_accepted),
            _ if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => {
                gzip = Some(is_accepted);
            }
            _ => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_encoding_is_understood() {
        let accepts = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, text.parse().unwrap());
            accepts_gzip(&headers)
        };
        for text in
            ["gzip", "GZip", "br, gzip;q=0.1", "deflate;q=1,x-gzip ; q=1.000", "*", "identity;q=0, *;q=0.5"]
        {
            assert!(accepts(text), "{text}");
        }
        for text in ["", "br", "identity", "gzip;q=0", "gzip; q=0.000", "*, gzip;q=0", "*;q=0", "gzipped"] {
            assert!(!accepts(text), "{text}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}

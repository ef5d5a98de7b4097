//! Answers in fewer bytes, for those who take them so.
//!
//! The framework's own layer compresses whatever it is given: streams, which then arrive late; the empty body of a
//! 304; and, with `gzip;q=0`, answers for those who asked for none of it.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    web::{Compress, CompressionAlgo, CompressionLevel},
};

use super::caching;

/// From how many bytes on it is worth it: less fits into one packet anyway.
const MIN_BYTES: u64 = 1_024;

/// The one coding that is offered. Every client has it, and at its fastest it costs a few milliseconds a megabyte.
const CODING: CompressionAlgo = CompressionAlgo::GZIP;

/// Compresses what is long enough, and whole.
pub(super) async fn compressed<E: Endpoint>(next: Arc<E>, request: Request) -> Result<Response> {
    let is_taken = takes_gzip(request.headers());
    let mut response = next.call(request).await?.into_response();
    if !is_taken
        || response.status() != StatusCode::OK
        || response.headers().contains_key(header::CONTENT_ENCODING)
        || caching::length(&mut response).is_none_or(|bytes| bytes < MIN_BYTES)
    {
        return Ok(response);
    }
    caching::weaken(response.headers_mut());
    Ok(Compress::new(response, CODING).with_quality(CompressionLevel::Fastest).into_response())
}

/// Whether a client takes gzip: if it names it, or everything, and does not say `q=0` to that.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let (mut gzip, mut any) = (None, None);
    for offer in texts.flat_map(|text| text.split(',')) {
        let mut parts = offer.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // `0`, `0.0` and so on, in which there is no other digit.
        let is_taken = quality.is_none_or(|quality| quality.contains(|digit| matches!(digit, '1'..='9')));
        match coding {
            "*" => any = Some(is_taken),
            _ if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => {
                gzip = Some(is_taken);
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
    fn what_a_client_takes_is_read_as_it_is_written() {
        let takes = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, text.parse().unwrap());
            takes_gzip(&headers)
        };
        for text in
            ["gzip", "GZip", "br, gzip;q=0.1", "deflate;q=1,x-gzip ; q=1.000", "*", "identity;q=0, *;q=0.5"]
        {
            assert!(takes(text), "{text}");
        }
        for text in ["", "br", "identity", "gzip;q=0", "gzip; q=0.000", "*, gzip;q=0", "*;q=0", "gzipped"] {
            assert!(!takes(text), "{text}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}

//! Compression of responses for clients that accept gzip, which practically every client does.
//!
//! The framework's own middleware is not used. It compresses streams, so that their events arrive late, the empty body
//! of a 304, and responses to clients that refuse gzip with `gzip;q=0`. It also compresses a response each time it is
//! sent.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, header};

use crate::work::Workers;

/// The smallest body that is compressed. A smaller one fits into one packet anyway.
const MIN_BYTES: usize = 1_024;

/// Compresses a body. Returns `None` if it is too short, or if the result is not shorter.
pub(super) async fn compressed(body: &Bytes, workers: &Workers) -> Option<Bytes> {
    if body.len() < MIN_BYTES {
        return None;
    }
    let plain = body.clone();
    let compressed = workers.finish(body.len(), move || gzip(&plain)).await?;
    compressed.filter(|compressed| compressed.len() < body.len())
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Whether a client accepts gzip: it lists gzip or `*`, without `q=0`.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
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

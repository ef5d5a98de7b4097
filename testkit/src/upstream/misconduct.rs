//! Applies a fault to a response: changes its body or status, or how the response is sent (late, cut off, never).
//!
//! Faults that change prices or times are not handled here, because `quotes` has already applied them.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use http::StatusCode;

use super::delivery::Delivery;
use super::dialect::Question;
use super::quotes::Quotes;
use super::reply::{Reply, http_date};
use crate::fault::{Fault, RetryAfter, Status};

/// The metadata service of cloud machines, which has secrets. A client must not follow a redirect to it.
const SECRETS_ADDRESS: &str = "http://169.254.169.254/";

/// Deep enough that a recursive JSON parser without a limit overflows its stack.
const NESTED_LISTS: usize = 100_000;

/// The decompressed size of the bomb: far more than any client should accept, and a thousand times its compressed size.
const BOMB_BYTES: usize = 96 * 1024 * 1024;

/// A page as proxies and bot challenges send it instead of a response.
const PAGE: &str = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>\
                    <h1>Checking your browser</h1><p>97000.00</p></body></html>";

/// The response, and how to send it, if the venue has this fault.
pub(super) fn answer(
    fault: Fault,
    question: Question<'_>,
    quotes: &Quotes<'_>,
    now_ms: i64,
) -> (Reply, Delivery) {
    let delivery = match fault {
        Fault::Hang => Delivery::Never,
        Fault::Close => Delivery::Closed,
        Fault::Slow(seconds) => Delivery::After(Duration::from_secs(seconds.into())),
        Fault::Drip => Delivery::Dripping,
        Fault::Reset => Delivery::Reset,
        Fault::Short => Delivery::Short,
        Fault::Long => Delivery::Long,
        Fault::Endless => Delivery::Endless,
        _ => Delivery::Whole,
    };
    let reply = match fault {
        Fault::Status(status, retry_after) => refusal(question, status, retry_after, now_ms),
        Fault::Redirect => Reply::empty(StatusCode::FOUND).with("location", SECRETS_ADDRESS),
        Fault::Bomb => Reply::bytes(StatusCode::OK, bomb()).with("content-encoding", "gzip"),
        Fault::Html => Reply { content_type: "text/html", ..Reply::bytes(StatusCode::OK, PAGE) },
        Fault::Deep => Reply::bytes(StatusCode::OK, "[".repeat(NESTED_LISTS) + &"]".repeat(NESTED_LISTS)),
        // These bytes are neither UTF-8 nor the start of a compressed format.
        Fault::Garbage => Reply::bytes(StatusCode::OK, [0xff, 0xfe, 0x00, 0xc3, 0x28].repeat(100)),
        Fault::Cut => {
            let mut reply = question.answer(quotes);
            reply.body.truncate(reply.body.len() / 2);
            reply
        }
        Fault::Empty => question.empty(quotes),
        Fault::Error => question.error(),
        Fault::Limited => question.limited(),
        _ => question.answer(quotes),
    };
    (reply, delivery)
}

fn refusal(question: Question<'_>, status: Status, retry_after: Option<RetryAfter>, now_ms: i64) -> Reply {
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reply = question.status(code);
    match retry_after {
        None => reply,
        Some(RetryAfter::Seconds(seconds)) => reply.with("retry-after", seconds.to_string()),
        Some(RetryAfter::Date(ahead)) => {
            reply.with("retry-after", http_date(now_ms + i64::from(ahead) * 1_000))
        }
    }
}

/// Prepares a fault before it begins. In a debug build, compressing the bomb can take longer than a slot, so that is
/// done here.
pub(super) fn prepare(fault: Fault) {
    if fault == Fault::Bomb {
        bomb();
    }
}

/// Compressed spaces, with which a JSON document may begin. The compression happens only at the first call.
fn bomb() -> Vec<u8> {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    let pack = || {
        let piece = [b' '; 64 * 1024];
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        for _ in 0..BOMB_BYTES / piece.len() {
            // Writing to memory cannot fail.
            let _written = packed.write_all(&piece);
        }
        packed.finish().unwrap_or_default()
    };
    BOMB.get_or_init(pack).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bomb_is_small_and_unpacks_to_more_than_64_mebibytes() {
        let packed = bomb();
        assert!(packed.len() < 1024 * 1024, "{}", packed.len());
        let unpacked =
            std::io::copy(&mut flate2::read::GzDecoder::new(&*packed), &mut std::io::sink()).unwrap();
        assert!(unpacked > 64 * 1024 * 1024);
    }
}

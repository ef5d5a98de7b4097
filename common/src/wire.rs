//! Encodes records as log messages, and decodes them.
//!
//! Records are JSON, so that any NATS subscriber can read them. `docs/asyncapi.yaml` describes the format, and a test
//! checks the examples in it.
//!
//! Decoding ignores unknown fields and is strict about everything else. A decoded record is always valid. If Tickwell
//! wrote the record, encoding it again gives the same bytes, apart from unknown fields.

mod format;

use crate::{domain::Record, object::Object};

/// The version of the format. Other versions are not supported.
pub const VERSION: u32 = 2;

/// The largest record that is accepted. A tick with twenty sources has about 4 kB.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// The largest number of quotes in a record that is accepted. A record can become larger when it is decoded and encoded
/// again, because times are then written with milliseconds. With this limit, the larger record is
/// still below [`MAX_RECORD_BYTES`].
pub const MAX_QUOTES: usize = 200;

/// Why a message could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Another version of Tickwell wrote the record. Readers must stop, because skipping the record could hide
    /// prices.
    #[error("the record has version {found}, but this program only supports version {VERSION}; {}", remedy(*found))]
    UnknownVersion {
        /// The record's version.
        found: u32,
    },
    /// The message is too large for a record.
    #[error("the record has {bytes} bytes, which is more than the limit of {MAX_RECORD_BYTES}")]
    TooLarge {
        /// The size of the message.
        bytes: usize,
    },
    /// The message is not a valid record: another program wrote it, it is damaged, or its fields contradict each other.
    #[error("not a valid record")]
    Malformed(#[source] serde_json::Error),
}

fn remedy(found: u32) -> &'static str {
    match found > VERSION {
        true => "upgrade this program",
        false => {
            "the log was written before the first release; start a new stream (bus.stream) or delete the old one"
        }
    }
}

/// Encodes a record as the content of a log message.
pub fn encode(record: &Record) -> Vec<u8> {
    // Serializing these structs to a Vec cannot fail: all keys are strings, and there is no I/O.
    serde_json::to_vec(&format::RecordFormat::from(record)).unwrap_or_default()
}

/// Decodes a record from the content of a log message.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(DecodeError::TooLarge { bytes: bytes.len() });
    }
    format::read_tick(bytes).map_or_else(|| decode_any(bytes), Ok)
}

/// Decodes a record that may be written in any way.
fn decode_any(bytes: &[u8]) -> Result<Record, DecodeError> {
    // Check the version first: the rest of a newer record may not parse.
    let Object(head): Object<format::Head<'_>> =
        serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    if head.version != VERSION {
        return Err(DecodeError::UnknownVersion { found: head.version });
    }
    head.read(bytes).map_err(DecodeError::Malformed)
}

#[cfg(test)]
mod tests;

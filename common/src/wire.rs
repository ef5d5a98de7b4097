//! Encodes records as log messages, and decodes them.
//!
//! Records are JSON, so that they are readable for any NATS subscriber. `docs/asyncapi.yaml` describes the format; a test
//! checks its examples.
//!
//! Decoding ignores unknown fields and is strict about everything else. A decoded record is always valid, and encoding it
//! again gives the same bytes, apart from unknown fields.

mod format;

use crate::domain::Record;

/// The version of the format. Other versions are not supported.
pub const VERSION: u32 = 2;

/// The largest record that is accepted. A tick with twenty sources has about 4 kB.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// The largest number of quotes in a record that is accepted. Encoding a record may make it larger, for example because
/// times are written with milliseconds. With this many quotes it always stays below [`MAX_RECORD_BYTES`].
pub const MAX_QUOTES: usize = 200;

/// Why a message could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Another version of Tickwell wrote the record. Readers must stop here, because skipping it could hide prices.
    #[error("the record has version {found}, but this program only supports version {VERSION}: {}", remedy(*found))]
    UnknownVersion {
        /// The record's version.
        found: u32,
    },
    /// Too large for a record.
    #[error("the record has {bytes} bytes, which is more than the limit of {MAX_RECORD_BYTES}")]
    TooLarge {
        /// The size of the message.
        bytes: usize,
    },
    /// Not a valid record: from another program, damaged or inconsistent.
    #[error("not a valid record")]
    Malformed(#[source] serde_json::Error),
}

fn remedy(found: u32) -> &'static str {
    match found > VERSION {
        true => "upgrade it first",
        false => {
            "the log was written before the first release; start a new stream (bus.stream) or delete the old one"
        }
    }
}

/// Encodes a record as the content of a log message.
pub fn encode(record: &Record) -> Vec<u8> {
    // Serializing these structs to a Vec cannot fail: there are no maps with keys of other types, and there is no I/O.
    serde_json::to_vec(&format::RecordFormat::from(record)).unwrap_or_default()
}

/// Decodes a record from the content of a log message.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(DecodeError::TooLarge { bytes: bytes.len() });
    }
    // Check the version first: the rest of a newer record may not parse.
    let format::VersionFormat { version } = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    if version != VERSION {
        return Err(DecodeError::UnknownVersion { found: version });
    }
    let record: format::RecordFormat = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    Record::try_from(record).map_err(|reason| DecodeError::Malformed(serde::de::Error::custom(reason)))
}

#[cfg(test)]
mod tests;

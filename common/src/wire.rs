//! The codec: records to log bytes and back.
//!
//! Records are JSON, so that a plain subscriber sees something readable. `docs/asyncapi.yaml` is the
//! public description of what is written here; a test holds its examples against this file.
//!
//! Reading is lenient about fields it does not know and strict about everything else: a record that is
//! read is valid, and writing it again gives the same bytes.

mod format;

use crate::domain::Record;

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The largest record that is read. A tick with twenty sources takes about 4 kB.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// The most quotes of a record that is read. However short their spelling was, as many are written with fewer
/// than [`MAX_RECORD_BYTES`], so that what was read once can be read again.
pub const MAX_QUOTES: usize = 200;

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer Tickwell. Skipping it could hide prices, so a reader must stop here.
    #[error("the record has version {found}, this program reads version {VERSION}: upgrade it first")]
    UnknownVersion {
        /// The version it carries.
        found: u32,
    },
    /// Larger than any record.
    #[error("the record has {bytes} bytes, more than {MAX_RECORD_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not a record: foreign, damaged, or contradicting itself.
    #[error("not a valid record")]
    Malformed(#[source] serde_json::Error),
}

/// Writes a record as the bytes of one log message.
pub fn encode(record: &Record) -> Vec<u8> {
    // Serializing these structs into a Vec has no way to fail: no maps with odd keys, no I/O.
    serde_json::to_vec(&format::RecordFormat::from(record)).unwrap_or_default()
}

/// Reads a record from the bytes of one log message.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(DecodeError::TooLarge { bytes: bytes.len() });
    }
    // The version comes first: the rest of a newer record need not make sense to us.
    let format::VersionFormat { version } = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    if version != VERSION {
        return Err(DecodeError::UnknownVersion { found: version });
    }
    let record: format::RecordFormat = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    Record::try_from(record).map_err(|reason| DecodeError::Malformed(serde::de::Error::custom(reason)))
}

#[cfg(test)]
mod tests;

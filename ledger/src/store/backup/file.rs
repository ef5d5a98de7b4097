//! The layout of a backup: two lines of text that describe it, every row, and a checksum.
//!
//! | part | meaning |
//! |---|---|
//! | `tickwell backup 1` | the version of this layout |
//! | one line of JSON | [`Header`] |
//! | length of key, length of value, key, value | a row; lengths are four bytes, big-endian |
//! | four zero bytes | the end of the rows; no key is empty |
//! | eight bytes, big-endian | the number of rows |
//! | 32 bytes | SHA-256 of everything before |

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first line, with the version of the layout.
const FIRST_LINE: &str = "tickwell backup 1";

/// What the first line starts with in every version.
const KIND: &str = "tickwell backup ";

/// The largest accepted length of a line of text. Both lines are much shorter.
const MAX_LINE_BYTES: u64 = 4_096;

/// The largest accepted length of a key. Keys are made of pairs and instants, and are much shorter.
const MAX_NAME_BYTES: u32 = 1_024;

/// The largest accepted length of a value. Values are much shorter: a record has at most 64 kB.
const MAX_VALUE_BYTES: u32 = 1024 * 1024;

/// The description at the start of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When the backup was made, as RFC 3339.
    pub made_at: String,
    /// The identity of the log that the store is a copy of.
    pub log: String,
    /// The newest sequence of the log that the backup contains.
    pub sequence: u64,
    /// The store format of the backup's rows.
    pub format: String,
}

/// What a backup contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its description.
    pub header: Header,
    /// The number of rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Why a file is not a valid backup.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackupError {
    /// The file is not a Tickwell backup.
    #[error("this is not a Tickwell backup")]
    Foreign,
    /// The backup has the layout of a newer version.
    #[error("a newer version of Tickwell made this backup; restore it with that version")]
    TooNew,
    /// The backup ends too early.
    #[error("the backup is incomplete; make another one or use an older one")]
    CutOff,
    /// The backup's content has changed since it was written.
    #[error("the backup is damaged ({0}); make another one or use an older one")]
    Damaged(&'static str),
    /// The file cannot be read.
    #[error("cannot read the backup")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ReadBackupError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutOff,
            _ => Self::Io(error),
        }
    }
}

/// Writes a backup, row by row.
pub(super) struct Writer<W> {
    header: Header,
    write: W,
    digest: Sha256,
    rows: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(header: Header, write: W) -> io::Result<Self> {
        let described = serde_json::to_string(&header)?;
        let mut writer = Self { header, write, digest: Sha256::new(), rows: 0, bytes: 0 };
        writer.put(format!("{FIRST_LINE}\n{described}\n").as_bytes())?;
        Ok(writer)
    }

    /// Adds a row. Fails if the row is too long to be read back.
    pub(super) fn row(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let too_long = || io::Error::other("a row of the store is too long for a backup");
        let length = |bytes: &[u8], max| u32::try_from(bytes.len()).ok().filter(|length| *length <= max);
        let name_length = length(name, MAX_NAME_BYTES).filter(|length| *length > 0).ok_or_else(too_long)?;
        let value_length = length(value, MAX_VALUE_BYTES).ok_or_else(too_long)?;
        self.put(&name_length.to_be_bytes())?;
        self.put(&value_length.to_be_bytes())?;
        self.put(name)?;
        self.put(value)?;
        self.rows += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Summary> {
        self.put(&0_u32.to_be_bytes())?;
        self.put(&self.rows.to_be_bytes())?;
        let digest = self.digest.clone().finalize();
        self.put(&digest)?;
        self.write.flush()?;
        Ok(Summary { header: self.header, rows: self.rows, bytes: self.bytes })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.write.write_all(bytes)
    }
}

/// Reads a whole backup and verifies it. Returns what it contains.
pub fn check(read: impl BufRead) -> Result<Summary, ReadBackupError> {
    let mut reader = Reader::begin(read)?;
    while reader.row()?.is_some() {}
    reader.finish()
}

/// Reads a backup, row by row. The rows are verified only once [`Reader::finish`] returns.
pub(super) struct Reader<R> {
    header: Header,
    read: R,
    digest: Sha256,
    rows: u64,
    bytes: u64,
}

/// The key and value of a row.
pub(super) type Row = (Vec<u8>, Vec<u8>);

impl<R: BufRead> Reader<R> {
    pub(super) fn begin(mut read: R) -> Result<Self, ReadBackupError> {
        let first = line(&mut read)?;
        match first.strip_suffix('\n') {
            Some(FIRST_LINE) => {}
            Some(other) if other.starts_with(KIND) => return Err(ReadBackupError::TooNew),
            _ if FIRST_LINE.starts_with(&first) && !first.is_empty() => return Err(ReadBackupError::CutOff),
            _ => return Err(ReadBackupError::Foreign),
        }
        let second = line(&mut read)?;
        if !second.ends_with('\n') {
            return Err(ReadBackupError::CutOff);
        }
        let header = serde_json::from_str(&second).map_err(|_| ReadBackupError::Damaged("header"))?;
        let mut reader = Self { header, read, digest: Sha256::new(), rows: 0, bytes: 0 };
        for line in [&first, &second] {
            reader.add_to_digest(line.as_bytes());
        }
        Ok(reader)
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The next row, or `None` after the last one.
    pub(super) fn row(&mut self) -> Result<Option<Row>, ReadBackupError> {
        let name_length = u32::from_be_bytes(self.get()?);
        if name_length == 0 {
            return Ok(None);
        }
        let value_length = u32::from_be_bytes(self.get()?);
        if name_length > MAX_NAME_BYTES || value_length > MAX_VALUE_BYTES {
            return Err(ReadBackupError::Damaged("a row is too long"));
        }
        let row = (self.get_vec(name_length)?, self.get_vec(value_length)?);
        self.rows += 1;
        Ok(Some(row))
    }

    /// Verifies the checksum and the number of rows, after the last row.
    pub(super) fn finish(mut self) -> Result<Summary, ReadBackupError> {
        let rows = u64::from_be_bytes(self.get()?);
        let found = self.digest.clone().finalize();
        let expected: [u8; 32] = self.get()?;
        if found.as_slice() != expected || rows != self.rows {
            return Err(ReadBackupError::Damaged("checksum"));
        }
        if self.read.read(&mut [0])? != 0 {
            return Err(ReadBackupError::Damaged("extra data at the end"));
        }
        Ok(Summary { header: self.header, rows: self.rows, bytes: self.bytes })
    }

    fn get<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], ReadBackupError> {
        let mut bytes = [0; LENGTH];
        self.read.read_exact(&mut bytes)?;
        self.add_to_digest(&bytes);
        Ok(bytes)
    }

    fn get_vec(&mut self, length: u32) -> Result<Vec<u8>, ReadBackupError> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read.read_exact(&mut bytes)?;
        self.add_to_digest(&bytes);
        Ok(bytes)
    }

    fn add_to_digest(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
}

/// Reads a line with its line break, or as much of it as there is. Fails with `Foreign` if the line is not text.
fn line(read: &mut impl BufRead) -> Result<String, ReadBackupError> {
    let mut bytes = Vec::new();
    Read::take(read, MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    String::from_utf8(bytes).map_err(|_| ReadBackupError::Foreign)
}

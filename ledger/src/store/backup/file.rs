//! How a backup looks: two lines of text that say what it is, every row, and what proves that it is whole.
//!
//! | part | meaning |
//! |---|---|
//! | `tickwell backup 1` | the version of this layout |
//! | one line of JSON | [`Header`] |
//! | length of name, length of value, name, value | a row; lengths are four bytes, big-endian |
//! | four zero bytes | the end of the rows: no name is empty |
//! | eight bytes, big-endian | how many rows there were |
//! | 32 bytes | SHA-256 of everything before |

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first line. Another number means another layout.
const FIRST_LINE: &str = "tickwell backup 1";

/// What every version's first line starts with.
const KIND: &str = "tickwell backup ";

/// A line is much shorter.
const MAX_LINE_BYTES: u64 = 4_096;

/// No row has a longer name: pairs and instants are short.
const MAX_NAME_BYTES: u32 = 1_024;

/// No row has a longer value: a record is 64 kB at most.
const MAX_VALUE_BYTES: u32 = 1024 * 1024;

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When it was made, as RFC 3339.
    pub made_at: String,
    /// The identity of the log that the store follows, or is.
    pub log: String,
    /// The newest position of the log that is in it.
    pub sequence: u64,
    /// The format of its rows.
    pub format: String,
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What it says about itself.
    pub header: Header,
    /// How many rows it has.
    pub rows: u64,
    /// How long it is.
    pub bytes: u64,
}

/// Why a file is not taken for a backup.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackupError {
    /// It is something else.
    #[error("this is no backup of Tickwell")]
    Foreign,
    /// A newer version has written it.
    #[error("a newer Tickwell has written this backup: restore it with that one")]
    TooNew,
    /// It ends too soon.
    #[error("the backup is cut off: make another, or take an older one")]
    CutOff,
    /// It is not as it was written.
    #[error("the backup is damaged ({0}): make another, or take an older one")]
    Damaged(&'static str),
    /// It cannot be read.
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

    /// Adds a row. One that could not be read back is an error now, not when it is needed.
    pub(super) fn row(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let too_long = || io::Error::other("a row of the store is longer than a backup can hold");
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

/// Reads a whole backup and proves that it is one. Answers what is in it.
pub fn check(read: impl BufRead) -> Result<Summary, ReadBackupError> {
    let mut reader = Reader::begin(read)?;
    while reader.row()?.is_some() {}
    reader.finish()
}

/// Reads a backup, row by row. Only once it is finished are they known to be right.
pub(super) struct Reader<R> {
    header: Header,
    read: R,
    digest: Sha256,
    rows: u64,
    bytes: u64,
}

/// Name and value of a row.
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
        let header = serde_json::from_str(&second).map_err(|_| ReadBackupError::Damaged("its head"))?;
        let mut reader = Self { header, read, digest: Sha256::new(), rows: 0, bytes: 0 };
        for line in [&first, &second] {
            reader.took(line.as_bytes());
        }
        Ok(reader)
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The next row; nothing after the last.
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

    /// Proves that everything was there, after the last row.
    pub(super) fn finish(mut self) -> Result<Summary, ReadBackupError> {
        let rows = u64::from_be_bytes(self.get()?);
        let found = self.digest.clone().finalize();
        let expected: [u8; 32] = self.get()?;
        if found.as_slice() != expected || rows != self.rows {
            return Err(ReadBackupError::Damaged("its checksum"));
        }
        if self.read.read(&mut [0])? != 0 {
            return Err(ReadBackupError::Damaged("more follows its end"));
        }
        Ok(Summary { header: self.header, rows: self.rows, bytes: self.bytes })
    }

    fn get<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], ReadBackupError> {
        let mut bytes = [0; LENGTH];
        self.read.read_exact(&mut bytes)?;
        self.took(&bytes);
        Ok(bytes)
    }

    fn get_vec(&mut self, length: u32) -> Result<Vec<u8>, ReadBackupError> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read.read_exact(&mut bytes)?;
        self.took(&bytes);
        Ok(bytes)
    }

    fn took(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
}

/// A line with its end, as far as it is there. What is no text is foreign.
fn line(read: &mut impl BufRead) -> Result<String, ReadBackupError> {
    let mut bytes = Vec::new();
    Read::take(read, MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    String::from_utf8(bytes).map_err(|_| ReadBackupError::Foreign)
}

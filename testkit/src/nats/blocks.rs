//! Reads one server's own copy of a stream from its files, and not through the server.
//!
//! The messages of a stream are in numbered blocks, `<store>/jetstream/<account>/streams/<stream>/msgs/<number>.blk`.
//! A raw block is a sequence of messages. All numbers are little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the whole message with all of these fields; the highest bit is set if it has headers |
//! | 8 | sequence; the two highest bits mark a message that was erased, or the tombstone of one |
//! | 8 | when it was stored, unix time in nanoseconds |
//! | 2 | length of the subject |
//! | … | subject; then, if the message has headers, their length (4 bytes) and the headers; then the payload |
//! | 8 | checksum |
//!
//! A compressed block begins with `cmp`. The server compresses a block when it has finished writing to it, so the
//! newest block must be raw. nats-server 2.15.1 has a bug: while it recovers, it compresses its newest block and
//! continues to append raw messages to it. At its next start, it cannot read that block.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::NatsServer;

/// The first bytes of a compressed block.
const COMPRESSED: &[u8] = b"cmp";

/// The size of a message's length, sequence, time and length of the subject.
const HEAD_BYTES: usize = 22;

/// The size of the checksum after each message.
const CHECKSUM_BYTES: usize = 8;

/// The bit of the length that is set if the message has headers.
const HAS_HEADERS: u32 = 1 << 31;

/// The bits of the sequence that mark a message that was erased.
const GONE: u64 = 0b11 << 62;

/// A message as a server stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// When the stream's leader stored it, unix time in nanoseconds.
    pub time_ns: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers as they were sent; empty if it has none.
    pub headers: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Messages by their sequence.
pub type Messages = BTreeMap<u64, StoredMessage>;

/// The blocks of one stream on one server.
#[derive(Debug, Default)]
pub struct ReplicaFiles {
    /// The messages of all raw blocks.
    pub messages: Messages,
    /// The numbers of the compressed blocks. Their contents are not read.
    pub compressed: Vec<u64>,
}

impl NatsServer {
    /// Reads the server's own copy of a stream from its files. A running server may be writing to them.
    ///
    /// # Errors
    ///
    /// Fails if the newest block is compressed although the server still writes to it, if a block contains something
    /// that is not a message, or if a sequence is missing.
    pub fn read_replica(&self, stream: &str) -> anyhow::Result<ReplicaFiles> {
        read_blocks(&blocks(&self.store().join("jetstream"), stream)?)
    }

    /// Whether the block to which a stream's next message will be written is compressed. `false` if the server does not
    /// have the stream.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be read.
    pub fn newest_is_compressed(&self, stream: &str) -> anyhow::Result<bool> {
        let newest = self.newest_block(stream);
        newest.map_or(Ok(false), |path| Ok(std::fs::read(path)?.starts_with(COMPRESSED)))
    }

    /// The file of the block to which a stream's next message will be written.
    pub(super) fn newest_block(&self, stream: &str) -> Option<PathBuf> {
        blocks(&self.store().join("jetstream"), stream).ok()?.pop_last().map(|(_, path)| path)
    }

    /// Removes everything that the server has stored, as if its volume were replaced with an empty one. The server must
    /// not be running.
    ///
    /// # Errors
    ///
    /// Fails if the server is running, or if its store cannot be removed.
    pub fn wipe(&mut self) -> anyhow::Result<()> {
        ensure!(!self.is_running(), "a server must be stopped before its store is removed");
        Ok(std::fs::remove_dir_all(self.store())?)
    }
}

/// The files of a stream's blocks by their numbers, in any account.
fn blocks(jetstream: &Path, stream: &str) -> anyhow::Result<BTreeMap<u64, PathBuf>> {
    let accounts = jetstream.read_dir().with_context(|| jetstream.display().to_string())?;
    let mut found = BTreeMap::new();
    for account in accounts {
        let folder = account?.path().join("streams").join(stream).join("msgs");
        for file in folder.read_dir().into_iter().flatten() {
            let path = file?.path();
            let is_block = path.extension().is_some_and(|extension| extension == "blk");
            if let Some(name) = path.file_stem().filter(|_| is_block) {
                found.insert(name.to_string_lossy().parse()?, path);
            }
        }
    }
    ensure!(!found.is_empty(), "no blocks of {stream} in {}", jetstream.display());
    Ok(found)
}

fn read_blocks(blocks: &BTreeMap<u64, PathBuf>) -> anyhow::Result<ReplicaFiles> {
    let mut files = ReplicaFiles::default();
    // The sequence that the next message must have; `None` after a compressed block.
    let mut next = None;
    for (number, path) in blocks {
        let bytes = std::fs::read(path)?;
        if bytes.starts_with(COMPRESSED) {
            let newest = blocks.keys().next_back();
            ensure!(newest != Some(number), "the newest block, {number}, is compressed and still written to");
            files.compressed.push(*number);
            next = None;
        } else {
            next =
                read_block(&bytes, next, &mut files.messages).with_context(|| format!("block {number}"))?;
        }
    }
    Ok(files)
}

/// Adds the messages of a raw block. Returns the sequence that the next message must have.
fn read_block(block: &[u8], mut next: Option<u64>, messages: &mut Messages) -> anyhow::Result<Option<u64>> {
    let mut rest = block;
    while !rest.is_empty() {
        let at = block.len() - rest.len();
        let Some((sequence, message, after)) = split_message(rest) else {
            bail!("no message at byte {at} of {}, after {:?}", block.len(), next.map(|next| next - 1));
        };
        rest = after;
        if sequence & GONE != 0 {
            continue;
        }
        ensure!(next.is_none_or(|next| next == sequence), "{sequence} at byte {at} instead of {next:?}");
        next = Some(sequence + 1);
        messages.insert(sequence, message);
    }
    Ok(next)
}

/// The first message in these bytes with its sequence, and the bytes after it; `None` if this is not a message.
fn split_message(bytes: &[u8]) -> Option<(u64, StoredMessage, &[u8])> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    let has_headers = length & HAS_HEADERS != 0;
    let (message, after) = bytes.split_at_checked(usize::try_from(length & !HAS_HEADERS).ok()?)?;
    let (head, body) = message.split_at_checked(HEAD_BYTES)?;
    let body = body.split_at_checked(body.len().checked_sub(CHECKSUM_BYTES)?)?.0;
    let (_, head) = head.split_first_chunk::<4>()?;
    let (sequence, head) = head.split_first_chunk()?;
    let (time, head) = head.split_first_chunk()?;
    let subject_bytes = u16::from_le_bytes(*head.first_chunk()?);
    let (subject, body) = body.split_at_checked(usize::from(subject_bytes))?;
    let (headers, payload) = if has_headers {
        let (length, body) = body.split_first_chunk()?;
        body.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?
    } else {
        body.split_at(0)
    };
    let message = StoredMessage {
        time_ns: u64::from_le_bytes(*time),
        subject: String::from_utf8(subject.to_vec()).ok()?,
        headers: headers.to_vec(),
        payload: payload.to_vec(),
    };
    Some((u64::from_le_bytes(*sequence), message, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(sequence: u64, headers: &str, payload: &str) -> Vec<u8> {
        let mut body = b"ticks.BTC.USD".to_vec();
        if !headers.is_empty() {
            body.extend(u32::try_from(headers.len()).unwrap().to_le_bytes());
            body.extend(headers.as_bytes());
        }
        body.extend(payload.as_bytes());
        let length = u32::try_from(HEAD_BYTES + body.len() + CHECKSUM_BYTES).unwrap();
        let flagged = if headers.is_empty() { length } else { length | HAS_HEADERS };
        let mut bytes = flagged.to_le_bytes().to_vec();
        bytes.extend(sequence.to_le_bytes());
        bytes.extend(5_u64.to_le_bytes());
        bytes.extend(13_u16.to_le_bytes());
        bytes.extend(body);
        bytes.extend([0; CHECKSUM_BYTES]);
        bytes
    }

    /// Writes blocks with these contents and reads them.
    fn read(contents: &[Vec<u8>]) -> anyhow::Result<ReplicaFiles> {
        let folder = tempfile::tempdir().unwrap();
        let messages = folder.path().join("ACCOUNT/streams/TICKS/msgs");
        std::fs::create_dir_all(&messages).unwrap();
        std::fs::write(messages.join("index.db"), "not a block").unwrap();
        for (number, content) in (9..).zip(contents) {
            std::fs::write(messages.join(format!("{number}.blk")), content).unwrap();
        }
        read_blocks(&blocks(folder.path(), "TICKS")?)
    }

    #[test]
    fn blocks_give_their_messages_in_order() {
        let first = [raw(7, "NATS/1.0\r\n\r\n", "one"), raw(8, "", "two")].concat();
        let found = read(&[first, raw(9, "", "three")]).unwrap();
        assert_eq!(found.messages.keys().copied().collect::<Vec<_>>(), [7, 8, 9]);
        let expected = StoredMessage {
            time_ns: 5,
            subject: "ticks.BTC.USD".to_owned(),
            headers: b"NATS/1.0\r\n\r\n".to_vec(),
            payload: b"one".to_vec(),
        };
        assert_eq!(found.messages[&7], expected);
        assert_eq!(
            (&found.messages[&8].headers, found.messages[&8].payload.as_slice()),
            (&vec![], &b"two"[..])
        );
    }

    #[test]
    fn a_finished_block_may_be_compressed_and_the_newest_may_not() {
        let compressed = b"cmp\x01 and what follows".to_vec();
        let found = read(&[compressed.clone(), raw(9, "", "three")]).unwrap();
        assert_eq!((found.compressed, found.messages.len()), (vec![9], 1));
        assert!(read(&[raw(7, "", "one"), compressed]).is_err());
    }

    #[test]
    fn a_missing_or_malformed_message_is_found() {
        let hole = [raw(7, "", "one"), vec![0; 40], raw(8, "", "two")].concat();
        assert!(read(&[hole]).is_err(), "a hole");
        assert!(read(&[[raw(7, "", "one"), raw(9, "", "three")].concat()]).is_err(), "a missing message");
        assert!(read(&[raw(7, "", "one"), raw(9, "", "three")]).is_err(), "a missing message between blocks");
        assert!(read(&[raw(7, "", "one")[..30].to_vec()]).is_err(), "a message that was cut off");
        assert!(read(&[]).is_err(), "no stream");
        let erased = [raw(7, "", "one"), raw(8 | 1 << 63, "", ""), raw(8, "", "two")].concat();
        assert_eq!(read(&[erased]).unwrap().messages.len(), 2);
    }
}

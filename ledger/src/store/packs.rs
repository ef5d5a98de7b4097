//! Whole records with their quotes, compressed in packs.
//!
//! Consecutive records are nearly alike. So packing reduces the space that records take, and the number of bytes that
//! are written in the course of a day, to a tenth. The newest records, which are too few for a pack, have a row each.

use common::{
    domain::{Record, Sequence},
    wire,
};
use zstd::bulk::Compressor;

use super::{Store, StoreError, Stored, key};
use crate::number;

/// The number of records in a pack. More would compress better, but make reading a single record slower.
const RECORDS: usize = 64;

/// A pack is closed once its records have this many bytes, even if they are only a few very large ones.
const BYTES: usize = 64 * 1024;

/// The largest size of a pack before compression. A pack that is larger is damaged.
const MAX_UNPACKED_BYTES: usize = BYTES + wire::MAX_RECORD_BYTES + RECORDS * 32;

/// The compression level. The lowest is twice as fast as the default and compresses nearly as well.
const LEVEL: i32 = 1;

const DAMAGED: StoreError = StoreError::Damaged("pack of records");

/// The records that are not packed yet.
#[derive(Debug, Default)]
pub(super) struct Packing {
    waiting: Vec<Waiting>,
    bytes: usize,
    packer: Packer,
}

#[derive(Debug)]
struct Waiting {
    sequence: Sequence,
    bytes: Vec<u8>,
    /// Whether the record has been written to a row of its own.
    has_row: bool,
}

impl Packing {
    /// Loads the records that have rows of their own, which are fewer than a pack holds.
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        let mut packing = Self::default();
        for row in store.database.scan_prefix(key::RECORD_PREFIX) {
            let (name, value) = row?;
            let sequence = key::read_record_sequence(&name).ok_or(StoreError::Damaged("position"))?;
            packing.bytes += value.len();
            packing.waiting.push(Waiting { sequence, bytes: value.to_vec(), has_row: true });
        }
        Ok(packing)
    }

    /// Adds the next record in log order.
    pub(super) fn push(
        &mut self,
        sequence: Sequence,
        bytes: Vec<u8>,
        batch: &mut sled::Batch,
    ) -> Result<(), StoreError> {
        self.bytes += bytes.len();
        self.waiting.push(Waiting { sequence, bytes, has_row: false });
        if self.waiting.len() >= RECORDS || self.bytes >= BYTES { self.pack(batch) } else { Ok(()) }
    }

    /// Writes the records that have no row yet to rows of their own.
    pub(super) fn finish(&mut self, batch: &mut sled::Batch) {
        for waiting in self.waiting.iter_mut().filter(|waiting| !waiting.has_row) {
            batch.insert(key::record(waiting.sequence), waiting.bytes.as_slice());
            waiting.has_row = true;
        }
    }

    fn pack(&mut self, batch: &mut sled::Batch) -> Result<(), StoreError> {
        let Some(first) = self.waiting.first().map(|waiting| waiting.sequence) else { return Ok(()) };
        let records = self.waiting.iter().map(|waiting| (waiting.sequence, waiting.bytes.as_slice()));
        let packed = self.packer.pack(records)?;
        for waiting in self.waiting.drain(..).filter(|waiting| waiting.has_row) {
            batch.remove(key::record(waiting.sequence));
        }
        self.bytes = 0;
        batch.insert(key::pack(first), packed);
        Ok(())
    }
}

/// Packs records, which must be in log order: their sequences and bytes.
pub fn pack<'a>(records: impl Iterator<Item = (Sequence, &'a [u8])>) -> Result<Vec<u8>, StoreError> {
    Packer::default().pack(records)
}

/// Keeps the memory that zstd works in. Allocating it for each pack would take a large part of the time.
#[derive(Default)]
struct Packer {
    compressor: Option<Compressor<'static>>,
    plain: Vec<u8>,
}

impl Packer {
    fn pack<'a>(
        &mut self,
        records: impl Iterator<Item = (Sequence, &'a [u8])>,
    ) -> Result<Vec<u8>, StoreError> {
        let Self { compressor, plain } = self;
        let compressor = match compressor {
            Some(compressor) => compressor,
            None => compressor.insert(Compressor::new(LEVEL).map_err(StoreError::Packing)?),
        };
        plain.clear();
        let mut before = 0;
        for (sequence, bytes) in records {
            number::write(plain, (sequence.0 - before).into());
            number::write(plain, u128::try_from(bytes.len()).unwrap_or(u128::MAX));
            plain.extend(bytes);
            before = sequence.0;
        }
        compressor.compress(plain).map_err(StoreError::Packing)
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Packer").finish_non_exhaustive()
    }
}

/// The records of a pack, in order: their sequences and bytes.
pub fn unpack(value: &[u8]) -> Result<Vec<(Sequence, Vec<u8>)>, StoreError> {
    let plain = zstd::bulk::decompress(value, MAX_UNPACKED_BYTES).map_err(|_unreadable| DAMAGED)?;
    let (mut rest, mut before, mut records) = (plain.as_slice(), 0_u64, Vec::with_capacity(RECORDS));
    while !rest.is_empty() {
        let distance = number::read_u64(&mut rest).ok_or(DAMAGED)?;
        let length = number::read_u64(&mut rest).and_then(|length| usize::try_from(length).ok());
        let (bytes, after) = length.and_then(|length| rest.split_at_checked(length)).ok_or(DAMAGED)?;
        before = before.checked_add(distance).ok_or(DAMAGED)?;
        records.push((Sequence(before), bytes.to_vec()));
        rest = after;
    }
    Ok(records)
}

impl Store {
    /// The bytes of the whole record at a sequence, if it is kept.
    pub(super) fn whole(&self, sequence: Sequence) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(bytes) = self.database.get(key::record(sequence))? {
            return Ok(Some(bytes.to_vec()));
        }
        let packs = key::pack(Sequence::default())..=key::pack(sequence);
        let Some(row) = self.database.range(packs).next_back() else { return Ok(None) };
        let mut records = unpack(&row?.1)?.into_iter();
        Ok(records.find(|(at, _)| *at == sequence).map(|(_, bytes)| bytes))
    }

    /// The whole records in `[first, last]` that are kept, in log order.
    pub fn records_between(
        &self,
        first: Sequence,
        last: Sequence,
    ) -> Result<impl Iterator<Item = Result<Stored, StoreError>> + use<>, StoreError> {
        // sled panics if the range is reversed.
        let end = last.max(first);
        // Rows are read before packs. A record that is packed in the meantime is then found twice rather than missed.
        let rows = self.database.range(key::record(first)..=key::record(end));
        let rows = rows.map(|row| {
            let (name, value) = row?;
            let sequence = key::read_record_sequence(&name).ok_or(StoreError::Damaged("position"))?;
            Ok((sequence, value.to_vec()))
        });
        let rows: Vec<(Sequence, Vec<u8>)> = rows.collect::<Result<_, StoreError>>()?;
        // Of the packs that start before `first`, only the last can contain records of the range.
        let reaching = self.database.range(key::pack(Sequence::default())..key::pack(first)).rev().take(1);
        let packs = reaching.chain(self.database.range(key::pack(first)..=key::pack(end)));
        let packed = packs.flat_map(|row| match row.and_then(|(_, value)| unpack(&value)) {
            Ok(records) => records.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        let mut done = Sequence(first.0.saturating_sub(1));
        Ok(packed.chain(rows.into_iter().map(Ok)).filter_map(move |record| match record {
            Ok((sequence, bytes)) => {
                let is_next = sequence > done && sequence <= last;
                done = done.max(sequence);
                is_next.then(|| decode(sequence, &bytes))
            }
            Err(error) => Some(Err(error)),
        }))
    }

    /// Every whole record that is kept, in log order.
    pub fn records(&self) -> impl Iterator<Item = Result<Stored, StoreError>> + use<> {
        let packed = self.database.scan_prefix(key::PACK_PREFIX).flat_map(|row| {
            let (records, error) = match row.and_then(|(_, value)| unpack(&value)) {
                Ok(records) => (records, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            records.into_iter().map(|(sequence, bytes)| decode(sequence, &bytes)).chain(error)
        });
        let single = self.database.scan_prefix(key::RECORD_PREFIX).map(|row| {
            let (name, value) = row?;
            decode(key::read_record_sequence(&name).ok_or(StoreError::Damaged("position"))?, &value)
        });
        packed.chain(single)
    }
}

pub(super) fn decode(sequence: Sequence, bytes: &[u8]) -> Result<Stored, StoreError> {
    let decoded: Result<Record, _> = wire::decode(bytes);
    let record = decoded.map_err(|source| StoreError::Record { sequence, source })?;
    Ok(Stored { sequence, record })
}

//! Keys and values of the store's rows. Numbers are big-endian, so that rows sort by them.
//!
//! | key | value |
//! |---|---|
//! | `mformat`, `midentity`, `mcursor` | format number, log identity, newest committed sequence |
//! | `mhole` | the newest sequence before which the log had dropped records because of their age |
//! | `munread` | the newest sequence of a message that is not a record |
//! | `q` sequence of the first record | a pack of whole records, kept for `retain_quotes` ([`super::packs`]) |
//! | `r` sequence | one of the newest whole records, which are not packed yet |
//! | `l` sequence | a lead's bytes, kept for `retain_ticks` |
//! | `b` pair `\0` first slot | the ticks of up to 256 slots ([`super::block`]) |
//! | `i` pair `\0` sequence of a block's first tick | that block's first slot |
//! | `u` tier pair `\0` start | summaries of minutes, hours or days ([`super::rollup`]) |
//! | `g` pair `\0` last slot | a gap ([`super::gaps`]) |
//! | `j` pair `\0` sequence of a gap | that gap's last slot |
//! | `o` pair | the oldest slot from which history is complete |
//! | `h` pair | its state: sequences of the newest record, tick or gap, and tick; the newest slot and its interval |

use common::domain::{Interval, Pair, Sequence, Slot, Span, Timestamp};

use super::{PairState, rollup::Tier};

pub(super) const FORMAT: &[u8] = b"mformat";
pub(super) const IDENTITY: &[u8] = b"midentity";
pub(super) const CURSOR: &[u8] = b"mcursor";
pub(super) const HOLE: &[u8] = b"mhole";
pub(super) const UNREADABLE: &[u8] = b"munread";
pub(super) const RECORD_PREFIX: &[u8] = b"r";
pub(super) const PACK_PREFIX: &[u8] = b"q";
pub(super) const LEAD_PREFIX: &[u8] = b"l";
pub(super) const PAIR_STATE_PREFIX: &[u8] = b"h";
pub(super) const OLDEST_PREFIX: &[u8] = b"o";

pub(super) fn sequence(sequence: Sequence) -> [u8; 8] {
    sequence.0.to_be_bytes()
}

/// The sequence in the key of a whole record or lead.
pub(super) fn read_record_sequence(key: &[u8]) -> Option<Sequence> {
    read_sequence(key.strip_prefix(RECORD_PREFIX).or_else(|| key.strip_prefix(LEAD_PREFIX))?)
}

pub(super) fn read_sequence(bytes: &[u8]) -> Option<Sequence> {
    Some(Sequence(u64::from_be_bytes(bytes.try_into().ok()?)))
}

pub(super) fn record(at: Sequence) -> Vec<u8> {
    [RECORD_PREFIX, &sequence(at)].concat()
}

/// The key of a pack, by the sequence of its first record.
pub(super) fn pack(first: Sequence) -> Vec<u8> {
    [PACK_PREFIX, &sequence(first)].concat()
}

pub(super) fn lead(at: Sequence) -> Vec<u8> {
    [LEAD_PREFIX, &sequence(at)].concat()
}

pub(super) fn pair_state(pair: Pair) -> Vec<u8> {
    [PAIR_STATE_PREFIX, pair.to_string().as_bytes()].concat()
}

pub(super) fn pair_state_value(state: &PairState) -> Vec<u8> {
    let mut value = [state.newest, state.tick_or_gap, state.tick].map(sequence).concat();
    if let Some((slot, interval)) = state.covered {
        value.extend(instant(slot.start()));
        value.extend(interval.millis().to_be_bytes());
    }
    value
}

pub(super) fn read_pair(key: &[u8]) -> Option<Pair> {
    std::str::from_utf8(key.strip_prefix(PAIR_STATE_PREFIX)?).ok()?.parse().ok()
}

pub(super) fn read_pair_state(value: &[u8]) -> Option<PairState> {
    let (newest, rest) = value.split_at_checked(8)?;
    let (tick_or_gap, rest) = rest.split_at_checked(8)?;
    let (tick, rest) = rest.split_at_checked(8)?;
    let covered = match rest.split_at_checked(8) {
        None => None,
        Some((slot, millis)) => {
            let interval = read_interval(millis)?;
            Some((read_slot(interval, slot)?, interval))
        }
    };
    Some(PairState {
        newest: read_sequence(newest)?,
        tick_or_gap: read_sequence(tick_or_gap)?,
        tick: read_sequence(tick)?,
        covered,
    })
}

/// The key of the oldest slot from which a pair's history is complete.
pub(super) fn oldest(pair: Pair) -> Vec<u8> {
    [OLDEST_PREFIX, pair.to_string().as_bytes()].concat()
}

/// The value for a new pair: its first slot, preceded by the newest sequence before which the log had already dropped
/// records. Some of the dropped records may have been this pair's.
pub(super) fn oldest_value(hole: Option<Sequence>, first: Timestamp) -> Vec<u8> {
    [sequence(hole.unwrap_or_default()), instant(first)].concat()
}

/// The sequence in a value of [`oldest_value`], if the value has one. Once the oldest slots have been removed, the
/// value is only an instant.
pub(super) fn read_hole_before(value: &[u8]) -> Option<Sequence> {
    let (hole, _first) = value.split_first_chunk::<8>().filter(|(_, rest)| rest.len() == 8)?;
    Some(Sequence(u64::from_be_bytes(*hole)))
}

/// The key of a block, by its first slot.
pub(super) fn block(pair: Pair, start: Timestamp) -> Vec<u8> {
    of_pair(b"b", pair, instant(start))
}

/// The key of the index row for a block, by the sequence of the block's first tick.
pub(super) fn block_index(pair: Pair, first: Sequence) -> Vec<u8> {
    of_pair(b"i", pair, sequence(first))
}

/// The key of a row of roll-ups.
pub(super) fn rollup(tier: Tier, pair: Pair, start: Timestamp) -> Vec<u8> {
    of_pair(&[b'u', tier.letter()], pair, instant(start))
}

/// The key of a gap, by its last slot. Gaps of a pair do not overlap, so the first row at or after an instant is the
/// only gap that can contain the instant.
pub(super) fn gap(pair: Pair, last: Timestamp) -> Vec<u8> {
    of_pair(b"g", pair, instant(last))
}

/// The key of the index row for a gap, by the sequence of the gap's record.
pub(super) fn gap_index(pair: Pair, at: Sequence) -> Vec<u8> {
    of_pair(b"j", pair, sequence(at))
}

fn of_pair(prefix: &[u8], pair: Pair, number: [u8; 8]) -> Vec<u8> {
    [prefix, pair.to_string().as_bytes(), b"\0", &number].concat()
}

/// An instant as a value or at the end of a key. Timestamps are never negative, so the bytes sort correctly.
pub(super) fn instant(at: Timestamp) -> [u8; 8] {
    at.unix_millis().to_be_bytes()
}

/// The instant at the end of a key or value.
pub(super) fn read_instant(bytes: &[u8]) -> Option<Timestamp> {
    Timestamp::from_unix_millis(i64::from_be_bytes(*bytes.last_chunk()?)).ok()
}

pub(super) fn read_interval(millis: &[u8]) -> Option<Interval> {
    Interval::new(Span::from_millis(u64::from_be_bytes(millis.try_into().ok()?))?).ok()
}

pub(super) fn read_slot(interval: Interval, millis: &[u8]) -> Option<Slot> {
    interval.slot(read_instant(millis)?)
}

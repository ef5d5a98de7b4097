//! Names and shapes of the store's rows. Numbers are big-endian, so that rows lie in order.
//!
//! | key | value |
//! |---|---|
//! | `mformat`, `midentity`, `mcursor` | format version, log identity, newest committed position |
//! | `mhole` | the newest position before which the log had dropped others for their age |
//! | `munread` | the newest position of a message that is not a record |
//! | `q` sequence of the first | whole records, quotes included, as long as quotes are kept ([`super::packs`]) |
//! | `r` sequence | the newest of them, too few to be packed yet |
//! | `l` sequence | a lead's bytes, as long as ticks are kept |
//! | `b` pair `\0` first slot | up to 256 slots of ticks ([`super::block`]) |
//! | `i` pair `\0` sequence of a block's first tick | that block's first slot |
//! | `u` tier pair `\0` start | summaries of minutes, hours or days ([`super::rollup`]) |
//! | `g` pair `\0` last slot | sequence, first slot, interval, epoch, how many were asked, cause |
//! | `j` pair `\0` sequence of a gap | that gap's last slot |
//! | `o` pair | the slot from which on everything of the pair is kept |
//! | `h` pair | positions of the pair's newest record, tick or gap, and tick; the newest slot and its interval |

use common::domain::{Epoch, GapCause, Interval, Pair, Sequence, Slot, Span, Timestamp, Words};

use super::{Heads, StoredGap, rollup::Tier};

pub(super) const FORMAT: &[u8] = b"mformat";
pub(super) const IDENTITY: &[u8] = b"midentity";
pub(super) const CURSOR: &[u8] = b"mcursor";
pub(super) const HOLE: &[u8] = b"mhole";
pub(super) const UNREADABLE: &[u8] = b"munread";
pub(super) const RECORD_PREFIX: &[u8] = b"r";
pub(super) const PACK_PREFIX: &[u8] = b"q";
pub(super) const LEAD_PREFIX: &[u8] = b"l";
pub(super) const HEADS_PREFIX: &[u8] = b"h";
pub(super) const OLDEST_PREFIX: &[u8] = b"o";

/// What is worked out from records: everything but them and what is said about the store.
pub(super) const DERIVED_PREFIXES: [&[u8]; 9] =
    [LEAD_PREFIX, HEADS_PREFIX, OLDEST_PREFIX, b"b", b"i", b"u", b"g", b"j", b"t"];

pub(super) fn sequence(sequence: Sequence) -> [u8; 8] {
    sequence.0.to_be_bytes()
}

/// The position in the key of a whole record or lead.
pub(super) fn read_record_sequence(key: &[u8]) -> Option<Sequence> {
    read_sequence(key.strip_prefix(RECORD_PREFIX).or_else(|| key.strip_prefix(LEAD_PREFIX))?)
}

pub(super) fn read_sequence(bytes: &[u8]) -> Option<Sequence> {
    Some(Sequence(u64::from_be_bytes(bytes.try_into().ok()?)))
}

pub(super) fn record(at: Sequence) -> Vec<u8> {
    [RECORD_PREFIX, &sequence(at)].concat()
}

/// A pack, by its first record.
pub(super) fn pack(first: Sequence) -> Vec<u8> {
    [PACK_PREFIX, &sequence(first)].concat()
}

pub(super) fn lead(at: Sequence) -> Vec<u8> {
    [LEAD_PREFIX, &sequence(at)].concat()
}

pub(super) fn heads(pair: Pair) -> Vec<u8> {
    [HEADS_PREFIX, pair.to_string().as_bytes()].concat()
}

pub(super) fn heads_value(heads: &Heads) -> Vec<u8> {
    let mut value = [heads.newest, heads.covering, heads.tick].map(sequence).concat();
    if let Some((slot, interval)) = heads.covered {
        value.extend(instant(slot.start()));
        value.extend(interval.millis().to_be_bytes());
    }
    value
}

pub(super) fn read_heads_pair(key: &[u8]) -> Option<Pair> {
    std::str::from_utf8(key.strip_prefix(HEADS_PREFIX)?).ok()?.parse().ok()
}

pub(super) fn read_heads(value: &[u8]) -> Option<Heads> {
    let (newest, rest) = value.split_at_checked(8)?;
    let (covering, rest) = rest.split_at_checked(8)?;
    let (tick, rest) = rest.split_at_checked(8)?;
    let covered = match rest.split_at_checked(8) {
        None => None,
        Some((slot, millis)) => {
            let interval = read_interval(millis)?;
            Some((read_slot(interval, slot)?, interval))
        }
    };
    Some(Heads {
        newest: read_sequence(newest)?,
        covering: read_sequence(covering)?,
        tick: read_sequence(tick)?,
        covered,
    })
}

/// From where on everything of a pair is kept.
pub(super) fn oldest(pair: Pair) -> Vec<u8> {
    [OLDEST_PREFIX, pair.to_string().as_bytes()].concat()
}

/// A pair's first slot, behind the newest position before which the log had lost others when the pair was first
/// met: there may have been records of it.
pub(super) fn oldest_value(hole: Option<Sequence>, first: Timestamp) -> Vec<u8> {
    [sequence(hole.unwrap_or_default()), instant(first)].concat()
}

/// That position, if there is one: only an instant is left where the oldest slots are past retention.
pub(super) fn read_hole_before(value: &[u8]) -> Option<Sequence> {
    let (hole, _first) = value.split_first_chunk::<8>().filter(|(_, rest)| rest.len() == 8)?;
    Some(Sequence(u64::from_be_bytes(*hole)))
}

/// A block, by its first slot.
pub(super) fn block(pair: Pair, start: Timestamp) -> Vec<u8> {
    of_pair(b"b", pair, instant(start))
}

/// Where the block is that begins with the tick at a position.
pub(super) fn block_index(pair: Pair, first: Sequence) -> Vec<u8> {
    of_pair(b"i", pair, sequence(first))
}

/// A row of roll-ups.
pub(super) fn rollup(tier: Tier, pair: Pair, start: Timestamp) -> Vec<u8> {
    of_pair(&[b'u', tier.letter()], pair, instant(start))
}

/// Gaps of a pair do not overlap, so that their last slots put them in order, and the first row at or
/// behind an instant is that of the only gap which can contain it.
pub(super) fn gap(pair: Pair, last: Timestamp) -> Vec<u8> {
    of_pair(b"g", pair, instant(last))
}

/// Where the gap is whose record has a position.
pub(super) fn gap_index(pair: Pair, at: Sequence) -> Vec<u8> {
    of_pair(b"j", pair, sequence(at))
}

fn of_pair(prefix: &[u8], pair: Pair, number: [u8; 8]) -> Vec<u8> {
    [prefix, pair.to_string().as_bytes(), b"\0", &number].concat()
}

/// An instant as a value, or at the end of a key. Timestamps are never negative, so their bytes are in order.
pub(super) fn instant(at: Timestamp) -> [u8; 8] {
    at.unix_millis().to_be_bytes()
}

/// The instant that a key or value ends with.
pub(super) fn read_instant(bytes: &[u8]) -> Option<Timestamp> {
    Timestamp::from_unix_millis(i64::from_be_bytes(*bytes.last_chunk()?)).ok()
}

pub(super) fn gap_value(gap: &StoredGap) -> Vec<u8> {
    let (at, epoch) = gap.recorded.unwrap_or((Sequence::default(), Epoch(0)));
    [
        sequence(at).as_slice(),
        &instant(gap.from.start()),
        &gap.interval.millis().to_be_bytes(),
        &epoch.0.to_be_bytes(),
        &gap.asked.unwrap_or(NOBODY_ASKED).to_be_bytes(),
        gap.cause.as_str().as_bytes(),
    ]
    .concat()
}

pub(super) fn read_gap(key: &[u8], value: &[u8]) -> Option<StoredGap> {
    let (_, last) = key.split_last_chunk::<8>()?;
    let (at, rest) = value.split_at_checked(8)?;
    let (from, rest) = rest.split_at_checked(8)?;
    let (millis, rest) = rest.split_at_checked(8)?;
    let (epoch, rest) = rest.split_at_checked(8)?;
    let (asked, cause) = rest.split_at_checked(4)?;
    let interval = read_interval(millis)?;
    let asked = u32::from_be_bytes(asked.try_into().ok()?);
    let (at, epoch) = (read_sequence(at)?, Epoch(u64::from_be_bytes(epoch.try_into().ok()?)));
    Some(StoredGap {
        from: read_slot(interval, from)?,
        slot: read_slot(interval, last)?,
        interval,
        cause: std::str::from_utf8(cause).ok()?.parse::<GapCause>().ok()?,
        recorded: (at != Sequence::default()).then_some((at, epoch)),
        asked: (asked != NOBODY_ASKED).then_some(asked),
    })
}

/// In a gap's row: there are no quotes, because nobody was asked.
const NOBODY_ASKED: u32 = u32::MAX;

fn read_interval(millis: &[u8]) -> Option<Interval> {
    Interval::new(Span::from_millis(u64::from_be_bytes(millis.try_into().ok()?))?).ok()
}

fn read_slot(interval: Interval, millis: &[u8]) -> Option<Slot> {
    interval.slot(read_instant(millis)?)
}

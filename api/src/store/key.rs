//! Names and shapes of the store's rows. Numbers are big-endian, so that rows lie in order.
//!
//! | key | value |
//! |---|---|
//! | `mformat`, `midentity`, `mcursor` | format version, log identity, newest committed position |
//! | `r` sequence | the record's bytes |
//! | `t` pair `\0` slot | sequence, interval, price |
//! | `g` pair `\0` last slot | sequence, first slot, interval, epoch, how many were asked, cause |
//! | `h` pair | positions of the pair's newest record, tick or gap, and tick |

use common::domain::{Epoch, Gap, GapCause, Interval, Pair, Price, Sequence, Slot, Span, Timestamp, Words};
use rust_decimal::Decimal;

use super::{Heads, StoredGap, StoredTick};

pub(super) const FORMAT: &[u8] = b"mformat";
pub(super) const IDENTITY: &[u8] = b"midentity";
pub(super) const CURSOR: &[u8] = b"mcursor";
pub(super) const RECORD_PREFIX: &[u8] = b"r";
pub(super) const HEADS_PREFIX: &[u8] = b"h";
pub(super) const GAP_PREFIX: &[u8] = b"g";

pub(super) fn sequence(sequence: Sequence) -> [u8; 8] {
    sequence.0.to_be_bytes()
}

pub(super) fn read_record_sequence(key: &[u8]) -> Option<Sequence> {
    read_sequence(key.strip_prefix(RECORD_PREFIX)?)
}

pub(super) fn read_sequence(bytes: &[u8]) -> Option<Sequence> {
    Some(Sequence(u64::from_be_bytes(bytes.try_into().ok()?)))
}

pub(super) fn record(at: Sequence) -> Vec<u8> {
    [RECORD_PREFIX, &sequence(at)].concat()
}

pub(super) fn heads(pair: Pair) -> Vec<u8> {
    [HEADS_PREFIX, pair.to_string().as_bytes()].concat()
}

pub(super) fn heads_value(heads: Heads) -> Vec<u8> {
    [heads.newest, heads.covering, heads.tick].map(sequence).concat()
}

pub(super) fn read_heads_pair(key: &[u8]) -> Option<Pair> {
    std::str::from_utf8(key.strip_prefix(HEADS_PREFIX)?).ok()?.parse().ok()
}

pub(super) fn read_heads(value: &[u8]) -> Option<Heads> {
    let (newest, rest) = value.split_at_checked(8)?;
    let (covering, tick) = rest.split_at_checked(8)?;
    Some(Heads {
        newest: read_sequence(newest)?,
        covering: read_sequence(covering)?,
        tick: read_sequence(tick)?,
    })
}

pub(super) fn tick(pair: Pair, slot: Timestamp) -> Vec<u8> {
    // Timestamps are never negative, so their bytes are in order.
    [b"t", pair.to_string().as_bytes(), b"\0", &slot.unix_millis().to_be_bytes()].concat()
}

pub(super) fn tick_value(at: Sequence, interval: Interval, price: Price) -> Vec<u8> {
    let (mantissa, scale) = (price.decimal().mantissa(), price.decimal().scale());
    let millis = interval.millis().to_be_bytes();
    [sequence(at).as_slice(), &millis, &mantissa.to_be_bytes(), &scale.to_be_bytes()].concat()
}

pub(super) fn read_tick(key: &[u8], value: &[u8]) -> Option<StoredTick> {
    let (_, slot) = key.split_last_chunk::<8>()?;
    let (at, rest) = value.split_at_checked(8)?;
    let (millis, rest) = rest.split_at_checked(8)?;
    let (mantissa, scale) = rest.split_at_checked(16)?;
    let interval = read_interval(millis)?;
    let mantissa = i128::from_be_bytes(mantissa.try_into().ok()?);
    let scale = u32::from_be_bytes(scale.try_into().ok()?);
    let price = Decimal::try_from_i128_with_scale(mantissa, scale).ok()?;
    Some(StoredTick {
        slot: read_slot(interval, slot)?,
        interval,
        price: Price::new(price).ok()?,
        sequence: read_sequence(at)?,
    })
}

/// Gaps of a pair do not overlap, so that their last slots put them in order, and the first row at or
/// behind an instant is that of the only gap which can contain it.
pub(super) fn gap(pair: Pair, last: Timestamp) -> Vec<u8> {
    [GAP_PREFIX, pair.to_string().as_bytes(), b"\0", &last.unix_millis().to_be_bytes()].concat()
}

pub(super) fn gap_value(at: Sequence, epoch: Epoch, gap: &Gap) -> Vec<u8> {
    let asked = gap.evidence.as_ref().map(|evidence| evidence.quotes.len());
    // A record of 64 kB holds a few hundred quotes at most.
    let asked = asked.map_or(NOBODY_ASKED, |count| u32::try_from(count).unwrap_or(NOBODY_ASKED - 1));
    [
        sequence(at).as_slice(),
        &gap.from.start().unix_millis().to_be_bytes(),
        &gap.interval.millis().to_be_bytes(),
        &epoch.0.to_be_bytes(),
        &asked.to_be_bytes(),
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
    Some(StoredGap {
        from: read_slot(interval, from)?,
        slot: read_slot(interval, last)?,
        interval,
        cause: std::str::from_utf8(cause).ok()?.parse::<GapCause>().ok()?,
        sequence: read_sequence(at)?,
        epoch: Epoch(u64::from_be_bytes(epoch.try_into().ok()?)),
        asked: (asked != NOBODY_ASKED).then_some(asked),
    })
}

/// In a gap's row: there are no quotes, because nobody was asked.
const NOBODY_ASKED: u32 = u32::MAX;

fn read_interval(millis: &[u8]) -> Option<Interval> {
    Interval::new(Span::from_millis(u64::from_be_bytes(millis.try_into().ok()?))?).ok()
}

fn read_slot(interval: Interval, millis: &[u8]) -> Option<Slot> {
    let instant = Timestamp::from_unix_millis(i64::from_be_bytes(millis.try_into().ok()?)).ok()?;
    interval.slot(instant)
}

//! Names and shapes of the store's rows. Numbers are big-endian, so that rows lie in order.
//!
//! | key | value |
//! |---|---|
//! | `mformat`, `midentity`, `mcursor` | format version, log identity, newest committed position |
//! | `r` sequence | the record's bytes |
//! | `t` pair `\0` slot | sequence, interval, price |
//! | `h` pair | positions of the pair's newest record, tick or gap, and tick |

use common::domain::{Interval, Pair, Price, Sequence, Span, Timestamp};
use rust_decimal::Decimal;

use super::{Heads, StoredTick};

pub(super) const FORMAT: &[u8] = b"mformat";
pub(super) const IDENTITY: &[u8] = b"midentity";
pub(super) const CURSOR: &[u8] = b"mcursor";
pub(super) const RECORD_PREFIX: &[u8] = b"r";
pub(super) const HEADS_PREFIX: &[u8] = b"h";

pub(super) fn sequence(sequence: Sequence) -> [u8; 8] {
    sequence.0.to_be_bytes()
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
    let interval = Span::from_millis(u64::from_be_bytes(millis.try_into().ok()?))?;
    let interval = Interval::new(interval).ok()?;
    let mantissa = i128::from_be_bytes(mantissa.try_into().ok()?);
    let scale = u32::from_be_bytes(scale.try_into().ok()?);
    let price = Decimal::try_from_i128_with_scale(mantissa, scale).ok()?;
    Some(StoredTick {
        slot: interval.slot(Timestamp::from_unix_millis(i64::from_be_bytes(*slot)).ok()?)?,
        interval,
        price: Price::new(price).ok()?,
        sequence: read_sequence(at)?,
    })
}

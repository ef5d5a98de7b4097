//! Variable-length integers. Each byte has seven bits of the number, lowest bits first. The top bit is set in every
//! byte but the last.

pub(crate) fn write(bytes: &mut Vec<u8>, number: u128) {
    bytes.extend_from_slice(unsigned_varint::encode::u128(
        number,
        &mut unsigned_varint::encode::u128_buffer(),
    ));
}

/// Removes a number from the front. Returns `None` if there is no valid number.
pub(crate) fn read(bytes: &mut &[u8]) -> Option<u128> {
    let (number, rest) = unsigned_varint::decode::u128(bytes).ok()?;
    *bytes = rest;
    Some(number)
}

/// Removes a number of at most 64 bits from the front. Returns `None` if there is no valid number.
pub(crate) fn read_u64(bytes: &mut &[u8]) -> Option<u64> {
    u64::try_from(read(bytes)?).ok()
}

/// Zigzag-encodes a signed number, so that numbers near zero stay small.
pub(crate) fn fold(number: i128) -> u128 {
    // The sign moves to the lowest bit: 0, -1, 1, -2 become 0, 1, 2, 3.
    (number.cast_unsigned() << 1) ^ (number >> 127).cast_unsigned()
}

/// Decodes a zigzag-encoded number.
pub(crate) fn unfold(folded: u128) -> i128 {
    (folded >> 1).cast_signed() ^ -((folded & 1).cast_signed())
}

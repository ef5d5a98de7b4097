//! Numbers of variable length: seven bits a byte, the last byte's top bit clear.

/// Appends a number.
pub(crate) fn write(bytes: &mut Vec<u8>, number: u128) {
    bytes.extend_from_slice(unsigned_varint::encode::u128(
        number,
        &mut unsigned_varint::encode::u128_buffer(),
    ));
}

/// Takes a number from the front; nothing where none stands there.
pub(crate) fn read(bytes: &mut &[u8]) -> Option<u128> {
    let (number, rest) = unsigned_varint::decode::u128(bytes).ok()?;
    *bytes = rest;
    Some(number)
}

/// Takes a number of 64 bits from the front; nothing where none stands there.
pub(crate) fn read_u64(bytes: &mut &[u8]) -> Option<u64> {
    u64::try_from(read(bytes)?).ok()
}

/// A signed number as an unsigned one that is small where the signed one is near zero.
pub(crate) fn fold(number: i128) -> u128 {
    // The sign goes to the lowest bit: 0, -1, 1, -2, …
    (number.cast_unsigned() << 1) ^ (number >> 127).cast_unsigned()
}

/// The signed number again.
pub(crate) fn unfold(folded: u128) -> i128 {
    (folded >> 1).cast_signed() ^ -((folded & 1).cast_signed())
}

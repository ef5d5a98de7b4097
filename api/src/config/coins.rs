//! The settings of CoinGecko's dialect.

use std::{fmt, str::FromStr};

use common::domain::Asset;

/// How many characters of an invalid setting an error message repeats at most.
const MAX_REPEATED: usize = 60;

/// The longest id. CoinGecko's own ids are shorter than this.
const MAX_ID_LENGTH: usize = 100;

/// The id of an asset in CoinGecko's dialect, written `FOO=foo-protocol`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoinId {
    /// The asset.
    pub asset: Asset,
    /// The id.
    pub id: String,
}

/// The text is not an asset and its id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an asset and its id; write the asset's name in your pairs, `=`, and an id of lower-case letters, \
     digits, `-`, `_` and `.`, like FOO=foo-protocol"
)]
pub struct CoinIdError(String);

impl FromStr for CoinId {
    type Err = CoinIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (asset, id) = text.split_once('=')?;
            let fits = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
            };
            let is_id = (1..=MAX_ID_LENGTH).contains(&id.len()) && id.bytes().all(fits);
            is_id.then_some(Self { asset: asset.parse().ok()?, id: id.to_owned() })
        };
        parse().ok_or_else(|| CoinIdError(text.chars().take(MAX_REPEATED).collect()))
    }
}

impl fmt::Display for CoinId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.asset, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_belongs_to_an_asset() {
        assert_eq!("foo=foo-protocol".parse::<CoinId>().unwrap().to_string(), "FOO=foo-protocol");
        for text in ["", "FOO", "FOO=", "=foo", "FOO=Foo", "FOO=a/b", "FOO=a b", "F-O=foo", "FOO=a,b"] {
            assert!(text.parse::<CoinId>().is_err(), "{text}");
        }
    }
}

//! A pair of assets, written `BTC-USD`.

use std::{fmt, str::FromStr};

use arrayvec::ArrayString;

/// The longest asset symbol we take; the longest in wide use have nine characters.
const MAX_ASSET_LENGTH: usize = 10;

/// An asset, written `BTC`: letters and digits. Parsing takes any case; display is canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asset(ArrayString<MAX_ASSET_LENGTH>);

/// Why a text is not an asset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an asset: write letters and digits like BTC, at most 10")]
pub struct AssetError(String);

/// Base and quote asset. `BTC-USDT` is another pair than `BTC-USD`.
///
/// Parsing takes any case and `-`, `_` or `/` between the assets; display is canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    base: Asset,
    quote: Asset,
}

/// Why a text is not a pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pair: write base and quote like BTC-USD, letters and digits, at most 10 each")]
pub struct PairError(String);

impl Pair {
    /// The asset that is priced, such as `BTC`.
    pub fn base(&self) -> &str {
        &self.base.0
    }

    /// The asset that the price counts, such as `USD`.
    pub fn quote(&self) -> &str {
        &self.quote.0
    }

    /// Both: the one that is priced, and the one that the price counts.
    pub fn assets(&self) -> [Asset; 2] {
        [self.base, self.quote]
    }
}

impl FromStr for Pair {
    type Err = PairError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, quote) = text.split_once(['-', '_', '/']).ok_or_else(|| PairError(excerpt(text)))?;
        match (base.parse::<Asset>(), quote.parse::<Asset>()) {
            (Ok(base), Ok(quote)) if base != quote => Ok(Self { base, quote }),
            _ => Err(PairError(excerpt(text))),
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` honours widths, so that pairs line up in terminal output.
        formatter.pad(&format!("{}-{}", self.base, self.quote))
    }
}

impl FromStr for Asset {
    type Err = AssetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let name = ArrayString::from(text).ok().filter(|_| valid);
        let mut name = name.ok_or_else(|| AssetError(excerpt(text)))?;
        name.make_ascii_uppercase();
        Ok(Self(name))
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// Error messages repeat what was given, but never a megabyte of it.
fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_come_back_canonical() {
        for text in ["BTC-USD", "btc-usd", "BTC_USD", "btc/Usd"] {
            assert_eq!(text.parse::<Pair>().unwrap().to_string(), "BTC-USD");
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "BTC",
            "-",
            "BTC-",
            "-USD",
            "BTC-USD-X",
            "BTC-BTC",
            "BT C-USD",
            "BTC.X-USD",
            "ABCDEFGHIJK-USD",
            "₿-USD",
        ] {
            assert!(text.parse::<Pair>().is_err(), "{text}");
        }
        assert_eq!("eth2".parse::<Asset>().unwrap().to_string(), "ETH2");
        for text in ["", "ABCDEFGHIJK", "BTC-USD", "₿", "B C"] {
            assert!(text.parse::<Asset>().is_err(), "{text}");
        }
    }
}

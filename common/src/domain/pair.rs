//! A pair of assets, written `BTC-USD`.

use std::{fmt, str::FromStr};

use arrayvec::ArrayString;

/// The largest length of an asset symbol. The longest symbols in wide use have nine characters.
const MAX_ASSET_LENGTH: usize = 10;

/// An asset, such as `BTC`: letters and digits. Parsing accepts any case; `Display` uses upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asset(ArrayString<MAX_ASSET_LENGTH>);

/// The text is not a valid asset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid asset; use 1 to 10 letters and digits, like BTC")]
pub struct AssetError(String);

/// A base asset and a quote asset. `BTC-USDT` and `BTC-USD` are different pairs.
///
/// Parsing accepts any case, and `-`, `_` or `/` between the assets; `Display` uses upper case and `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    base: Asset,
    quote: Asset,
}

/// The text is not a valid pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid pair; use two different assets of 1 to 10 letters and digits, like BTC-USD")]
pub struct PairError(String);

impl Pair {
    /// The asset whose price is given, such as `BTC`.
    pub fn base(&self) -> &str {
        &self.base.0
    }

    /// The asset in which the price is given, such as `USD`.
    pub fn quote(&self) -> &str {
        &self.quote.0
    }

    /// The base and the quote asset.
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
        match formatter.width() {
            // `pad` applies the width in the caller's format string, so that commands can print pairs in columns.
            Some(_) => formatter.pad(&format!("{}-{}", self.base, self.quote)),
            None => write!(formatter, "{}-{}", self.base, self.quote),
        }
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

/// Shortens the input for an error message.
fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_are_displayed_the_same() {
        for text in ["BTC-USD", "btc-usd", "BTC_USD", "btc/Usd"] {
            assert_eq!(text.parse::<Pair>().unwrap().to_string(), "BTC-USD");
        }
    }

    #[test]
    fn invalid_texts_are_rejected() {
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

//! Which asset of a pair CoinGecko's ids, names and symbols stand for.

use common::{coins::COINS, domain::Asset};

use crate::config::CoinId;

/// A coin that clients can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownCoin {
    pub(super) asset: Asset,
    pub(super) id: String,
    pub(super) name: String,
}

/// All coins that clients can ask for: the better-known ones, and those in the settings.
#[derive(Debug)]
pub(crate) struct Coins(Vec<KnownCoin>);

impl Coins {
    /// The better-known coins, and those in the settings. A coin in the settings replaces those with the same asset or
    /// id.
    pub(crate) fn with(settings: &[CoinId]) -> Self {
        let known = COINS.iter().filter_map(|coin| {
            let (id, name) = (coin.id.to_owned(), coin.name.to_owned());
            Some(KnownCoin { asset: coin.asset.parse().ok()?, id, name })
        });
        let mut coins: Vec<KnownCoin> = known.collect();
        for CoinId { asset, id } in settings {
            coins.retain(|coin| coin.asset != *asset && coin.id != *id);
            coins.push(KnownCoin { asset: *asset, id: id.clone(), name: asset.to_string() });
        }
        Self(coins)
    }

    /// The asset with an id.
    pub(super) fn with_id(&self, id: &str) -> Option<Asset> {
        self.0.iter().find(|coin| coin.id.eq_ignore_ascii_case(id)).map(|coin| coin.asset)
    }

    /// The asset with a name.
    pub(super) fn named(&self, name: &str) -> Option<Asset> {
        self.0.iter().find(|coin| coin.name.eq_ignore_ascii_case(name)).map(|coin| coin.asset)
    }

    /// The coin of an asset.
    pub(super) fn of(&self, asset: Asset) -> Option<&KnownCoin> {
        self.0.iter().find(|coin| coin.asset == asset)
    }
}

/// CoinGecko's names and signs of currencies that are not coins.
const CURRENCIES: [(&str, &str, &str); 22] = [
    ("AUD", "Australian Dollar", "A$"),
    ("BRL", "Brazil Real", "R$"),
    ("CAD", "Canadian Dollar", "CA$"),
    ("CHF", "Swiss Franc", "Fr."),
    ("CNY", "Chinese Yuan", "¥"),
    ("CZK", "Czech Koruna", "Kč"),
    ("DKK", "Danish Krone", "kr."),
    ("EUR", "Euro", "€"),
    ("GBP", "British Pound Sterling", "£"),
    ("HKD", "Hong Kong Dollar", "HK$"),
    ("INR", "Indian Rupee", "₹"),
    ("JPY", "Japanese Yen", "¥"),
    ("KRW", "South Korean Won", "₩"),
    ("MXN", "Mexican Peso", "MX$"),
    ("NOK", "Norwegian Krone", "kr"),
    ("NZD", "New Zealand Dollar", "NZ$"),
    ("PLN", "Polish Zloty", "zł"),
    ("SEK", "Swedish Krona", "kr"),
    ("SGD", "Singapore Dollar", "S$"),
    ("TRY", "Turkish Lira", "₺"),
    ("USD", "US Dollar", "$"),
    ("ZAR", "South African Rand", "R"),
];

/// The name and sign of an asset that is a currency.
pub(super) fn currency(asset: Asset) -> Option<(&'static str, &'static str)> {
    let code = asset.to_string();
    CURRENCIES.iter().find(|(known, ..)| *known == code).map(|(_, name, sign)| (*name, *sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(text: &str) -> Asset {
        text.parse().unwrap()
    }

    #[test]
    fn known_coins_have_ids_and_names() {
        let coins = Coins::with(&[]);
        assert_eq!(coins.with_id("bitcoin"), Some(asset("BTC")));
        assert_eq!(coins.with_id("Bitcoin"), Some(asset("BTC")));
        assert_eq!(coins.named("bitcoin cash"), Some(asset("BCH")));
        assert_eq!(coins.with_id("btc"), None);
        assert_eq!(coins.of(asset("AVAX")).unwrap().id, "avalanche-2");
    }

    #[test]
    fn settings_add_coins_and_replace_known_ones() {
        let settings =
            ["FOO=foo-coin", "WETH=ethereum", "BTC=bitcoin-core"].map(|text| text.parse().unwrap());
        let coins = Coins::with(&settings);
        assert_eq!(coins.with_id("foo-coin"), Some(asset("FOO")));
        assert_eq!(coins.named("FOO"), Some(asset("FOO")));
        assert_eq!(coins.with_id("ethereum"), Some(asset("WETH")));
        assert_eq!(coins.of(asset("ETH")), None);
        assert_eq!((coins.with_id("bitcoin"), coins.with_id("bitcoin-core")), (None, Some(asset("BTC"))));
    }

    #[test]
    fn currencies_are_no_coins() {
        assert_eq!(currency(asset("USD")), Some(("US Dollar", "$")));
        let coins = Coins::with(&[]);
        for (code, ..) in CURRENCIES {
            assert_eq!(coins.of(asset(code)), None, "{code}");
        }
        assert_eq!(currency(asset("BTC")), None);
    }
}

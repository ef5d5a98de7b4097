//! The better-known coins under CoinGecko's names for them.
//!
//! The poller needs the ids to ask CoinGecko for prices, and the API needs them to speak CoinGecko's dialect. CoinGecko's
//! symbols are not unique (several coins use BTC), so an id cannot be derived from the name of an asset.

/// A coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coin {
    /// The name of the asset in pairs, such as `BTC`.
    pub asset: &'static str,
    /// CoinGecko's id, such as `bitcoin`.
    pub id: &'static str,
    /// CoinGecko's name, such as `Bitcoin`.
    pub name: &'static str,
}

/// The known coins. Neither an asset nor an id occurs twice.
pub const COINS: [Coin; 45] = [
    coin("BTC", "bitcoin", "Bitcoin"),
    coin("ETH", "ethereum", "Ethereum"),
    coin("USDT", "tether", "Tether"),
    coin("USDC", "usd-coin", "USDC"),
    coin("DAI", "dai", "Dai"),
    coin("BNB", "binancecoin", "BNB"),
    coin("SOL", "solana", "Solana"),
    coin("XRP", "ripple", "XRP"),
    coin("ADA", "cardano", "Cardano"),
    coin("DOGE", "dogecoin", "Dogecoin"),
    coin("TRX", "tron", "TRON"),
    coin("DOT", "polkadot", "Polkadot"),
    coin("AVAX", "avalanche-2", "Avalanche"),
    coin("LINK", "chainlink", "Chainlink"),
    coin("LTC", "litecoin", "Litecoin"),
    coin("BCH", "bitcoin-cash", "Bitcoin Cash"),
    coin("XLM", "stellar", "Stellar"),
    coin("ATOM", "cosmos", "Cosmos Hub"),
    coin("UNI", "uniswap", "Uniswap"),
    coin("ETC", "ethereum-classic", "Ethereum Classic"),
    coin("XMR", "monero", "Monero"),
    coin("ALGO", "algorand", "Algorand"),
    coin("AAVE", "aave", "Aave"),
    coin("APT", "aptos", "Aptos"),
    coin("ARB", "arbitrum", "Arbitrum"),
    coin("BONK", "bonk", "Bonk"),
    coin("BSV", "bitcoin-cash-sv", "Bitcoin SV"),
    coin("CRV", "curve-dao-token", "Curve DAO"),
    coin("DASH", "dash", "Dash"),
    coin("FIL", "filecoin", "Filecoin"),
    coin("HBAR", "hedera-hashgraph", "Hedera"),
    coin("ICP", "internet-computer", "Internet Computer"),
    coin("INJ", "injective-protocol", "Injective"),
    coin("MKR", "maker", "Maker"),
    coin("NEAR", "near", "NEAR Protocol"),
    coin("OP", "optimism", "Optimism"),
    coin("PAXG", "pax-gold", "PAX Gold"),
    coin("PEPE", "pepe", "Pepe"),
    coin("SHIB", "shiba-inu", "Shiba Inu"),
    coin("SUI", "sui", "Sui"),
    coin("TON", "the-open-network", "Toncoin"),
    coin("WBTC", "wrapped-bitcoin", "Wrapped Bitcoin"),
    coin("XTZ", "tezos", "Tezos"),
    coin("ZEC", "zcash", "Zcash"),
    coin("BTT", "bittorrent", "BitTorrent"),
];

const fn coin(asset: &'static str, id: &'static str, name: &'static str) -> Coin {
    Coin { asset, id, name }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::Asset;

    #[test]
    fn assets_and_ids_are_valid_and_unique() {
        let assets: BTreeSet<Asset> = COINS.iter().map(|coin| coin.asset.parse().unwrap()).collect();
        let ids: BTreeSet<&str> = COINS.iter().map(|coin| coin.id).collect();
        assert_eq!((assets.len(), ids.len()), (COINS.len(), COINS.len()));
    }
}

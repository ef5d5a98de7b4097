//! Tests of the mapping between pairs and symbols, with the exchanges' recorded lists of markets.
//!
//! The recordings cannot be published, so they are not in the repository, and these tests do nothing without them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use common::domain::Pair;
use poller::source::{Market, MarketList, exchanges};
use serde_json::Value;

use crate::payloads::recordings_in;

/// The recorded lists: exchange and files. Bitfinex's response consists of two recordings.
const LISTS: [(&str, &[&str]); 5] = [
    ("kraken", &["kraken_AssetPairs_sample.json"]),
    ("bitstamp", &["bitstamp_trading_pairs_info.json"]),
    ("gemini", &["gemini_symbols_details_all.json"]),
    ("binance", &["binance_exchangeInfo_2025-08.json"]),
    ("bitfinex", &["bitfinex_conf_pub_list_pair_exchange.json", "bitfinex_conf_pub_map_currency_sym.json"]),
];

fn recorded(files: &[&str]) -> Option<Value> {
    let folder = recordings_in("markets")?;
    let read =
        |file: &&str| -> Value { serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap() };
    let mut values: Vec<Value> = files.iter().map(read).collect();
    if let [list, map] = values.as_slice() {
        return Some(Value::from(vec![list[0].clone(), map[0].clone()]));
    }
    values.pop()
}

/// What a list says: whether each pair is halted. Reads the list independently of the parsers.
fn expected(exchange: &str, list: &Value) -> BTreeMap<Pair, bool> {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let named = |base: &str, quote: &str| format!("{base}-{quote}").parse::<Pair>().ok();
    let mut found = BTreeMap::new();
    let mut add = |pair: Option<Pair>, is_halted: bool| {
        if let Some(pair) = pair {
            found.entry(pair).and_modify(|halted: &mut bool| *halted &= is_halted).or_insert(is_halted);
        }
    };
    match exchange {
        "kraken" => {
            for market in list["result"].as_object().unwrap().values() {
                let name = text(market, "wsname").replace("XBT", "BTC").replace("XDG", "DOGE");
                let (base, quote) = name.split_once('/').unwrap();
                add(named(base, quote), text(market, "status") == "cancel_only");
            }
        }
        "bitstamp" => {
            for market in list.as_array().unwrap() {
                let name = text(market, "name");
                let (base, quote) = name.split_once('/').unwrap();
                add(named(base, quote), text(market, "trading") == "Disabled");
            }
        }
        "gemini" => {
            for market in
                list.as_array().unwrap().iter().filter(|market| text(market, "product_type") != "swap")
            {
                let is_halted = !["open", "limit_only"].contains(&text(market, "status").as_str());
                add(named(&text(market, "base_currency"), &text(market, "quote_currency")), is_halted);
            }
        }
        "binance" => {
            for market in list["symbols"].as_array().unwrap() {
                let is_halted = text(market, "status") != "TRADING";
                add(named(&text(market, "baseAsset"), &text(market, "quoteAsset")), is_halted);
            }
        }
        _ => {
            let renamed: BTreeMap<&str, String> = list[1]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| (row[0].as_str().unwrap(), row[1].as_str().unwrap().to_uppercase()))
                .collect();
            // The recorded map is newer than the recorded list, so it lacks ALG.
            let usual = |code: &str| match code {
                "ALG" => "ALGO".to_owned(),
                _ => renamed.get(code).cloned().unwrap_or_else(|| code.to_owned()),
            };
            for name in list[0].as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
                let (base, quote) = name.split_once(':').unwrap_or_else(|| name.split_at(3));
                add(named(&usual(base), &usual(quote)), false);
            }
        }
    }
    found
}

fn assert_distinct<'a>(markets: impl Iterator<Item = &'a Market>, what: &str) {
    let (mut symbols, mut names) = (BTreeMap::new(), BTreeMap::new());
    for market in markets {
        for (seen, name) in [(&mut symbols, vec![market.symbol.clone()]), (&mut names, market.names.clone())]
        {
            for name in name {
                let other = seen.insert(name.clone(), market.pair);
                assert!(
                    other.is_none_or(|other| other == market.pair),
                    "{what}: {other:?} and {} are both {name}",
                    market.pair
                );
            }
        }
    }
}

#[test]
fn every_market_in_a_recorded_list_is_found_under_a_symbol_of_its_own() {
    for (exchange, files) in LISTS {
        let Some(recorded) = recorded(files) else { return };
        let list: MarketList = exchanges::named(exchange).unwrap().parse_list(&recorded.to_string()).unwrap();
        let found: BTreeMap<Pair, bool> =
            list.iter().map(|listed| (listed.market.pair, listed.is_halted)).collect();
        assert_eq!(found, expected(exchange, &recorded), "{exchange}");
        assert_distinct(list.iter().map(|listed| &listed.market), exchange);
    }
}

#[test]
fn symbols_by_rules_are_those_in_the_recorded_lists() {
    for (exchange, files) in LISTS {
        let Some(recorded) = recorded(files) else { return };
        let exchange = exchanges::named(exchange).unwrap();
        let list = exchange.parse_list(&recorded.to_string()).unwrap();
        let (mut same, mut other) = (0, Vec::new());
        for listed in list.iter() {
            match exchange.market(listed.market.pair) {
                Some(market)
                    if market.symbol == listed.market.symbol
                        && listed.market.names.iter().all(|name| market.has_name(name)) =>
                {
                    same += 1;
                }
                market => other.push((listed.market.pair.to_string(), market.map(|market| market.symbol))),
            }
        }
        // Bitfinex's recorded list is old: most of the assets that it renamed are no longer traded there.
        let allowed = if exchange.name() == "bitfinex" { 50 } else { 0 };
        assert!(same > 0 && other.len() <= allowed, "{exchange}: {same}, {other:?}");
        for renamed in ["ATOM-USD", "DASH-USD", "IOTA-USD", "USDT-USD", "USDC-USD", "ALGO-USD"] {
            assert!(other.iter().all(|(pair, _)| pair != renamed), "{exchange} {renamed} {other:?}");
        }
    }
}

#[test]
fn no_two_of_kraken_s_markets_share_a_symbol() {
    let Some(folder) = recordings_in("payloads-2026") else { return };
    let body = fs::read(folder.join("kraken/ticker_all_assetVersion1_2026-07-23.json")).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let pairs: BTreeSet<Pair> =
        body["result"].as_object().unwrap().keys().filter_map(|name| name.parse().ok()).collect();
    assert!(pairs.len() > 1_500, "{}", pairs.len());
    for exchange in exchanges::ALL {
        let markets: Vec<Market> = pairs.iter().filter_map(|pair| exchange.market(*pair)).collect();
        assert_distinct(markets.iter(), exchange.name());
    }
}

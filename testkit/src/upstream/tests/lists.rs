//! Tests of the venues' lists of markets.

use serde_json::json;

use super::*;
use crate::fault::catalogue;

/// The request for a venue's list of markets.
fn list_path(venue: Venue) -> String {
    format!("/{venue}{}", dialect::list_path(venue))
}

async fn list(upstream: &FakeUpstream, venue: Venue) -> Value {
    let (status, body) = get(upstream, &list_path(venue)).await;
    assert_eq!(status, 200, "{venue}");
    body
}

/// The values of a field in all rows.
fn column<'a>(rows: &'a Value, field: &str) -> Vec<&'a Value> {
    rows.as_array().unwrap().iter().map(|row| &row[field]).collect()
}

#[tokio::test]
async fn the_paths_are_those_of_the_venues() {
    assert_eq!(
        Venue::ALL.map(list_path),
        [
            "/kraken/0/public/AssetPairs",
            "/coinbase/products",
            "/bitstamp/api/v2/trading-pairs-info/",
            "/gemini/v1/symbols/details/all",
            "/bitfinex/v2/conf/pub:list:pair:exchange,pub:map:currency:sym",
            "/coingecko/api/v3/coins/list",
            "/binance/api/v3/exchangeInfo",
        ]
    );
}

#[tokio::test]
async fn kraken_lists_asset_pairs_by_their_canonical_names() {
    let upstream = start().await;
    upstream.set_price(Venue::Kraken, "DOGE-USD", Some("0.1"));
    upstream.set_price(Venue::Kraken, "USDT-USD", Some("1"));
    let body = list(&upstream, Venue::Kraken).await;
    assert_eq!(body["error"], json!([]));
    let result = &body["result"];
    assert_eq!(keys(result), ["USDTZUSD", "XBTCHF", "XDGUSD", "XETHZUSD", "XXBTZUSD"]);
    for (name, expected) in [
        ("XXBTZUSD", ["XBTUSD", "XBT/USD", "XXBT", "ZUSD", "online"]),
        ("XDGUSD", ["XDGUSD", "XDG/USD", "XXDG", "ZUSD", "online"]),
        ("USDTZUSD", ["USDTUSD", "USDT/USD", "USDT", "ZUSD", "online"]),
    ] {
        let fields = ["altname", "wsname", "base", "quote", "status"].map(|field| &result[name][field]);
        assert_eq!(fields, expected);
    }
}

#[tokio::test]
async fn coinbase_lists_products() {
    let upstream = start().await;
    upstream.set_price(Venue::Coinbase, "ETH-BTC", Some("0.03"));
    let products = list(&upstream, Venue::Coinbase).await;
    assert_eq!(column(&products, "id"), ["BTC-USD", "ETH-BTC"]);
    for (field, expected) in [
        ("base_currency", json!("ETH")),
        ("quote_currency", json!("BTC")),
        ("status", json!("online")),
        ("status_message", json!("")),
        ("trading_disabled", json!(false)),
        ("post_only", json!(false)),
        ("limit_only", json!(false)),
        ("cancel_only", json!(false)),
        ("fx_stablecoin", json!(false)),
        ("auction_mode", json!(false)),
    ] {
        assert_eq!(products[1][field], expected, "{field}");
    }
}

#[tokio::test]
async fn bitstamp_lists_trading_pairs_without_perpetual_futures() {
    let upstream = start().await;
    let pairs = list(&upstream, Venue::Bitstamp).await;
    assert_eq!(column(&pairs, "name"), ["BTC/USD", "ETH/USD"]);
    assert_eq!(column(&pairs, "url_symbol"), ["btcusd", "ethusd"]);
    assert_eq!((&pairs[0]["trading"], &pairs[0]["minimum_order"]), (&json!("Enabled"), &json!("20.0 USD")));
}

#[tokio::test]
async fn gemini_lists_spot_markets_and_a_swap() {
    let upstream = start().await;
    let symbols = list(&upstream, Venue::Gemini).await;
    assert_eq!(column(&symbols, "symbol"), ["BTCUSD", "ETHUSD", "BTCGUSDPERP"]);
    assert_eq!(column(&symbols, "product_type"), ["spot", "spot", "swap"]);
    assert_eq!(column(&symbols, "status"), ["open", "open", "open"]);
    assert_eq!((&symbols[1]["base_currency"], &symbols[1]["quote_currency"]), (&json!("ETH"), &json!("USD")));
}

#[tokio::test]
async fn bitfinex_lists_pairs_and_renamed_assets() {
    let upstream = start().await;
    upstream.set_price(Venue::Bitfinex, "USDC-USD", Some("1"));
    let body = list(&upstream, Venue::Bitfinex).await;
    assert_eq!(body[0], json!(["BTCUSD", "DOGE2:UST", "UDCUSD"]));
    let renamed = body[1].as_array().unwrap();
    for row in [json!(["UST", "USDt"]), json!(["UDC", "USDC"]), json!(["IOT", "IOTA"])] {
        assert!(renamed.contains(&row), "{row}");
    }
}

#[tokio::test]
async fn coingecko_lists_coins_it_knows_and_those_of_the_market() {
    let upstream = start().await;
    upstream.set_price(Venue::Coingecko, "NEWCOIN-USD", Some("1"));
    let coins = list(&upstream, Venue::Coingecko).await;
    let coins = coins.as_array().unwrap();
    for coin in [
        json!({"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"}),
        json!({"id": "shiba-inu", "symbol": "shib", "name": "Shiba Inu"}),
        json!({"id": "newcoin", "symbol": "newcoin", "name": "NEWCOIN"}),
    ] {
        assert!(coins.contains(&coin), "{coin}");
    }
}

#[tokio::test]
async fn binance_lists_symbols_whatever_the_query_is() {
    let upstream = start().await;
    let (_, body) = get(&upstream, &format!("{}?permissions=SPOT", list_path(Venue::Binance))).await;
    assert_eq!(keys(&body), ["exchangeFilters", "rateLimits", "serverTime", "symbols", "timezone"]);
    assert_eq!(column(&body["symbols"], "symbol"), ["BTCUSDT", "ETHUSDT"]);
    let fields = ["status", "baseAsset", "quoteAsset"].map(|field| &body["symbols"][0][field]);
    assert_eq!(
        (fields, &body["symbols"][0]["isSpotTradingAllowed"]),
        (["TRADING", "BTC", "USDT"].map(|word| json!(word)).each_ref(), &json!(true))
    );
}

#[tokio::test]
async fn a_venue_without_its_list_still_returns_prices() {
    let upstream = start().await;
    for venue in Venue::ALL {
        upstream.set_lists(venue, false);
        assert_eq!(get(&upstream, &list_path(venue)).await.0, 503, "{venue}");
    }
    assert_eq!(get(&upstream, "/gemini/v1/pricefeed").await.0, 200);
    upstream.set_lists(Venue::Gemini, true);
    list(&upstream, Venue::Gemini).await;
    assert_eq!(get(&upstream, &list_path(Venue::Kraken)).await.0, 503);
}

#[tokio::test]
async fn faults_of_prices_do_not_affect_lists_and_all_other_faults_do() {
    let upstream = start().await;
    // Binance's list contains the time of the response.
    let rows = |mut body: Value| {
        if let Some(time) = body.get_mut("serverTime") {
            *time = Value::Null;
        }
        body
    };
    for venue in Venue::ALL {
        let honest = rows(list(&upstream, venue).await);
        let faults = catalogue().iter().map(|entry| entry.example.parse::<Fault>().unwrap());
        for fault in faults.filter(|fault| fault.is_of_prices() && fault.applies_to(venue)) {
            upstream.set_fault(venue, fault);
            assert_eq!(rows(list(&upstream, venue).await), honest, "{venue}={fault}");
        }
        for (fault, status) in [("503", 503), ("429:30", 429), ("redirect", 302)] {
            upstream.set_fault(venue, fault.parse::<Fault>().unwrap());
            assert_eq!(get(&upstream, &list_path(venue)).await.0, status, "{venue}={fault}");
        }
        upstream.set_fault(venue, Fault::Close);
        assert_eq!(raw(&upstream, "GET", &list_path(venue), "", usize::MAX).await, b"", "{venue}");
    }
}

//! Tests of markets that are halted, delisted or not listed.

use serde_json::json;

use super::*;

const BTC: &str = "BTC-USD";

/// The row of a list of markets in which a field has this value.
async fn row(upstream: &FakeUpstream, path: &str, field: &str, value: &str) -> Option<Value> {
    let (status, body) = get(upstream, path).await;
    assert_eq!(status, 200, "{path}");
    let rows = body.get("symbols").unwrap_or(&body).as_array().unwrap();
    rows.iter().find(|row| row[field] == value).cloned()
}

fn symbols(list: &[&str]) -> String {
    let quoted: Vec<String> = list.iter().map(|symbol| format!("%22{symbol}%22")).collect();
    format!("symbols=%5B{}%5D", quoted.join(","))
}

#[tokio::test]
async fn kraken_names_a_halted_market_and_one_unlisted_pair_fails_the_whole_request() {
    let upstream = start().await;
    let status = async || {
        get(&upstream, "/kraken/0/public/AssetPairs").await.1["result"]["XXBTZUSD"]["status"].clone()
    };
    let ticker = async || get(&upstream, "/kraken/0/public/Ticker?pair=ETHUSD,XBTUSD").await.1;
    upstream.set_listing(Venue::Kraken, BTC, Listing::Halted);
    assert_eq!(status().await, "cancel_only");
    assert_eq!(ticker().await["result"]["XXBTZUSD"]["c"][0], "97000.10000");

    for gone in [Listing::Delisted, Listing::Unlisted] {
        upstream.set_listing(Venue::Kraken, BTC, gone);
        assert_eq!(
            (status().await, ticker().await),
            (Value::Null, json!({"error": ["EQuery:Unknown asset pair"]}))
        );
        let (_, rest) = get(&upstream, "/kraken/0/public/Ticker?pair=ETHUSD").await;
        assert_eq!(keys(&rest["result"]), ["XETHZUSD"]);
    }
    upstream.set_listing(Venue::Kraken, BTC, Listing::Open);
    assert_eq!((status().await, &ticker().await["error"]), (json!("online"), &json!([])));
}

#[tokio::test]
async fn coinbase_keeps_a_delisted_product_in_its_list() {
    let upstream = start().await;
    let product = async || row(&upstream, "/coinbase/products", "id", BTC).await;
    let ticker = async || get(&upstream, "/coinbase/products/BTC-USD/ticker").await;
    let stats = async || get(&upstream, "/coinbase/products/stats").await.1;
    upstream.set_listing(Venue::Coinbase, BTC, Listing::Halted);
    let halted = product().await.unwrap();
    assert_eq!((&halted["status"], &halted["trading_disabled"]), (&json!("offline"), &json!(true)));
    assert_eq!(
        (&ticker().await.1["price"], keys(&stats().await)),
        (&json!("97001.25"), vec![&BTC.to_owned()])
    );

    upstream.set_listing(Venue::Coinbase, BTC, Listing::Delisted);
    assert_eq!(product().await.unwrap()["status"], "delisted");
    assert_eq!(ticker().await, (400, json!({"message": "Not allowed for delisted products"})));
    assert_eq!(stats().await, json!({}));

    upstream.set_listing(Venue::Coinbase, BTC, Listing::Unlisted);
    assert_eq!((product().await, ticker().await), (None, (404, json!({"message": "NotFound"}))));
    assert_eq!(stats().await, json!({}));
}

#[tokio::test]
async fn bitstamp_and_gemini_return_an_error_for_one_market_that_is_not_listed() {
    let upstream = start().await;
    let message = "Received unsupported symbol 'btcusd'";
    let unsupported = json!({"result": "error", "reason": "InvalidSymbol", "message": message});
    for (venue, list, field, name, halted, (one, status, error), all) in [
        (
            Venue::Bitstamp,
            ("/bitstamp/api/v2/trading-pairs-info/", "trading"),
            "name",
            "BTC/USD",
            "Disabled",
            ("/bitstamp/api/v2/ticker/btcusd/", 404, json!({"message": "Not found."})),
            "/bitstamp/api/v2/ticker/",
        ),
        (
            Venue::Gemini,
            ("/gemini/v1/symbols/details/all", "status"),
            "symbol",
            "BTCUSD",
            "closed",
            ("/gemini/v1/pubticker/btcusd", 400, unsupported),
            "/gemini/v1/pricefeed",
        ),
    ] {
        let rows = async || get(&upstream, all).await.1.as_array().unwrap().len();
        let (open, before) = (get(&upstream, one).await, rows().await);
        upstream.set_listing(venue, BTC, Listing::Halted);
        let listed = row(&upstream, list.0, field, name).await.unwrap();
        assert_eq!(listed[list.1], halted);
        assert_eq!(
            (get(&upstream, one).await.1["last"].clone(), rows().await),
            (open.1["last"].clone(), before)
        );
        for gone in [Listing::Delisted, Listing::Unlisted] {
            upstream.set_listing(venue, BTC, gone);
            assert_eq!(row(&upstream, list.0, field, name).await, None);
            assert_eq!(get(&upstream, one).await, (status, error.clone()));
            assert!(rows().await < before);
        }
    }
}

#[tokio::test]
async fn bitfinex_and_coingecko_leave_out_what_is_not_listed() {
    let upstream = start().await;
    let tickers = "/bitfinex/v2/tickers?symbols=tBTCUSD,tDOGE2:UST";
    let coins = "/coingecko/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd";
    for gone in [Listing::Delisted, Listing::Unlisted] {
        upstream.set_listing(Venue::Bitfinex, BTC, gone);
        upstream.set_listing(Venue::Coingecko, BTC, gone);
        let (_, list) = get(&upstream, "/bitfinex/v2/conf/pub:list:pair:exchange,pub:map:currency:sym").await;
        assert_eq!(list[0], json!(["DOGE2:UST"]));
        let (status, rows) = get(&upstream, tickers).await;
        assert_eq!((status, &rows[0][0], &rows[1]), (200, &json!("tDOGE2:UST"), &Value::Null));
        assert_eq!(row(&upstream, "/coingecko/api/v3/coins/list", "id", "bitcoin").await, None);
        assert_eq!(get(&upstream, coins).await, (200, json!({"ethereum": {"usd": 3404}})));
    }
    // The coin still has another pair.
    upstream.set_price(Venue::Coingecko, "BTC-EUR", Some("90000"));
    assert!(row(&upstream, "/coingecko/api/v3/coins/list", "id", "bitcoin").await.is_some());
}

#[tokio::test]
async fn binance_leaves_out_a_halted_symbol_only_if_the_status_is_requested() {
    let upstream = start().await;
    upstream.set_listing(Venue::Binance, "BTC-USDT", Listing::Halted);
    let listed = row(&upstream, "/binance/api/v3/exchangeInfo", "symbol", "BTCUSDT").await.unwrap();
    assert_eq!(listed["status"], "BREAK");
    let both = symbols(&["BTCUSDT", "ETHUSDT"]);
    let get = async |ticker: &str, query: &str| {
        get(&upstream, &format!("/binance/api/v3/ticker/{ticker}?{query}")).await
    };
    for (ticker, field, price) in [("24hr", "lastPrice", "96805.00000000"), ("price", "price", "0.00000000")]
    {
        let (status, rows) = get(ticker, &both).await;
        assert_eq!((status, rows.as_array().unwrap().len(), &rows[0][field]), (200, 2, &json!(price)));
        let (status, rows) = get(ticker, &format!("symbolStatus=TRADING&{both}")).await;
        assert_eq!((status, rows.as_array().unwrap().len(), &rows[0]["symbol"]), (200, 1, &json!("ETHUSDT")));
        let (status, error) = get(ticker, "symbol=BTCUSDT&symbolStatus=TRADING").await;
        assert_eq!((status, &error["code"]), (400, &json!(-1220)));
    }
}

#[tokio::test]
async fn binance_rejects_a_list_with_an_unlisted_symbol() {
    let upstream = start().await;
    let both = format!("symbolStatus=TRADING&{}", symbols(&["ETHUSDT", "BTCUSDT"]));
    let invalid = (400, json!({"code": -1121, "msg": "Invalid symbol."}));
    for gone in [Listing::Delisted, Listing::Unlisted] {
        upstream.set_listing(Venue::Binance, "BTC-USDT", gone);
        assert_eq!(row(&upstream, "/binance/api/v3/exchangeInfo", "symbol", "BTCUSDT").await, None);
        assert_eq!(get(&upstream, &format!("/binance/api/v3/ticker/24hr?{both}")).await, invalid);
    }
    let price = format!("/binance/api/v3/ticker/price?{}", symbols(&["BTCUSDT"]));
    assert_eq!(get(&upstream, &price).await, invalid);
    // The shorter ticker still knows a delisted symbol.
    upstream.set_listing(Venue::Binance, "BTC-USDT", Listing::Delisted);
    assert_eq!(get(&upstream, &price).await, (200, json!([{"symbol": "BTCUSDT", "price": "0.00000000"}])));
}

#[tokio::test]
async fn a_halted_market_keeps_its_price_and_time_while_others_move() {
    let market = crate::market::WalkMarket::new(1, Duration::from_millis(1)).unwrap();
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
    let ask = async |pair: &str| get(&upstream, &format!("/coinbase/products/{pair}/ticker")).await.1;
    upstream.set_listing(Venue::Coinbase, BTC, Listing::Halted);
    let (halted, other) = (ask(BTC).await, ask("ETH-USD").await);
    let moved = async || (ask("ETH-USD").await["price"] != other["price"]).then_some(());
    crate::wait_until("the other price moves", Duration::from_secs(60), moved).await;
    assert_eq!(ask(BTC).await, halted);
}

#[tokio::test]
#[should_panic(expected = "Halted")]
async fn a_state_that_a_venue_does_not_have_is_rejected() {
    start().await.set_listing(Venue::Bitfinex, BTC, Listing::Halted);
}

#[tokio::test]
#[should_panic(expected = "BASE-QUOTE")]
async fn a_misspelt_pair_is_rejected() {
    start().await.set_listing(Venue::Kraken, "XBTUSD", Listing::Halted);
}

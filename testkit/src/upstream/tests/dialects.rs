//! Tests of each venue's normal responses.

use serde_json::json;

use super::*;

#[tokio::test]
async fn kraken_returns_a_list_with_canonical_names() {
    let upstream = start().await;
    let (status, body) = get(&upstream, "/kraken/0/public/Ticker?pair=XBTUSD%2CETHUSD,XBTCHF").await;
    assert_eq!((status, &body["error"]), (200, &json!([])));
    assert_eq!(keys(&body["result"]), ["XBTCHF", "XETHZUSD", "XXBTZUSD"]);
    assert_eq!(body["result"]["XXBTZUSD"]["c"][0], "97000.10000");
    assert_eq!(body["result"]["XETHZUSD"]["c"][0], "3400.20000");
    assert_eq!(keys(&body["result"]["XXBTZUSD"]), ["a", "b", "c", "h", "l", "o", "p", "t", "v"]);

    let (_, everything) = get(&upstream, "/kraken/0/public/Ticker").await;
    assert_eq!(keys(&everything["result"]).len(), 3);
}

#[tokio::test]
async fn one_unknown_pair_fails_the_whole_list_of_kraken() {
    let upstream = start().await;
    for list in ["XBTUSD,NOPE", "NOPE", "XBTUSD,"] {
        let (status, body) = get(&upstream, &format!("/kraken/0/public/Ticker?pair={list}")).await;
        assert_eq!((status, body), (200, json!({"error": ["EQuery:Unknown asset pair"]})), "{list}");
    }
}

#[tokio::test]
async fn coinbase_returns_one_product() {
    let upstream = start().await;
    let (status, body) = get(&upstream, "/coinbase/products/BTC-USD/ticker").await;
    assert_eq!((status, &body["price"]), (200, &json!("97001.25")));
    assert_eq!(keys(&body), ["ask", "bid", "price", "rfq_volume", "size", "time", "trade_id", "volume"]);
    let time = body["time"].as_str().unwrap();
    assert_eq!(time.len(), "2026-09-07T07:26:13.721780188Z".len());
    let time = chrono::DateTime::parse_from_rfc3339(time).unwrap();
    assert_eq!(time.timestamp_millis(), slot_start_ms());

    for unknown in ["/coinbase/products/ETH-USD/ticker", "/coinbase/products/BTC-USD"] {
        assert_eq!(get(&upstream, unknown).await, (404, json!({"message": "NotFound"})));
    }
}

#[tokio::test]
async fn coinbase_returns_the_statistics_of_all_products_without_a_time() {
    let upstream = start().await;
    upstream.set_price(Venue::Coinbase, "SHIB-USD", Some("0.00000421"));
    let answer = request(&upstream, "GET", "/coinbase/products/stats").await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("public, max-age=5")));
    let body = answer.json();
    assert_eq!(keys(&body), ["BTC-USD", "SHIB-USD"]);
    assert_eq!(keys(&body["BTC-USD"]["stats_30day"]), ["rfq_volume", "volume"]);
    let day = &body["SHIB-USD"]["stats_24hour"];
    assert_eq!(keys(day), ["high", "last", "low", "open", "rfq_volume", "volume"]);
    assert_eq!(day["last"], "0.00000421");
}

#[tokio::test]
async fn bitstamp_returns_all_pairs_or_one() {
    let upstream = start().await;
    let timestamp = json!((slot_start_ms() / 1_000).to_string());
    let (status, all) = get(&upstream, "/bitstamp/api/v2/ticker/").await;
    assert_eq!((status, all.as_array().unwrap().len()), (200, 4));
    assert_eq!((&all[0]["pair"], &all[0]["last"]), (&json!("BTC/USD"), &json!("96999")));
    assert_eq!((&all[1]["pair"], &all[1]["last"]), (&json!("ETH/USD"), &json!("3401.5")));
    assert_eq!(all[0]["timestamp"], timestamp);

    let (status, one) = get(&upstream, "/bitstamp/api/v2/ticker/btcusd/").await;
    assert_eq!((status, &one["last"], &one["timestamp"]), (200, &json!("96999"), &timestamp));
    assert_eq!(
        (one.get("pair"), &one["market"], &one["market_type"]),
        (None, &json!("BTC/USD"), &json!("SPOT"))
    );
    let unknown = (404, json!({"message": "Not found."}));
    for path in ["ticker/nope/", "ticker/btcusd", "ticker/btc-usd/", "nothing/"] {
        assert_eq!(get(&upstream, &format!("/bitstamp/api/v2/{path}")).await, unknown, "{path}");
    }
}

#[tokio::test]
async fn bitstamp_returns_perpetual_futures_after_the_pairs() {
    let upstream = start().await;
    let (_, all) = get(&upstream, "/bitstamp/api/v2/ticker/").await;
    let names: Vec<_> =
        all.as_array().unwrap().iter().map(|row| (&row["market"], &row["market_type"])).collect();
    let expected = [
        ("BTC/USD", "SPOT"),
        ("ETH/USD", "SPOT"),
        ("BTC/USD-PERP", "PERPETUAL"),
        ("ETH/USD-PERP", "PERPETUAL"),
    ];
    let expected = expected.map(|(name, kind)| (json!(name), json!(kind)));
    assert_eq!(names, expected.each_ref().map(|(name, kind)| (name, kind)));
    assert_eq!((&all[2]["pair"], &all[2]["index_price"]), (&json!("BTC/USD-PERP"), &json!("96999")));
    assert_eq!(all[0].get("index_price"), None);
}

#[tokio::test]
async fn gemini_returns_its_whole_feed() {
    let upstream = start().await;
    let (status, feed) = get(&upstream, "/gemini/v1/pricefeed").await;
    assert_eq!((status, feed.as_array().unwrap().len()), (200, 2));
    assert_eq!(feed[0], json!({"pair": "BTCUSD", "price": "97002.51", "percentChange24h": "0.0014"}));
    assert_eq!(feed[1]["price"], "3402.10");
    let (status, unknown) = get(&upstream, "/gemini/v1/nothing").await;
    assert_eq!((status, &unknown["result"]), (404, &json!("error")));
}

#[tokio::test]
async fn gemini_returns_one_ticker_whose_only_time_is_that_of_the_volume() {
    let upstream = start().await;
    let before_ms = clock::now_ms();
    let (status, ticker) = get(&upstream, "/gemini/v1/pubticker/btcusd").await;
    assert_eq!((status, keys(&ticker)), (200, keys(&json!({"ask": 0, "bid": 0, "last": 0, "volume": 0}))));
    assert_eq!([&ticker["bid"], &ticker["last"], &ticker["ask"]], ["97002.50", "97002.51", "97002.52"]);
    assert_eq!(keys(&ticker["volume"]), ["BTC", "USD", "timestamp"]);
    let timestamp = ticker["volume"]["timestamp"].as_i64().unwrap();
    assert_eq!(timestamp % 300_000, 0);
    assert!((before_ms - 300_000..=clock::now_ms()).contains(&timestamp), "{timestamp}");

    assert_eq!(get(&upstream, "/gemini/v1/pubticker/ETHUSD").await.1["last"], "3402.10");
    let message = "Received unsupported symbol 'nope'";
    let unknown = json!({"result": "error", "reason": "InvalidSymbol", "message": message});
    assert_eq!(get(&upstream, "/gemini/v1/pubticker/nope").await, (400, unknown));
}

#[tokio::test]
async fn bitfinex_returns_rows_of_numbers_without_unknown_symbols() {
    let upstream = start().await;
    let (status, rows) = get(&upstream, "/bitfinex/v2/tickers?symbols=tBTCUSD,tNOPE,tDOGE2%3AUST").await;
    assert_eq!((status, rows.as_array().unwrap().len()), (200, 2));
    assert_eq!((rows[0].as_array().unwrap().len(), &rows[0][0]), (11, &json!("tBTCUSD")));
    assert_eq!(
        (&rows[0][7], &rows[1][0], &rows[1][7]),
        (&json!(97_003), &json!("tDOGE2:UST"), &json!(0.125))
    );

    for (list, expected) in
        [("tNOPE", (200, json!([]))), ("", (500, json!(["error", 10_020, "symbols: invalid"])))]
    {
        let query = if list.is_empty() { String::new() } else { format!("?symbols={list}") };
        assert_eq!(get(&upstream, &format!("/bitfinex/v2/tickers{query}")).await, expected, "{list}");
    }
}

#[tokio::test]
async fn the_tickers_have_the_names_of_renamed_assets() {
    let upstream = start().await;
    for pair in ["USDT-USD", "USDC-USD", "DOGE-USD", "ETH-BTC", "BTC-EUR", "EUR-USD"] {
        upstream.set_price(Venue::Kraken, pair, Some("1.5"));
        upstream.set_price(Venue::Bitfinex, pair, Some("1.5"));
    }
    let asked = "USDTUSD,USDCUSD,XDGUSD,ETHXBT,XBTEUR,ZEURZUSD";
    let (_, body) = get(&upstream, &format!("/kraken/0/public/Ticker?pair={asked}")).await;
    let names = ["USDCUSD", "USDTZUSD", "XDGUSD", "XETHXXBT", "XXBTZEUR", "ZEURZUSD"];
    assert_eq!(keys(&body["result"]), names);

    let asked = "tUSTUSD,tUDCUSD,tDOGE:USD,tETHBTC,tBTCEUR,tEURUSD";
    let (_, rows) = get(&upstream, &format!("/bitfinex/v2/tickers?symbols={asked}")).await;
    let names: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row[0]).collect();
    assert_eq!(names, ["tBTCEUR", "tDOGE:USD", "tETHBTC", "tEURUSD", "tUDCUSD", "tUSTUSD"]);
}

#[tokio::test]
async fn coingecko_returns_all_digits_for_the_coins_it_knows() {
    let upstream = start().await;
    let path = "/coingecko/api/v3/simple/price?ids=bitcoin,nope,ethereum&vs_currencies=usd&precision=full";
    let answer = request(&upstream, "GET", &format!("{path}&include_last_updated_at=true")).await;
    let seconds = slot_start_ms() / 1_000;
    let expected = format!(
        r#"{{"bitcoin":{{"usd":97004.123456789012,"last_updated_at":{seconds}}},"ethereum":{{"usd":3404,"last_updated_at":{seconds}}}}}"#
    );
    assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
    let without_time = request(&upstream, "GET", path).await;
    assert_eq!(without_time.json()["ethereum"], json!({"usd": 3404}));

    let unknown = |query: &str| format!("/coingecko/api/v3/simple/price?{query}");
    let currency =
        get(&upstream, &unknown("ids=bitcoin&vs_currencies=chf&include_last_updated_at=true")).await;
    assert_eq!(currency, (200, json!({"bitcoin": {}})));
    assert_eq!(get(&upstream, &unknown("ids=nope&vs_currencies=usd")).await, (200, json!({})));
    assert_eq!(get(&upstream, &unknown("ids=bitcoin")).await.0, 422);
}

#[tokio::test]
async fn a_key_is_logged_with_its_header() {
    let upstream = start().await;
    let path = "/coingecko/api/v3/simple/price?ids=bitcoin&vs_currencies=usd";
    raw(&upstream, "GET", path, "x-cg-pro-api-key: abc\r\n", usize::MAX).await;
    raw(&upstream, "GET", path, "", usize::MAX).await;
    let keys: Vec<_> =
        upstream.requests_to(Venue::Coingecko).into_iter().map(|request| request.key).collect();
    let sent = SentKey { header: "x-cg-pro-api-key".to_owned(), value: "abc".to_owned() };
    assert_eq!(keys, [Some(sent), None]);
}

#[tokio::test]
async fn binance_returns_a_list_or_one_symbol_and_rejects_a_list_with_an_unknown_symbol() {
    let upstream = start().await;
    let path = |query: &str| format!("/binance/api/v3/ticker/price{query}");
    let list = path("?symbols=%5B%22ETHUSDT%22,%22BTCUSDT%22%5D");
    let answer = request(&upstream, "GET", &list).await;
    let (btc, eth) = (
        json!({"symbol": "BTCUSDT", "price": "96805.00000000"}),
        json!({"symbol": "ETHUSDT", "price": "3393.20000000"}),
    );
    assert_eq!((answer.status, answer.json()), (200, json!([eth, btc])));
    assert!(answer.header("x-mbx-used-weight-1m").is_some());
    assert_eq!(get(&upstream, &path("?symbol=BTCUSDT")).await, (200, btc));
    assert_eq!(get(&upstream, &path("")).await.1.as_array().unwrap().len(), 2);

    let invalid = (400, json!({"code": -1121, "msg": "Invalid symbol."}));
    // Binance has no market in USD, and Tickwell must not confuse USD with USDT.
    for query in ["?symbols=%5B%22BTCUSDT%22,%22BTCUSD%22%5D", "?symbol=BTCUSD", "?symbols=BTCUSDT"] {
        assert_eq!(get(&upstream, &path(query)).await, invalid, "{query}");
    }
}

#[tokio::test]
async fn binance_returns_statistics_of_a_day_with_a_book() {
    let upstream = start().await;
    let path = |query: &str| format!("/binance/api/v3/ticker/24hr{query}");
    let list = "symbols=%5B%22ETHUSDT%22,%22BTCUSDT%22%5D";
    for query in
        [format!("?{list}"), format!("?symbolStatus=TRADING&{list}"), format!("?{list}&symbolStatus=TRADING")]
    {
        let (status, rows) = get(&upstream, &path(&query)).await;
        assert_eq!((status, rows.as_array().unwrap().len()), (200, 2), "{query}");
        assert_eq!((&rows[0]["symbol"], keys(&rows[0]).len()), (&json!("ETHUSDT"), 21));
        let btc = ["symbol", "bidPrice", "lastPrice", "askPrice"].map(|field| &rows[1][field]);
        assert_eq!(btc, ["BTCUSDT", "96804.99999999", "96805.00000000", "96805.00000001"]);
    }
    assert_eq!(get(&upstream, &path("?symbol=BTCUSDT")).await.1["lastPrice"], "96805.00000000");
    assert_eq!(get(&upstream, &path("")).await.1.as_array().unwrap().len(), 2);
    let invalid = (400, json!({"code": -1121, "msg": "Invalid symbol."}));
    let unknown = path("?symbolStatus=TRADING&symbols=%5B%22BTCUSDT%22,%22NOPE%22%5D");
    assert_eq!(get(&upstream, &unknown).await, invalid);
}

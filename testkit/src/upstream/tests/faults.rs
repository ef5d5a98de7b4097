//! Tests of the faults that change what is sent.

use serde_json::json;

use super::*;
use crate::fault::catalogue;

/// A request for prices, for each venue.
fn question(venue: Venue) -> String {
    let path = match venue {
        Venue::Kraken => "/0/public/Ticker?pair=XBTUSD,ETHUSD",
        Venue::Coinbase => "/products/BTC-USD/ticker",
        Venue::Bitstamp => "/api/v2/ticker/",
        Venue::Gemini => "/v1/pricefeed",
        Venue::Bitfinex => "/v2/tickers?symbols=tBTCUSD",
        Venue::Coingecko => {
            "/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd&include_last_updated_at=true"
        }
        Venue::Binance => "/api/v3/ticker/price?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D",
    };
    format!("/{venue}{path}")
}

/// One request for prices of each kind: [`question`] and the others.
fn questions(venue: Venue) -> Vec<String> {
    let others: &[&str] = match venue {
        Venue::Coinbase => &["/products/stats"],
        Venue::Bitstamp => &["/api/v2/ticker/btcusd/"],
        Venue::Gemini => &["/v1/pubticker/btcusd"],
        Venue::Binance => {
            &["/api/v3/ticker/24hr?symbolStatus=TRADING&symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D"]
        }
        Venue::Kraken | Venue::Bitfinex | Venue::Coingecko => &[],
    };
    let others = others.iter().map(|path| format!("/{venue}{path}"));
    std::iter::once(question(venue)).chain(others).collect()
}

async fn with_fault(upstream: &FakeUpstream, venue: Venue, fault: &str) -> Answer {
    ask_with_fault(upstream, venue, fault, &question(venue)).await
}

async fn ask_with_fault(upstream: &FakeUpstream, venue: Venue, fault: &str, path: &str) -> Answer {
    upstream.set_fault(venue, fault.parse::<Fault>().unwrap());
    let answer = request(upstream, "GET", path).await;
    upstream.set_fault(venue, None);
    answer
}

/// Whether the response with this fault is complete. With the faults listed here, the client waits or gets no response.
fn is_complete(fault: &str) -> bool {
    !["hang", "close", "drip", "endless", "slow:2"].contains(&fault)
}

#[tokio::test]
async fn every_fault_changes_the_response_where_it_applies_until_it_is_removed() {
    let upstream = start().await;
    let questions =
        Venue::ALL.into_iter().flat_map(|venue| questions(venue).into_iter().map(move |path| (venue, path)));
    for (venue, path) in questions {
        let honest = request(&upstream, "GET", &path).await;
        for entry in catalogue().iter().filter(|entry| is_complete(entry.example)) {
            let fault: Fault = entry.example.parse().unwrap();
            // These faults are left out. Prices do not move here, so a stuck price is the same. `wire` tests wrong
            // lengths and resets. With only one requested pair, there is nothing to swap. Coinbase's statistics have no
            // time.
            let same_text = matches!(fault, Fault::Stuck | Fault::Short | Fault::Long | Fault::Reset)
                || (fault == Fault::Swapped && matches!(venue, Venue::Coinbase | Venue::Bitfinex))
                || (matches!(fault, Fault::Late(_) | Fault::Early(_)) && path.ends_with("/stats"));
            if !fault.applies_to(venue) || same_text {
                continue;
            }
            let answer = ask_with_fault(&upstream, venue, entry.example, &path).await;
            assert!((answer.status, &answer.body) != (honest.status, &honest.body), "{path} {}", entry.form);
        }
        let after = request(&upstream, "GET", &path).await;
        // The time of the volume in Gemini's ticker may have advanced.
        let is_same = after.body == honest.body || path.contains("pubticker");
        assert!(is_same && after.status == honest.status, "{path}: {}", after.text());
    }
}

#[tokio::test]
#[should_panic(expected = "late:600")]
async fn a_fault_without_an_effect_is_rejected() {
    start().await.set_fault(Venue::Kraken, Fault::Late(600));
}

#[tokio::test]
async fn a_status_may_have_a_retry_after_header() {
    let upstream = start().await;
    let plain = with_fault(&upstream, Venue::Kraken, "418").await;
    assert_eq!((plain.status, plain.header("retry-after")), (418, None));
    let seconds = with_fault(&upstream, Venue::Kraken, "429:30").await;
    assert_eq!((seconds.status, seconds.header("retry-after")), (429, Some("30")));

    let before = clock::now_ms() / 1_000;
    let dated = with_fault(&upstream, Venue::Kraken, "503:date:30").await;
    let date = dated.header("retry-after").unwrap();
    let ahead = chrono::DateTime::parse_from_rfc2822(date).unwrap().timestamp() - 30;
    assert!((before..=clock::now_ms() / 1_000).contains(&ahead), "{date}");
    assert_eq!(with_fault(&upstream, Venue::Binance, "451").await.json()["code"], 0);
}

#[tokio::test]
async fn each_venue_sends_its_own_errors() {
    let upstream = start().await;
    for (venue, fault, status, body) in [
        (Venue::Kraken, "error", 200, json!({"error": ["EService:Unavailable"]})),
        (Venue::Kraken, "limited", 200, json!({"error": ["EAPI:Rate limit exceeded"]})),
        (Venue::Kraken, "empty", 200, json!({"error": [], "result": {}})),
        (Venue::Coinbase, "empty", 200, json!({})),
        (Venue::Bitfinex, "error", 500, json!(["error", 20_060, "maintenance"])),
        (Venue::Bitfinex, "limited", 429, json!({"error": "ERR_RATE_LIMIT"})),
        (Venue::Bitfinex, "empty", 200, json!([])),
        (Venue::Coingecko, "empty", 200, json!({"bitcoin": {}, "ethereum": {}})),
        (Venue::Binance, "error", 400, json!({"code": -1121, "msg": "Invalid symbol."})),
    ] {
        let answer = with_fault(&upstream, venue, fault).await;
        assert_eq!((answer.status, answer.json()), (status, body), "{venue}={fault}");
        assert_eq!(answer.header("retry-after"), None);
    }
    for (venue, bodies) in [
        (Venue::Coinbase, [json!({}), json!({})]),
        (Venue::Bitstamp, [json!([]), json!({})]),
        (Venue::Gemini, [json!([]), json!({})]),
        (Venue::Binance, [json!([]), json!([])]),
    ] {
        for (path, expected) in questions(venue).iter().zip(bodies) {
            let answer = ask_with_fault(&upstream, venue, "empty", path).await;
            assert_eq!((answer.status, answer.json()), (200, expected), "{path}");
        }
    }
    let gemini = with_fault(&upstream, Venue::Gemini, "error").await;
    assert_eq!((gemini.status, &gemini.json()["result"]), (400, &json!("error")));
    let bitstamp = with_fault(&upstream, Venue::Bitstamp, "limited").await;
    assert_eq!(bitstamp.json()["response_code"], "400.002");
    for (fault, status, code) in [("error", 401, 10_002), ("limited", 429, 429)] {
        let answer = with_fault(&upstream, Venue::Coingecko, fault).await;
        assert_eq!((answer.status, &answer.json()["status"]["error_code"]), (status, &json!(code)));
    }
    let binance = with_fault(&upstream, Venue::Binance, "limited").await;
    assert_eq!((binance.status, binance.header("retry-after")), (429, Some("30")));
}

/// If a venue sends prices as strings, an invalid price is a string too. If it sends numbers, an invalid price is
/// written as a careless program would: `NaN` and `Infinity` without quotes, other words in quotes.
#[tokio::test]
async fn invalid_prices_have_the_format_of_the_venues_prices() {
    let upstream = start().await;
    for (fault, coinbase, bitfinex) in [
        ("nan", "\"price\":\"NaN\"", ",NaN,"),
        ("infinite", "\"price\":\"Infinity\"", ",Infinity,"),
        ("huge", "\"price\":\"1e400\"", ",1e400,"),
        ("zero", "\"price\":\"0\"", ",0,"),
        ("negative", "\"price\":\"-97001.25\"", ",-97003,"),
        ("text", "\"price\":\"unavailable\"", ",\"unavailable\","),
        ("times:100", "\"price\":\"9700125\"", ",9700300,"),
        ("times:0.5", "\"price\":\"48500.625\"", ",48501.5,"),
    ] {
        for (venue, expected) in [(Venue::Coinbase, coinbase), (Venue::Bitfinex, bitfinex)] {
            let answer = with_fault(&upstream, venue, fault).await;
            assert!(answer.text().contains(expected), "{venue}={fault}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn times_and_pairs_can_be_wrong() {
    let upstream = start().await;
    let seconds = slot_start_ms() / 1_000;
    for (fault, expected) in [("late:600", seconds - 600), ("early:600", seconds + 600)] {
        let answer = with_fault(&upstream, Venue::Coingecko, fault).await.json();
        assert_eq!((&answer["bitcoin"]["last_updated_at"]), &json!(expected));
    }
    let stranger = with_fault(&upstream, Venue::Kraken, "wrong_pair").await.json();
    assert_eq!(keys(&stranger["result"]), ["XETCZUSD", "XLTCZUSD"]);
    let stranger = with_fault(&upstream, Venue::Bitfinex, "wrong_pair").await.json();
    assert_eq!((&stranger[0][0], &stranger[0][7]), (&json!("tLTCUSD"), &json!(97_003)));

    let swapped = with_fault(&upstream, Venue::Bitstamp, "swapped").await.json();
    assert_eq!((&swapped[0]["pair"], &swapped[0]["last"]), (&json!("BTC/USD"), &json!("3401.5")));
    assert_eq!((&swapped[1]["pair"], &swapped[1]["last"]), (&json!("ETH/USD"), &json!("96999")));
}

#[tokio::test]
async fn a_stuck_venue_repeats_its_price_and_time() {
    let market = crate::market::WalkMarket::new(1, std::time::Duration::from_millis(1)).unwrap();
    let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
    let ask = async || request(&upstream, "GET", &question(Venue::Coinbase)).await.json();
    let moved = async |than: &Value| {
        let now = ask().await;
        (now["time"] != than["time"] && now["price"] != than["price"]).then_some(now)
    };
    upstream.set_fault(Venue::Coinbase, Fault::Stuck);
    let stuck = ask().await;
    let deadline = Duration::from_secs(60);
    let later_ms = clock::now_ms() + 5;
    crate::wait_until("slots pass", deadline, async || (clock::now_ms() > later_ms).then_some(())).await;
    assert_eq!(ask().await, stuck);
    upstream.set_fault(Venue::Coinbase, None);
    crate::wait_until("the market is followed again", deadline, async || moved(&stuck).await).await;
}

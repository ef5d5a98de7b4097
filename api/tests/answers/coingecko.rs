//! CoinGecko's dialect. Its errors and numbers are compared as text, because a JSON parser would round the numbers.

use std::time::Duration;

use api::config::{ApiConfig, RateLimit};

use crate::rig::{Answer, Rig, at, gap, lead, tick};

/// The key `foo`.
const KEY: &str = "team=2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// 14 November 2023 at midnight, in seconds: the start of the rig's slots.
const BASE: i64 = 1_699_920_000;

/// Two pairs: BTC-USD with a tick now and a day ago, and ETH-BTC with ticks before that.
async fn rig() -> Rig {
    let mut rig = Rig::new();
    let (bitcoin, ether) = ("BTC-USD", "ETH-BTC");
    rig.send(vec![
        lead(bitcoin),
        lead(ether),
        tick(bitcoin, 0, "96000.10"),
        tick(ether, 0, "0.03512345678901"),
    ])
    .await;
    rig.send(vec![gap(bitcoin, 10, 86_390), tick(bitcoin, 86_400, "97012.30")]).await;
    rig.clock.set(at(86_405));
    rig
}

async fn error(rig: &Rig, path: &str, status: u16) -> String {
    let answer = rig.get(path).await;
    assert_eq!(answer.status, status, "{path}: {}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    let text = answer.body["error"].as_str().or_else(|| answer.body["status"]["error_message"].as_str());
    text.unwrap().to_owned()
}

async fn ok(rig: &Rig, path: &str) -> Answer {
    let answer = rig.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer
}

#[tokio::test]
async fn prices_have_every_digit_and_what_is_unknown_is_left_out() {
    let rig = rig().await;
    for (query, expected) in [
        ("ids=bitcoin&vs_currencies=usd", r#"{"bitcoin":{"usd":97012.30}}"#),
        ("ids=bitcoin&vs_currencies=USD,eur&precision=2", r#"{"bitcoin":{"usd":97012.30}}"#),
        (
            "ids=bitcoin,%20ethereum,dogecoin,nothing&vs_currencies=usd,btc",
            r#"{"bitcoin":{"usd":97012.30},"ethereum":{"btc":0.03512345678901}}"#,
        ),
        ("ids=bitcoin&vs_currencies=eur&include_last_updated_at=true", r#"{"bitcoin":{}}"#),
        ("ids=nothing&vs_currencies=usd", "{}"),
        ("names=Bitcoin&vs_currencies=usd", r#"{"Bitcoin":{"usd":97012.30}}"#),
        ("symbols=BTC&vs_currencies=usd&include_tokens=top", r#"{"btc":{"usd":97012.30}}"#),
        ("ids=bitcoin&symbols=eth&vs_currencies=usd", r#"{"bitcoin":{"usd":97012.30}}"#),
        (
            "ids=bitcoin&vs_currencies=usd&include_market_cap=true&include_24hr_vol=true&x_cg_demo_api_key=any\
             &include_24hr_change=true&include_last_updated_at=true",
            r#"{"bitcoin":{"last_updated_at":1700006400,"usd":97012.30,"usd_24h_change":1.05437390169}}"#,
        ),
        (
            "ids=ethereum&vs_currencies=btc&include_24hr_change=true",
            r#"{"ethereum":{"btc":0.03512345678901,"btc_24h_change":null}}"#,
        ),
    ] {
        let answer = ok(&rig, &format!("/api/v3/simple/price?{query}")).await;
        assert_eq!(answer.text, expected, "{query}");
        assert!(answer.header("x-tickwell-sequence").is_some() && answer.header("etag").is_some());
    }
}

#[tokio::test]
async fn a_stale_price_is_served_with_its_time() {
    let rig = rig().await;
    rig.clock.set(at(90_000));
    let path = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd&include_last_updated_at=true";
    assert_eq!(ok(&rig, path).await.text, r#"{"bitcoin":{"last_updated_at":1700006400,"usd":97012.30}}"#);
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["stale"], true);
}

#[tokio::test]
async fn lists_have_what_the_log_has() {
    let rig = rig().await;
    assert_eq!(ok(&rig, "/api/v3/simple/supported_vs_currencies").await.text, r#"["btc","usd"]"#);
    let coins = ok(&rig, "/api/v3/coins/list?include_platform=false").await;
    let expected = r#"[{"id":"bitcoin","symbol":"btc","name":"Bitcoin"},{"id":"ethereum","symbol":"eth","name":"Ethereum"}]"#;
    assert_eq!(coins.text, expected);
    assert_eq!(ok(&rig, "/api/v3/ping/").await.text, r#"{"gecko_says":"(V3) To the Moon!"}"#);
}

#[tokio::test]
async fn rates_are_those_of_the_conversion() {
    let rig = rig().await;
    let rates = ok(&rig, "/api/v3/exchange_rates").await;
    let convert = rig.get("/v1/convert?from=BTC&to=ETH").await;
    let ether = convert.body["rate"].as_str().unwrap();
    let expected = format!(
        r#"{{"rates":{{"btc":{{"name":"Bitcoin","unit":"BTC","value":1,"type":"crypto"}},"eth":{{"name":"Ethereum","unit":"ETH","value":{ether},"type":"crypto"}},"usd":{{"name":"US Dollar","unit":"$","value":97012.30,"type":"fiat"}}}}}}"#
    );
    assert_eq!(rates.text, expected);
    let mut other = Rig::new();
    other.send(vec![lead("ETH-USD"), tick("ETH-USD", 0, "3400")]).await;
    assert!(error(&other, "/api/v3/exchange_rates", 404).await.contains("BTC"));
}

#[tokio::test]
async fn a_chart_ends_with_the_newest_tick() {
    let mut rig = Rig::keeping(Duration::from_secs(3_600));
    let bitcoin = "BTC-USD";
    let ticks = (0..100).map(|slot| tick(bitcoin, slot * 10, &format!("{}.50", 100 + slot)));
    rig.send([lead(bitcoin)].into_iter().chain(ticks).collect()).await;
    let chart = |rows: &[(i64, i64)]| {
        let rows: Vec<String> =
            rows.iter().map(|(at, price)| format!("[{},{price}.50]", (BASE + at) * 1_000)).collect();
        format!(r#"{{"prices":[{}],"market_caps":[],"total_volumes":[]}}"#, rows.join(","))
    };
    let path = "/api/v3/coins/bitcoin/market_chart";
    let day = chart(&[(0, 100), (300, 130), (600, 160), (900, 190), (990, 199)]);
    assert_eq!(ok(&rig, &format!("{path}?vs_currency=usd&days=1")).await.text, day);
    assert_eq!(
        ok(&rig, &format!("{path}/?vs_currency=USD&days=1&interval=5m&precision=full")).await.text,
        day
    );
    let other = chart(&[(0, 100), (990, 199)]);
    for days in ["30", "max", "365"] {
        assert_eq!(ok(&rig, &format!("{path}?vs_currency=usd&days={days}")).await.text, other, "{days}");
    }
    let range =
        |from: i64, to: i64| format!("{path}/range?vs_currency=usd&from={}&to={}", BASE + from, BASE + to);
    assert_eq!(
        ok(&rig, &range(10, 2_000)).await.text,
        chart(&[(300, 130), (600, 160), (900, 190), (990, 199)])
    );
    assert_eq!(ok(&rig, &range(0, 620)).await.text, chart(&[(0, 100), (620, 162)]));
    assert_eq!(ok(&rig, &range(2_000, 3_000)).await.text, chart(&[]));
    let dates = format!("{path}/range?vs_currency=usd&from=2023-11-14&to=2023-11-15T00:00:00Z");
    assert_eq!(ok(&rig, &dates).await.text, day);
}

#[tokio::test]
async fn candles_are_stamped_with_their_end_once_they_are_over() {
    let mut rig = Rig::new();
    let bitcoin = "BTC-USD";
    let path = "/api/v3/coins/bitcoin/ohlc?vs_currency=usd&days=1";
    rig.send(vec![
        lead(bitcoin),
        tick(bitcoin, 0, "10.0"),
        tick(bitcoin, 10, "12.50"),
        tick(bitcoin, 20, "9"),
        tick(bitcoin, 30, "11"),
        gap(bitcoin, 40, 1_780),
    ])
    .await;
    assert_eq!(ok(&rig, path).await.text, "[]");
    rig.send(vec![tick(bitcoin, 1_790, "11.10")]).await;
    let expected = format!("[[{},10.0,12.50,9,11.10]]", (BASE + 1_800) * 1_000);
    assert_eq!(ok(&rig, path).await.text, expected);
    rig.send(vec![tick(bitcoin, 1_800, "11.20")]).await;
    assert_eq!(ok(&rig, path).await.text, expected);
}

#[tokio::test]
async fn errors_have_the_dialects_forms() {
    let rig = rig().await;
    for (path, status, text) in [
        ("/api/v3/simple/price?ids=bitcoin", 422, "Missing parameter vs_currencies"),
        ("/api/v3/simple/price?vs_currencies=usd", 422, "Missing parameter ids"),
        ("/api/v3/coins/bitcoin/market_chart?days=1", 422, "Missing parameter vs_currency"),
        ("/api/v3/coins/bitcoin/market_chart?vs_currency=usd", 422, "Missing parameter days"),
        ("/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=x", 422, "Invalid parameter days"),
        ("/api/v3/coins/bitcoin/market_chart?vs_currency=eur&days=1", 422, "Invalid parameter vs_currency"),
        (
            "/api/v3/coins/bitcoin/market_chart/range?vs_currency=usd&from=x&to=1",
            422,
            "Invalid parameter from",
        ),
        ("/api/v3/coins/bitcoin/ohlc?vs_currency=usd&days=1&interval=5m", 422, "Invalid parameter interval"),
        ("/api/v3/coins/dogecoin/ohlc?vs_currency=usd&days=1", 404, "coin not found"),
        ("/api/v3/coins/nothing/market_chart?vs_currency=usd&days=1", 404, "coin not found"),
        ("/api/v3/coins/markets?vs_currency=usd", 404, "this server does not have this route"),
        ("/api/v3/coins/bitcoin/", 404, "this server does not have this route"),
        ("/api/v3", 404, "this server does not have this route"),
    ] {
        let found = error(&rig, path, status).await;
        assert!(found.starts_with(text), "{path}: {found}");
    }
    let empty = Rig::new();
    let path = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd";
    let none_yet = empty.get(path).await;
    assert_eq!((none_yet.status, &none_yet.body["status"]["error_code"]), (503, &503.into()));
    assert_eq!(none_yet.header("retry-after"), Some("10"));
    let starting = Rig::answer(&empty.starting(), path, &[]).await;
    assert_eq!((starting.status, &starting.body["status"]["error_code"]), (503, &503.into()));
    let posted = rig.client().post("/api/v3/ping").send().await;
    posted.assert_status(http::StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_key_counts_in_each_of_the_dialects_places_and_only_there() {
    let rig = rig().await;
    let keys = vec![KEY.parse().unwrap()];
    let client = rig.configured(&ApiConfig { rate_limit: RateLimit::Off, keys, ..ApiConfig::default() });
    let ask = async |path: &str, headers: &[(&'static str, &str)]| Rig::answer(&client, path, headers).await;
    let keyless = ask("/api/v3/ping", &[]).await;
    assert_eq!((keyless.status, &keyless.body["status"]["error_code"]), (401, &10_002.into()));
    for name in ["x-cg-demo-api-key", "x-cg-pro-api-key", "x-api-key"] {
        assert_eq!(ask("/api/v3/ping/", &[(name, "foo")]).await.status, 200, "{name}");
        assert_eq!(ask("/api/v3/ping", &[(name, "bar")]).await.status, 401, "{name}");
    }
    for name in ["x_cg_demo_api_key", "x_cg_pro_api_key"] {
        assert_eq!(ask(&format!("/api/v3/ping?{name}=foo"), &[]).await.status, 200, "{name}");
        assert_eq!(ask(&format!("/v1/pairs?{name}=foo"), &[]).await.status, 401, "{name}");
    }
    assert_eq!(ask("/v1/pairs", &[("x-cg-demo-api-key", "foo")]).await.status, 401);
}

#[tokio::test]
async fn a_client_over_its_limit_is_told_when_to_return() {
    let rig = rig().await;
    let client = rig.configured(&ApiConfig {
        rate_limit: "1/h".parse().unwrap(),
        keys: vec![KEY.parse().unwrap()],
        ..ApiConfig::default()
    });
    let ask = async || Rig::answer(&client, "/api/v3/ping", &[("x-cg-demo-api-key", "foo")]).await;
    assert_eq!(ask().await.status, 200);
    let limited = ask().await;
    assert_eq!((limited.status, &limited.body["status"]["error_code"]), (429, &429.into()));
    assert!(limited.header("retry-after").is_some());
}

#[tokio::test]
async fn ids_come_from_the_settings_too() {
    let mut rig = Rig::new();
    rig.send(vec![lead("FOO-USD"), tick("FOO-USD", 0, "1.50")]).await;
    let path = "/api/v3/simple/price?ids=foo-coin&vs_currencies=usd";
    assert_eq!(ok(&rig, path).await.text, "{}");
    let coingecko_ids = vec!["FOO=foo-coin".parse().unwrap()];
    let client = rig.configured(&ApiConfig { coingecko_ids, ..ApiConfig::default() });
    assert_eq!(Rig::answer(&client, path, &[]).await.text, r#"{"foo-coin":{"usd":1.50}}"#);
    let list = Rig::answer(&client, "/api/v3/coins/list", &[]).await;
    assert_eq!(list.text, r#"[{"id":"foo-coin","symbol":"foo","name":"FOO"}]"#);
}

#[tokio::test]
async fn a_setting_turns_the_dialect_off() {
    let rig = rig().await;
    let client = rig.configured(&ApiConfig { coingecko: false, ..ApiConfig::default() });
    let missing = client.get("/api/v3/ping").send().await;
    missing.assert_status(http::StatusCode::NOT_FOUND);
    missing.assert_content_type("application/problem+json");
    let document = client.get("/openapi.json").send().await.0.take_body().into_string().await.unwrap();
    assert!(!document.contains("/api/v3/") && !document.contains("\"name\": \"CoinGecko\""));
}

//! The newest prices, averages, history and single records.

use serde_json::{Value, json};

use crate::rig::{Rig, at, followed, gap, lead, tick};

#[tokio::test]
async fn an_empty_log_has_no_price() {
    let mut rig = Rig::new();
    for path in [
        "/v1/prices",
        "/v1/prices/BTC-USD",
        "/v1/prices/BTC-USD/averages",
        "/v1/prices/BTC-USD/history",
        "/v1/prices/BTC-USD/gaps",
        "/v1/convert?from=ETH&to=BTC",
        "/v1/sources",
    ] {
        let answer = rig.get(path).await;
        assert_eq!((answer.status, &answer.body["code"]), (503, &json!("no_price_yet")), "{path}");
        assert!(answer.header("retry-after").is_some(), "{path}");
    }
    assert_eq!(rig.get("/v1/pairs").await.body, json!({ "items": [] }));
    rig.send(vec![lead("BTC-USD"), gap("BTC-USD", 10, 30)]).await;
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["code"], json!("no_price_yet"));
    assert_eq!(rig.get("/v1/pairs").await.body["items"][0]["stale"], json!(true));
    let averages = rig.get("/v1/prices/BTC-USD/averages?window=1m").await.body;
    assert_eq!(averages["windows"][0]["mean"], Value::Null);
    assert_eq!(averages["windows"][0]["coverage"], json!("0.00000000"));
    assert_eq!(averages["windows"][0]["largest_gap"], json!("1m"));
}

#[tokio::test]
async fn a_price_keeps_its_digits_and_becomes_stale() {
    let mut rig = Rig::new();
    rig.send(vec![lead("BTC-USD"), tick("BTC-USD", 10, "97012.30"), tick("ETH-USD", 10, "3400.1")]).await;
    rig.clock.set(at(12));
    let answer = rig.get("/v1/prices/btc_usd").await;
    assert_eq!(answer.header("x-tickwell-sequence"), Some("3"));
    let mut expected = json!({
        "pair": "BTC-USD", "price": "97012.30", "slot": at(10).to_string(), "sequence": 2, "epoch": 1,
        "origin": "live", "sources": ["kraken"], "spread": "0", "change_24h": null, "stale": false,
        "next_slot": at(20).to_string(),
    });
    assert_eq!(answer.body, expected);
    rig.clock.set(at(40));
    assert_eq!(rig.get("/v1/prices/BTC%2FUSD").await.body, expected);
    rig.clock.set(at(41));
    expected["stale"] = json!(true);
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body, expected);
    let prices = rig.get("/v1/prices").await.body;
    assert_eq!(prices["items"][0], expected);
    assert_eq!(prices["items"][1]["price"], json!("3400.1"));
}

#[tokio::test]
async fn the_daily_change_reaches_further_back_than_the_windows_in_memory() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("BTC-USD", 20, "200")]).await;
    rig.send(vec![gap("BTC-USD", 30, 86_400 + 30), tick("BTC-USD", 86_400 + 40, "250")]).await;
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["change_24h"], json!("0.250000000000"));
    rig.send(vec![tick("BTC-USD", 86_400 + 50, "150")]).await;
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["change_24h"], json!("-0.250000000000"));
    // The newest tick is now at 60 s of the second day. At 60 s of the first day, the last tick (20 s) was more than
    // three intervals old.
    rig.send(vec![tick("BTC-USD", 86_400 + 60, "150")]).await;
    assert_eq!(rig.get("/v1/prices/BTC-USD").await.body["change_24h"], Value::Null);
}

#[tokio::test]
async fn averages_report_their_coverage() {
    let mut rig = Rig::new();
    let ticks = [(10, "100"), (20, "110.5"), (30, "90"), (80, "100.0")];
    rig.send(ticks.iter().map(|(second, price)| tick("BTC-USD", *second, price)).collect()).await;
    rig.send(vec![gap("BTC-USD", 90, 100)]).await;
    let body = rig.get("/v1/prices/BTC-USD/averages?window=20s,90s").await.body;
    assert_eq!(body["as_of"], json!(at(100).to_string()));
    assert_eq!(body["sequence"], json!(5));
    assert_eq!(body["windows"][0]["observed"], json!(0));
    // (10, 100] has ticks at 20, 30 and 80, in nine slots. Each of the three is weighted by 10 s.
    assert_eq!(
        body["windows"][1],
        json!({
            "window": "90s", "from": at(10).to_string(), "to": at(100).to_string(),
            "mean": "100.166666667", "twap": "100.166666667", "median": "100.000000000",
            // With nine slots, α is 2 / 10. So the average moves a fifth of the way from 110.5 to 90, and then a fifth
            // of the way from there to 100.
            "ema": "105.120000000", "min": "90", "max": "110.5",
            "open": "110.5", "close": "100.0", "change": "-10.5", "change_ratio": "-0.0950226244344",
            // The root of (10.33..² + 10.17..² + 0.17..²) / 3.
            "stddev": "8.36991968633", "expected": 9, "observed": 3, "backfilled": 0, "coverage": "0.333333333333",
            "largest_gap": "40s", "complete": false,
        })
    );
}

#[tokio::test]
async fn pages_of_history_have_every_tick_in_either_order() {
    let mut rig = Rig::new();
    let ticks: Vec<i64> = (1..=30).filter(|index| index % 4 != 0).map(|index| index * 10).collect();
    rig.send(ticks.iter().map(|second| tick("BTC-USD", *second, &format!("{second}.50"))).collect()).await;
    for (order, from, to) in [("asc", 0, 301), ("desc", 0, 301), ("asc", 50, 200), ("desc", 50, 200)] {
        let mut expected: Vec<i64> =
            ticks.iter().copied().filter(|second| (from..to).contains(second)).collect();
        if order == "desc" {
            expected.reverse();
        }
        let (from, to) = (at(from).unix_millis(), at(to).unix_millis());
        let mut path = format!("/v1/prices/BTC-USD/history?order={order}&limit=4&from={from}&to={to}");
        let mut found = Vec::new();
        loop {
            let answer = rig.get(&path).await;
            for item in answer.body["items"].as_array().unwrap() {
                found.push(item["price"].as_str().unwrap().trim_end_matches(".50").parse::<i64>().unwrap());
            }
            let Some(link) = answer.header("link") else { break };
            assert!(link.contains(answer.body["next_cursor"].as_str().unwrap()));
            path = followed(&path, link);
        }
        assert_eq!(found, expected, "{order}");
    }
}

#[tokio::test]
async fn records_past_their_retention_are_not_returned() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "1"), gap("BTC-USD", 20, 700), tick("BTC-USD", 710, "2")]).await;
    let first = rig.get("/v1/ticks/1").await.body;
    assert_eq!(
        (&first["price"], &first["quotes"], &first["quotes_expired"]),
        (&json!("1"), &Value::Null, &json!(true))
    );
    assert_eq!((first.get("policy"), first.get("spread"), &first["epoch"]), (None, None, &json!(1)));
    let second = rig.get("/v1/ticks/2").await.body;
    assert_eq!(
        (&second["quotes"], &second["quotes_expired"]),
        (&Value::Null, &json!(false)),
        "the gap never had quotes"
    );
    let third = rig.get("/v1/ticks/3").await.body;
    assert_eq!(third["quotes"][0]["verdict"], json!("used"));
    assert_eq!(third["quotes_expired"], json!(false));

    let late = 2 * 86_400 + 20;
    rig.send(vec![gap("BTC-USD", 720, late), tick("BTC-USD", late + 10, "3")]).await;
    let history = rig.get("/v1/prices/BTC-USD/history").await.body;
    let prices: Vec<&Value> =
        history["items"].as_array().unwrap().iter().map(|item| &item["price"]).collect();
    assert_eq!(prices, [&json!("3"), &json!("2")]);
    assert_eq!(rig.get("/v1/ticks/1").await.body["code"], json!("unknown_sequence"));
}

#[tokio::test]
async fn records_of_every_kind_can_be_read() {
    let mut rig = Rig::new();
    rig.send(vec![lead("BTC-USD"), gap("BTC-USD", 10, 30), tick("BTC-USD", 40, "5.0")]).await;
    assert_eq!(
        rig.get("/v1/ticks/1").await.body,
        json!({"sequence": 1, "kind": "lead", "pair": "BTC-USD", "epoch": 1, "origin": "live", "quotes": null,
               "quotes_expired": false})
    );
    assert_eq!(
        rig.get("/v1/ticks/2").await.body,
        json!({"sequence": 2, "kind": "gap", "pair": "BTC-USD", "slot": at(30).to_string(),
               "from": at(10).to_string(), "interval": "10s", "cause": "no_leader", "epoch": 1, "origin": "live",
               "quotes": null, "quotes_expired": false})
    );
    let tick = rig.get("/v1/ticks/3").await.body;
    assert_eq!(
        (&tick["kind"], &tick["price"], &tick["spread"]),
        (&json!("tick"), &json!("5.0"), &json!("0"))
    );
    assert_eq!(tick["quotes"][0]["source_time"], Value::Null);
}

//! Conversions, compared with long division.

use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    random_log::{PAIRS, RandomLog},
    rig::{Rig, at, gap, tick},
};

const CROSS: &str = "/v1/convert?from=ETH&to=BTC";

#[tokio::test]
async fn a_rate_is_made_of_the_prices_of_one_slot() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "80000.00"), tick("ETH-USD", 10, "2000.0")]).await;
    rig.clock.set(at(12));
    let leg = |pair: &str, price: &str, sequence: u64, inverted: bool| json!({"pair": pair, "price": price, "slot": at(10).to_string(), "sequence": sequence, "inverted": inverted});
    let answer = rig.get("/v1/convert?from=eth&to=Btc&amount=1.50").await;
    assert_eq!(answer.header("x-tickwell-sequence"), Some("2"));
    let mut expected = json!({
        "from": "ETH", "to": "BTC", "amount": "1.50", "rate": "0.0250000000000", "result": "0.0375000000000",
        "slot": at(10).to_string(), "sequence": 2, "origin": "live", "stale": false,
        "legs": [leg("ETH-USD", "2000.0", 2, false), leg("BTC-USD", "80000.00", 1, true)],
    });
    assert_eq!(answer.body, expected);
    // The newest common slot is used while one pair is a slot ahead, and also when the other pair then has a gap.
    rig.send(vec![tick("BTC-USD", 20, "90000")]).await;
    assert_eq!(rig.get("/v1/convert?from=ETH&to=BTC&amount=1.50").await.body, expected);
    rig.send(vec![gap("ETH-USD", 20, 20), gap("BTC-USD", 30, 30), tick("ETH-USD", 30, "2100")]).await;
    assert_eq!(rig.get("/v1/convert?from=ETH&to=BTC&amount=1.50").await.body, expected);
    rig.clock.set(at(41));
    expected["stale"] = json!(true);
    assert_eq!(rig.get("/v1/convert?from=ETH&to=BTC&amount=1.50").await.body, expected);

    rig.send(vec![tick("BTC-USD", 40, "3"), tick("ETH-USD", 40, "1")]).await;
    let newest = rig.get(CROSS).await.body;
    assert_eq!(
        (&newest["amount"], &newest["rate"], &newest["sequence"], &newest["stale"]),
        (&json!("1"), &json!("0.333333333333"), &json!(8), &json!(false))
    );
    // The result is computed from the exact rate, not from the rounded one.
    assert_eq!(rig.get(&format!("{CROSS}&amount=3000000")).await.body["result"], json!("1000000.00000000"));
    assert_eq!(rig.get(&format!("{CROSS}&at_sequence=3")).await.body["rate"], json!("0.0250000000000"));
}

#[tokio::test]
async fn the_way_is_the_shortest_and_then_the_first_by_name() {
    let mut rig = Rig::new();
    let prices = [
        ("BTC-USD", "100"),
        ("BTC-EUR", "80"),
        ("ETH-USD", "10"),
        ("ETH-EUR", "9"),
        ("USD-JPY", "150"),
        ("XRP-ADA", "2"),
    ];
    rig.send(prices.map(|(pair, price)| tick(pair, 10, price)).to_vec()).await;
    for (from, to, rate, legs) in [
        ("BTC", "USD", "100.00000000", ["BTC-USD"].as_slice()),
        ("USD", "BTC", "0.0100000000000", &["BTC-USD/"]),
        ("ETH", "BTC", "0.112500000000", &["ETH-EUR", "BTC-EUR/"]),
        ("BTC", "ETH", "8.88888888889", &["BTC-EUR", "ETH-EUR/"]),
        ("BTC", "JPY", "15000.0000000", &["BTC-USD", "USD-JPY"]),
        ("JPY", "ETH", "0.000666666666667", &["USD-JPY/", "ETH-USD/"]),
        ("EUR", "USD", "1.25000000000", &["BTC-EUR/", "BTC-USD"]),
    ] {
        let body = rig.get(&format!("/v1/convert?from={from}&to={to}")).await.body;
        let leg = |leg: &Value| {
            format!(
                "{}{}",
                leg["pair"].as_str().unwrap(),
                if leg["inverted"] == json!(true) { "/" } else { "" }
            )
        };
        let found: Vec<String> = body["legs"].as_array().unwrap().iter().map(leg).collect();
        let places = |text: &str| text.trim_end_matches('0').to_owned();
        assert_eq!(
            (found, places(body["rate"].as_str().unwrap())),
            (legs.iter().map(|leg| (*leg).to_owned()).collect(), places(rate)),
            "{from} to {to}"
        );
    }
    for (query, parameter) in
        [("from=DOGE&to=BTC", Some("from")), ("from=BTC&to=doge", Some("to")), ("from=EUR&to=ADA", None)]
    {
        let answer = rig.get(&format!("/v1/convert?{query}")).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("no_rate")), "{query}");
        assert_eq!(answer.body.get("parameter").and_then(Value::as_str), parameter, "{query}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("ADA, BTC, ETH, EUR, JPY, USD, XRP"), "{detail}");
    }
    // A conversion through a pair without a price is not used if other pairs allow the conversion.
    rig.send(vec![gap("ETH-BTC", 10, 10), gap("ADA-USD", 10, 10)]).await;
    assert_eq!(rig.get(CROSS).await.body["rate"], json!("0.112500000000"));
    assert_eq!(rig.get("/v1/convert?from=ADA&to=USD").await.body["code"], json!("no_price_yet"));
}

#[tokio::test]
async fn prices_that_are_over_an_hour_apart_make_no_rate() {
    for (apart, status) in [(3_600, 200), (3_610, 503)] {
        let mut rig = Rig::new();
        rig.send(vec![tick("BTC-USD", 10, "2"), tick("ETH-USD", 10, "1")]).await;
        rig.send(vec![gap("BTC-USD", 20, apart), tick("BTC-USD", apart + 10, "3")]).await;
        rig.send(vec![gap("ETH-USD", 20, apart + 10), tick("ETH-USD", apart + 20, "1")]).await;
        let answer = rig.get(CROSS).await;
        assert_eq!(answer.status, status, "{apart}: {}", answer.body);
        if status == 503 {
            assert_eq!(answer.body["code"], json!("no_price_yet"));
            assert_eq!(answer.header("retry-after"), Some("10"));
        }
    }
}

/// The quotient of two prices to many decimal places, by long division.
fn divided(dividend: Decimal, divisor: Decimal) -> String {
    let scale = dividend.scale().max(divisor.scale());
    let whole =
        |price: Decimal| u128::try_from(price.mantissa()).unwrap() * 10_u128.pow(scale - price.scale());
    let (mut rest, divisor) = (whole(dividend), whole(divisor));
    let mut text = format!("{}.", rest / divisor);
    for _ in 0..30 {
        rest = rest % divisor * 10;
        text.push(char::from_digit(u32::try_from(rest / divisor).unwrap(), 10).unwrap());
    }
    text
}

#[tokio::test]
async fn rates_equal_long_divisions_whatever_is_in_memory() {
    for seed in 50..54 {
        let log = RandomLog::new(seed, 150);
        let [mut much, mut little] = [86_400, 10].map(|seconds| Rig::keeping(Duration::from_secs(seconds)));
        let mut count = 0;
        for batch in &log.batches {
            much.send(batch.clone()).await;
            little.send(batch.clone()).await;
            count += batch.len();
            let [btc, eth] = PAIRS.map(|pair| log.ticks(pair, count));
            let both = eth.iter().rev().find_map(|eth| {
                let btc = btc.iter().find(|btc| btc.slot == eth.slot)?;
                Some((eth.slot, &eth.price, &btc.price))
            });
            let answer = much.get(CROSS).await;
            let other = little.get(CROSS).await;
            // Problems have different trace ids, so only their status is compared.
            assert!(answer.status == other.status && (answer.status != 200 || answer.text == other.text));
            let last = |ticks: &[testkit::naive::Tick]| ticks.last().map(|tick| tick.slot);
            let reach = last(&btc).min(last(&eth)).unwrap_or_default() - 3_600_000;
            match both.filter(|(slot, ..)| *slot >= reach) {
                None => assert!([404, 503].contains(&answer.status), "{}", answer.body),
                Some((slot, eth, btc)) => {
                    let slot = common::domain::Timestamp::from_unix_millis(slot).unwrap();
                    assert_eq!(answer.body["slot"], json!(slot.to_string()), "seed {seed}, {count} records");
                    let exact = divided(eth.parse().unwrap(), btc.parse().unwrap());
                    let rate = answer.body["rate"].as_str().unwrap();
                    let [exact, rate] = [exact.as_str(), rate].map(|text| text.parse::<Decimal>().unwrap());
                    assert!(
                        (exact - rate).abs() * Decimal::TWO <= Decimal::new(1, rate.scale()),
                        "{exact} {rate}"
                    );
                }
            }
        }
    }
}

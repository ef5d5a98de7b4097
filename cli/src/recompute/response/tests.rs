//! A response either becomes the record that it describes, or is refused.

use serde_json::json;

use super::*;

fn tick() -> Value {
    json!({
        "sequence": 7, "kind": "tick", "pair": "BTC-USD", "slot": "2026-11-21T00:00:10.000Z", "interval": "10s",
        "epoch": 42, "origin": "live", "price": "97012.30", "spread": "0.00031",
        "policy": {"rules": 1, "price": "mid", "min_sources": 2, "max_deviation": "0.02", "max_quote_age": "30s",
                   "max_clock_skew": "5s", "frozen_after": "10m"},
        "quotes": [
            {"source": "kraken", "price": "97012.30", "basis": "last", "last": "97012.30", "bid": null, "ask": null,
             "observed_at": "2026-11-21T00:00:10.214Z",
             "source_time": null, "unchanged_since": "2026-11-21T00:00:00.198Z", "verdict": "used"},
            {"source": "gemini", "price": null, "basis": null, "last": null, "bid": null, "ask": null, "observed_at": null, "source_time": null,
             "unchanged_since": null, "verdict": "http_429"},
        ],
        "quotes_expired": false,
    })
}

fn read(response: &Value) -> Result<Found> {
    parse(response.as_object().unwrap().clone(), Sequence(7))
}

#[test]
fn a_response_becomes_the_record_of_the_log() {
    let Found::Record(record) = read(&tick()).unwrap() else { panic!() };
    let written = String::from_utf8(wire::encode(&record)).unwrap();
    assert_eq!(
        written,
        r#"{"version":2,"kind":"tick","pair":"BTC-USD","slot":"2026-11-21T00:00:10.000Z","interval":"10s","epoch":42,"origin":"live","price":"97012.30","spread":"0.00031","policy":{"rules":1,"price":"mid","min_sources":2,"max_deviation":"0.02","max_quote_age":"30s","max_clock_skew":"5s","frozen_after":"10m"},"quotes":[{"source":"kraken","price":"97012.30","basis":"last","last":"97012.30","observed_at":"2026-11-21T00:00:10.214Z","source_time":null,"unchanged_since":"2026-11-21T00:00:00.198Z","verdict":"used"},{"source":"gemini","verdict":"http_429"}]}"#
    );
    let lead = json!({"sequence": 7, "kind": "lead", "pair": "BTC-USD", "epoch": 1, "origin": "live",
                      "quotes": null, "quotes_expired": false});
    assert!(matches!(read(&lead).unwrap(), Found::Record(_)));
    let gap = json!({"sequence": 7, "kind": "gap", "pair": "BTC-USD", "slot": "2026-11-21T00:00:40.000Z",
                     "from": "2026-11-21T00:00:20.000Z", "interval": "10s", "cause": "no_leader", "epoch": 1,
                     "origin": "live", "quotes": null, "quotes_expired": false});
    assert!(matches!(read(&gap).unwrap(), Found::Record(_)));
}

#[test]
fn expired_quotes_are_distinguished_from_no_quotes() {
    let mut response = tick();
    response["quotes"] = Value::Null;
    assert!(read(&response).is_err(), "a policy without quotes");
    response["quotes_expired"] = true.into();
    for gone in ["policy", "spread"] {
        response.as_object_mut().unwrap().remove(gone);
    }
    let Found::Expired(what) = read(&response).unwrap() else { panic!() };
    assert_eq!(what, "tick BTC-USD 2026-11-21T00:00:10.000Z");
}

#[test]
fn another_record_or_a_malformed_one_is_refused() {
    let changes: [(&str, Value); 9] = [
        ("/sequence", 8.into()),
        ("/kind", "tock".into()),
        ("/price", Value::Null),
        ("/slot", "2026-11-21T00:00:11.000Z".into()),
        ("/quotes", "none".into()),
        ("/quotes_expired", Value::Null),
        ("/quotes/1/verdict", "used".into()),
        ("/quotes/0/price", Value::Null),
        ("/quotes/1/last", "97012.30".into()),
    ];
    for (place, value) in changes {
        let mut response = tick();
        *response.pointer_mut(place).unwrap() = value;
        assert!(read(&response).is_err(), "{place}");
    }
    for place in ["price", "basis", "bid", "source_time", "unchanged_since"] {
        let mut response = tick();
        response["quotes"][0].as_object_mut().unwrap().remove(place);
        assert!(read(&response).is_err(), "{place}");
    }
}

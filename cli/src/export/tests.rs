//! Exports from a fake pod.

use api::lines::Line;
use serde_json::json;

use super::{rows::GapRow, *};
use crate::pod::{Key, fake};

const HISTORY: [(&str, &str, u64); 3] = [
    ("2026-11-21T00:00:10.000Z", "97012.30", 2),
    ("2026-11-21T00:00:20.000Z", "97012.300", 3),
    ("2026-11-21T00:00:40.000Z", "0.00000001", 5),
];

/// A pod with three ticks, two on a page.
async fn pod() -> PodClient {
    let url = fake::start(|target| {
        let body = match target {
            "/v1/pairs" => {
                json!({"items": [{"pair": "BTC-USD", "slot": "2026-11-21T00:00:40.000Z", "stale": true}]})
            }
            _ => {
                assert!(target.contains("order=asc&limit=10000&to=1795219240001"), "{target}");
                let item = |(slot, price, sequence): &(&str, &str, u64)| json!({"slot": slot, "price": price, "sequence": sequence, "later": "member"});
                let (items, next) = if target.contains("cursor=a2") {
                    (&HISTORY[2..], None)
                } else {
                    (&HISTORY[..2], Some("a2"))
                };
                json!({"items": items.iter().map(item).collect::<Vec<_>>(), "next_cursor": next})
            }
        };
        (200, String::new(), body.to_string())
    });
    PodClient::new("--url", &url.await, &Key::default()).unwrap()
}

async fn written(pair: &str, format: Format) -> Result<String> {
    let asked = Asked { pair: pair.parse().unwrap(), from: None, to: None };
    let mut bytes = Vec::new();
    write(&Ticks, ExportInput::Pod(pod().await), asked, format, &mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn lines_have_the_digits_of_the_log() {
    let csv = written("BTC-USD", Format::Csv).await.unwrap();
    let lines: Vec<String> =
        HISTORY.iter().map(|(slot, price, at)| format!("{slot},{price},{at},false\n")).collect();
    assert_eq!(csv, format!("slot,price,sequence,backfilled\n{}", lines.concat()));
    let ndjson = written("BTC-USD", Format::Ndjson).await.unwrap();
    let line = |(slot, price, at): &(&str, &str, u64)| {
        format!("{{\"slot\":\"{slot}\",\"price\":\"{price}\",\"sequence\":{at},\"backfilled\":false}}\n")
    };
    assert_eq!(ndjson, HISTORY.iter().map(line).collect::<String>());
    let unknown = written("ETH-USD", Format::Csv).await.unwrap_err().to_string();
    assert!(unknown.contains("no pair ETH-USD; it has BTC-USD"), "{unknown}");
}

#[test]
fn columns_are_the_members_in_their_order() {
    let gap = json!({"from": "a", "to": "b", "slots": 1, "interval": "10s", "cause": "missed", "sequence": null,
                     "epoch": null, "sources": null});
    let gap: GapRow = serde_json::from_value(gap).unwrap();
    let row = serde_json::to_string(&gap).unwrap();
    let places: Vec<_> =
        GapRow::COLUMNS.iter().map(|name| row.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{row}");
}

/// What an export of a pod writes that sends this page for every request.
async fn exported(page: serde_json::Value) -> Result<u64> {
    let url = fake::start(move |target| {
        let pairs =
            json!({"items": [{"pair": "BTC-USD", "slot": "2026-11-21T00:00:40.000Z", "stale": true}]});
        let body = if target == "/v1/pairs" { pairs } else { page.clone() };
        (200, String::new(), body.to_string())
    });
    let pod = PodClient::new("--url", &url.await, &Key::default()).unwrap();
    let asked = Asked { pair: "BTC-USD".parse().unwrap(), from: None, to: None };
    write(&Ticks, ExportInput::Pod(pod), asked, Format::Csv, io::sink()).await
}

#[tokio::test]
async fn a_pod_cannot_put_formulas_into_a_file_or_lead_an_export_in_circles() {
    let page = |price: &str, next: serde_json::Value| {
        let item = json!({"slot": "2026-11-21T00:00:10.000Z", "price": price, "sequence": 1});
        json!({"items": [item], "next_cursor": next})
    };
    assert_eq!(exported(page("1", json!(null))).await.unwrap(), 1);
    // Before, the first was written as it is, and the second one never ended, because a cursor may also be repeated after
    // another one.
    for hostile in
        [page("=cmd|'/C calc'!A0", json!(null)), page("1", json!("again")), page("1", json!("a&b=c"))]
    {
        let error = exported(hostile).await.unwrap_err();
        assert!(!format!("{error:#}").contains("calc"), "{error:#}");
    }
}

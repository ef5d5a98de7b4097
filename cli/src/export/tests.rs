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
